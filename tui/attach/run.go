package attach

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/muesli/cancelreader"

	"cove/runtime/frame"
	"cove/tui/text"
)

// Options say where and how a session is shown.
type Options struct {
	// In and Out are the person's terminal.
	In, Out *os.File
	// Name is the sandbox's, for the window's title.
	Name string
	// Input is typed before anything else: what the person typed ahead.
	Input []byte
	// Hold is how long a detach key waits for a second one, which passes it
	// on to the program instead: the price is that detaching takes as long.
	// 0 detaches at once, and only a second key that was read together with
	// the first passes it on; the caller then attends to a later one itself.
	Hold time.Duration
}

// HoldDefault is the Hold of the command line.
const HoldDefault = 250 * time.Millisecond

// ErrNotTerminal is returned by [Session.Run] when In or Out is no terminal.
var ErrNotTerminal = errors.New("not a terminal")

// escapeWait is how long the beginning of an escape sequence is held back when
// nothing follows: so long does a lone escape key wait, which programs that
// look for it wait for as well.
const escapeWait = 10 * time.Millisecond

// deliverWait is how long a detach waits for a daemon that does not take what
// was typed before it.
const deliverWait = 2 * time.Second

// pendingMax is how much typed input waits for a program that does not read.
const pendingMax = 1 << 20

// Run shows the session on the terminal until it ends, and closes it. The
// error is about the terminal, and rare; how the attach ended is in the
// Result. On return, however it comes about, the terminal is as it was before.
func (s *Session) Run(ctx context.Context, o Options) (res Result, err error) {
	defer func() { _ = s.conn.Close() }()
	if !term.IsTerminal(o.In.Fd()) || !term.IsTerminal(o.Out.Fd()) {
		return Result{}, ErrNotTerminal
	}
	before, err := term.MakeRaw(o.In.Fd())
	if err != nil {
		return Result{}, fmt.Errorf("make the terminal raw: %w", err)
	}
	r := &run{s: s, o: o, keys: make(chan []byte), typedEnd: make(chan error, 1),
		shown: make(chan ending, 1), acks: make(chan int), send: make(chan []byte), quit: make(chan struct{}),
		credit: frame.StdinWindow}
	r.filter.title = text.Clean(o.Name) + ": "
	defer func() {
		_, e := io.WriteString(o.Out, r.filter.reset())
		err = errors.Join(err, e, term.Restore(o.In.Fd(), before))
	}()
	if _, err := io.WriteString(o.Out, enter("cove: "+text.Clean(o.Name)+" (ctrl+] detaches)")); err != nil {
		return Result{}, fmt.Errorf("write to the terminal: %w", err)
	}
	return r.loop(ctx)
}

// ending is how the stream of output ended.
type ending struct {
	exit *frame.ExitStatus
	err  error
}

// run is one attach. Its loop owns the state; three goroutines read the
// terminal, show the output and write frames, and all have ended when it does.
type run struct {
	s      *Session
	o      Options
	filter filter // belongs to show until it has ended

	keys     chan []byte // read from the terminal
	typedEnd chan error
	shown    chan ending
	acks     chan int
	send     chan []byte // frames
	quit     chan struct{}

	left []byte // read from the terminal too late; belongs to read until it has ended

	match   matcher
	typed   []byte // not yet in a frame: the credit is used up
	pending []byte // frames not yet written
	credit  int
	first   []byte // a detach key that waits for a second one
	at      time.Time
}

func (r *run) loop(ctx context.Context) (Result, error) {
	reader, err := cancelreader.NewReader(r.o.In)
	if err != nil {
		return Result{}, fmt.Errorf("read the terminal: %w", err)
	}
	winch := make(chan os.Signal, 1)
	signal.Notify(winch, syscall.SIGWINCH)
	defer signal.Stop(winch)

	typing, writing := make(chan struct{}), make(chan struct{})
	go func() { defer close(typing); r.typedEnd <- guard(func() error { return r.read(reader) }) }()
	go func() { defer close(writing); _ = guard(r.write) }()
	go r.show()

	res := r.attend(ctx, winch)

	// Stop in an order in which nobody waits for somebody gone: the reader of
	// keys first, so that not one more is taken from whoever comes next. What
	// was typed before the detach key still goes to the program.
	if res.How == Detached {
		r.deliver()
	}
	close(r.quit)
	reader.Cancel()
	<-typing
	_ = reader.Close()
	res.Rest = append(res.Rest, r.left...)
	late := time.AfterFunc(deliverWait, func() { _ = r.s.conn.Close() })
	<-writing
	late.Stop()
	_ = r.s.conn.Close()
	if res.How != Exited && res.How != Lost {
		<-r.shown
	}
	return res, nil
}

// attend is the loop: it returns when the attach is over.
func (r *run) attend(ctx context.Context, winch <-chan os.Signal) Result {
	escapes, holds := stopped(), stopped()
	defer escapes.Stop()
	defer holds.Stop()
	r.resized()
	r.typed = append(r.typed, r.o.Input...)
	for {
		r.frame()
		var send chan []byte
		var head []byte
		if len(r.pending) > 0 {
			send, head = r.send, r.pending
		}
		select {
		case send <- head:
			r.pending = nil
		case n := <-r.acks:
			r.credit = min(r.credit+n, frame.StdinWindow)
		case p := <-r.keys:
			escapes.Stop()
			if res := r.keyed(p); res != nil {
				return *res
			}
			if len(r.match.held) > 0 {
				escapes.Reset(escapeWait)
			}
			if r.first != nil {
				holds.Reset(r.o.Hold)
			}
		case <-escapes.C:
			r.typed = append(r.typed, r.match.flush()...)
		case <-holds.C:
			return Result{How: Detached, At: r.at}
		case <-winch:
			r.resized()
		case e := <-r.shown:
			if e.exit != nil {
				return Result{How: Exited, Exit: *e.exit}
			}
			return Result{How: Lost, Err: e.err}
		case err := <-r.typedEnd:
			return Result{How: Canceled, Err: fmt.Errorf("the terminal is gone: %w", err)}
		case <-ctx.Done():
			return Result{How: Canceled, Err: context.Cause(ctx)}
		}
	}
}

// keyed takes typed bytes, and returns how it all ended when it did.
func (r *run) keyed(p []byte) *Result {
	for len(p) > 0 {
		if r.first != nil {
			skip, second := again(p)
			switch {
			case second != nil:
				r.typed = append(r.typed, second...)
				r.first, p = nil, p[skip+len(second):]
				continue
			case skip == len(p):
				return nil
			}
			return &Result{How: Detached, At: r.at, Rest: p[skip:]}
		}
		before, pressed, rest := r.match.feed(p)
		if room := pendingMax - len(r.typed); len(before) > room {
			before = before[:max(room, 0)] // the program does not read: it would never see it
		}
		r.typed = append(r.typed, before...)
		if pressed == nil {
			return nil
		}
		r.first, r.at, p = pressed, time.Now(), rest
		if skip, second := again(rest); r.o.Hold <= 0 && second == nil {
			return &Result{How: Detached, At: r.at, Rest: rest[skip:]}
		}
	}
	return nil
}

// deliver hands the rest of the typed bytes to the writer.
func (r *run) deliver() {
	r.frame()
	if len(r.pending) == 0 {
		return
	}
	wait := time.NewTimer(deliverWait)
	defer wait.Stop()
	for {
		select {
		case r.send <- r.pending:
			return
		case <-r.acks: // so that nobody waits for us meanwhile
		case <-wait.C:
			return
		}
	}
}

// frame puts typed bytes into frames as far as the other side takes them.
func (r *run) frame() {
	for len(r.typed) > 0 && r.credit > 0 {
		n := min(len(r.typed), r.credit, frame.Chunk)
		r.pending = frame.Append(r.pending, frame.Stdin, r.typed[:n])
		r.typed = r.typed[n:]
		r.credit -= n
	}
	if len(r.typed) == 0 {
		r.typed = nil
	}
}

func (r *run) resized() {
	w, h, err := term.GetSize(r.o.Out.Fd())
	if err != nil || w < 1 || h < 1 {
		return
	}
	r.pending = frame.Append(r.pending, frame.Resize, resize(w, h))
}

// read reads the terminal.
func (r *run) read(in io.Reader) error {
	for {
		buf := make([]byte, 4096)
		n, err := in.Read(buf)
		if n > 0 {
			select {
			case r.keys <- buf[:n]:
			case <-r.quit:
				r.left = buf[:n]
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// write writes frames. An error is not its own to report: the reading side
// sees the same connection break.
func (r *run) write() error {
	for {
		select {
		case b := <-r.send:
			if _, err := r.s.conn.Write(b); err != nil {
				_ = r.s.conn.Close()
				return err
			}
		case <-r.quit:
			return nil
		}
	}
}

// show writes the session's output to the terminal until the stream ends.
func (r *run) show() {
	var e ending
	if err := guard(func() error { e = r.output(); return nil }); err != nil {
		e.err = err
	}
	r.shown <- e
}

// lost is why the stream ended, for a person. One that ends with its daemon ends
// in many ways: by its end, in the middle of a frame, by a reset, or closed here
// when what was typed could not be written any more.
func lost(err error) error {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return errors.New("the daemon closed it")
		}
	}
	return err
}

// outMax is how much output is gathered for one write to the terminal.
const outMax = 64 << 10

func (r *run) output() ending {
	var out []byte
	for {
		t, p, err := r.s.frames.Next()
		if err != nil {
			_, _ = r.o.Out.Write(out)
			return ending{err: lost(err)}
		}
		switch t {
		case frame.Stdout, frame.Stderr:
			out = r.filter.Write(out, p)
		case frame.Ack:
			if len(p) == 4 {
				select {
				case r.acks <- int(binary.BigEndian.Uint32(p)):
				case <-r.quit:
				}
			}
		case frame.Exit:
			_, _ = r.o.Out.Write(out)
			var st frame.ExitStatus
			if err := json.Unmarshal(p, &st); err != nil {
				return ending{err: fmt.Errorf("the exit status: %w", err)}
			}
			return ending{exit: &st}
		default: // of a newer daemon, or none of our business
		}
		if len(out) > 0 && (len(out) >= outMax || !r.more()) {
			if _, err := r.o.Out.Write(out); err != nil {
				return ending{err: fmt.Errorf("write to the terminal: %w", err)}
			}
			out = out[:0]
		}
	}
}

// more tells whether another whole frame has been read already.
func (r *run) more() bool {
	const header = 5
	n := r.s.buf.Buffered()
	if n < header {
		return false
	}
	h, err := r.s.buf.Peek(header)
	return err == nil && n >= header+int(binary.BigEndian.Uint32(h[1:]))
}

// guard runs fn and turns a panic into an error: a panic in a goroutine would
// end the process with the terminal raw.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a fault of cove: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// stopped returns a timer that does not run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
