// Package tuitest runs a program on a real pseudo-terminal and reads its
// screen through an emulator, which answers the program's queries as a
// terminal would. Every wait wakes up on output; none polls.
//
// It is generic: give it any command. A wait that is not met fails the test
// with the screen as it is then.
package tuitest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// Config says what to run and where.
type Config struct {
	// Cols and Rows are the size of the screen, by default 80 by 24.
	Cols, Rows int
	// Env is the program's whole environment; TERM is added when it is not
	// in it. Nothing is inherited, so that a test runs the same everywhere.
	Env []string
	// Dir is the program's working directory.
	Dir string
	// Timeout is how long a wait may last, by default 20 seconds.
	Timeout time.Duration
}

// Terminal is a program on a pseudo-terminal. Its methods may be called from
// the test's goroutine only.
type Terminal struct {
	t       testing.TB
	timeout time.Duration
	cmd     *exec.Cmd
	kill    context.CancelFunc // ends cmd
	pty     *os.File

	mu      sync.Mutex
	emu     *vt.Emulator
	modes   map[int]bool
	kitty   []int // the stack of keyboard flags of the screen in use
	kittyBg []int // that of the other screen
	title   string
	clip    string // what was put into the clipboard last
	cursor  bool
	held    time.Time // since when output is synchronized
	bytes   int64
	raw     []byte // the last output, for failures
	eof     bool
	changed chan struct{} // closed and replaced at every output

	waited  chan struct{} // closed when the program has ended
	waitErr error
	workers sync.WaitGroup
}

// Start runs the program. It is killed, and all that belongs to it given
// back, when the test ends.
func Start(t testing.TB, cfg Config, name string, args ...string) *Terminal {
	t.Helper()
	if cfg.Cols == 0 {
		cfg.Cols = 80
	}
	if cfg.Rows == 0 {
		cfg.Rows = 24
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	tt := &Terminal{
		t: t, timeout: cfg.Timeout, emu: vt.NewEmulator(cfg.Cols, cfg.Rows), cursor: true,
		modes: make(map[int]bool), changed: make(chan struct{}), waited: make(chan struct{}),
	}
	tt.emu.SetScrollbackSize(1)
	tt.watch()

	// Not the test's context: that one ends before the clean-up in which tests
	// may still leave the program in order.
	ctx, kill := context.WithCancel(context.Background())
	tt.cmd, tt.kill = exec.CommandContext(ctx, name, args...), kill
	tt.cmd.Dir = cfg.Dir
	tt.cmd.Env = slices.Clone(cfg.Env)
	if !slices.ContainsFunc(tt.cmd.Env, func(kv string) bool { return strings.HasPrefix(kv, "TERM=") }) {
		tt.cmd.Env = append(tt.cmd.Env, "TERM=xterm-256color")
	}
	f, err := pty.StartWithSize(tt.cmd, &pty.Winsize{Cols: uint16(cfg.Cols), Rows: uint16(cfg.Rows)})
	if err != nil {
		kill()
		t.Fatalf("start %s: %v", name, err)
	}
	tt.pty = f

	tt.workers.Add(3)
	replies := make(chan []byte, 256)
	go func() { defer tt.workers.Done(); defer close(replies); drain(tt.emu, replies) }()
	go func() {
		defer tt.workers.Done()
		for r := range replies {
			_, _ = tt.pty.Write(r)
		}
	}()
	go func() { defer tt.workers.Done(); tt.read() }()
	go func() {
		tt.waitErr = tt.cmd.Wait()
		close(tt.waited)
	}()
	t.Cleanup(tt.close)
	return tt
}

// drain takes the emulator's answers, which would block it otherwise
// (charmbracelet/x#939). A full queue drops them: the program does not read.
func drain(e *vt.Emulator, replies chan<- []byte) {
	buf := make([]byte, 4096)
	for {
		n, err := e.Read(buf)
		if err != nil {
			return
		}
		if replies == nil {
			continue
		}
		select {
		case replies <- slices.Clone(buf[:n]):
		default:
		}
	}
}

// endReplies ends drain. The emulator's own Close races with its Read.
func endReplies(e *vt.Emulator) {
	if c, ok := e.InputPipe().(io.Closer); ok {
		_ = c.Close()
	}
}

// synchronized is the DEC private mode of synchronized output.
const synchronized = 2026

// heldMost is how long a terminal shows nothing new because of it, at most: a
// program may forget to end it.
const heldMost = 150 * time.Millisecond

// watch follows what the emulator does not tell: modes, keyboard flags, title.
func (tt *Terminal) watch() {
	e := tt.emu
	mode := func(m ansi.Mode, on bool) {
		if d, ok := m.(ansi.DECMode); ok {
			if d == synchronized && on && !tt.modes[synchronized] {
				tt.held = time.Now()
			}
			tt.modes[int(d)] = on
		}
	}
	e.SetCallbacks(vt.Callbacks{
		EnableMode:       func(m ansi.Mode) { mode(m, true) },
		DisableMode:      func(m ansi.Mode) { mode(m, false) },
		CursorVisibility: func(v bool) { tt.cursor = v },
		Title:            func(s string) { tt.title = s },
		// The stacks of keyboard flags are one for each screen.
		AltScreen: func(bool) { tt.kitty, tt.kittyBg = tt.kittyBg, tt.kitty },
	})
	// Synchronized output: what is between is not for looking at.
	e.RegisterCsiHandler(ansi.Command('?', '$', 'p'), func(p ansi.Params) bool {
		if n, _, _ := p.Param(0, 0); n != synchronized {
			return false
		}
		state := 2
		if tt.modes[synchronized] {
			state = 1
		}
		_, _ = fmt.Fprintf(e.InputPipe(), "\x1b[?%d;%d$y", synchronized, state)
		return true
	})
	e.RegisterOscHandler(52, func(data []byte) bool {
		if _, text, ok := strings.Cut(strings.TrimPrefix(string(data), "52;"), ";"); ok && text != "?" {
			if b, err := base64.StdEncoding.DecodeString(text); err == nil {
				tt.clip = string(b)
			}
		}
		return true
	})
	e.RegisterCsiHandler(ansi.Command('>', 0, 'u'), func(p ansi.Params) bool {
		n, _, _ := p.Param(0, 0)
		tt.kitty = append(tt.kitty, n)
		return true
	})
	e.RegisterCsiHandler(ansi.Command('<', 0, 'u'), func(p ansi.Params) bool {
		n, _, _ := p.Param(0, 1)
		tt.kitty = tt.kitty[:max(len(tt.kitty)-n, 0)]
		return true
	})
	e.RegisterCsiHandler(ansi.Command('=', 0, 'u'), func(p ansi.Params) bool {
		n, _, _ := p.Param(0, 0)
		how, _, _ := p.Param(1, 1)
		if len(tt.kitty) == 0 {
			tt.kitty = append(tt.kitty, 0)
		}
		top := &tt.kitty[len(tt.kitty)-1]
		switch how {
		case 2:
			*top |= n
		case 3:
			*top &^= n
		default:
			*top = n
		}
		return true
	})
	e.RegisterCsiHandler(ansi.Command('?', 0, 'u'), func(ansi.Params) bool {
		_, _ = fmt.Fprintf(e.InputPipe(), "\x1b[?%du", top(tt.kitty))
		return true
	})
}

func top(stack []int) int {
	if len(stack) == 0 {
		return 0
	}
	return stack[len(stack)-1]
}

const rawKept = 16 << 10

func (tt *Terminal) read() {
	buf := make([]byte, 32<<10)
	for {
		n, err := tt.pty.Read(buf)
		tt.mu.Lock()
		if n > 0 {
			tt.bytes += int64(n)
			tt.raw = append(tt.raw, buf[:n]...)
			tt.raw = tt.raw[max(len(tt.raw)-rawKept, 0):]
			_, _ = tt.emu.Write(buf[:n])
		}
		tt.eof = err != nil // EIO: the last user of the terminal has closed it
		close(tt.changed)
		tt.changed = make(chan struct{})
		tt.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// close ends the program, if it still runs, and waits for the goroutines.
func (tt *Terminal) close() {
	tt.kill()
	<-tt.waited
	_ = tt.pty.Close()
	endReplies(tt.emu)
	tt.workers.Wait()
}

// Send types s, as the bytes a terminal would send.
func (tt *Terminal) Send(s string) {
	tt.t.Helper()
	if _, err := io.WriteString(tt.pty, s); err != nil {
		tt.t.Fatalf("type %q: %v\n%s", s, err, tt.dump())
	}
}

// See waits until the text is on the screen, in one line.
func (tt *Terminal) See(text string) Screen {
	tt.t.Helper()
	return tt.Wait(fmt.Sprintf("%q on the screen", text), func(s Screen) bool { return s.Has(text) })
}

// Gone waits until the text is nowhere on the screen.
func (tt *Terminal) Gone(text string) Screen {
	tt.t.Helper()
	return tt.Wait(fmt.Sprintf("%q gone from the screen", text), func(s Screen) bool { return !s.Has(text) })
}

// Wait waits until ok holds of the screen. what says in a failure what was
// waited for.
func (tt *Terminal) Wait(what string, ok func(Screen) bool) Screen {
	tt.t.Helper()
	timer := time.NewTimer(tt.timeout)
	defer timer.Stop()
	for {
		tt.mu.Lock()
		s, changed, eof := tt.capture(), tt.changed, tt.eof
		whole := !tt.modes[synchronized] || time.Since(tt.held) > heldMost
		tt.mu.Unlock()
		if (whole || eof) && ok(s) {
			return s
		}
		if eof {
			tt.t.Fatalf("the program ended; waited for %s\n%s", what, tt.dump())
		}
		var late <-chan time.Time
		if !whole {
			late = time.After(heldMost)
		}
		select {
		case <-changed:
		case <-late:
		case <-timer.C:
			tt.t.Fatalf("waited %s for %s\n%s", tt.timeout, what, tt.dump())
		}
	}
}

func (tt *Terminal) capture() Screen { return capture(tt.emu, tt.cursor, tt.title) }

// Screen is what the terminal shows now.
func (tt *Terminal) Screen() Screen {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	return tt.capture()
}

// Mode tells whether the DEC private mode n is set (1049 the alternate screen,
// 1000 to 1006 the mouse, 2004 bracketed paste, 1 application cursor keys).
func (tt *Terminal) Mode(n int) bool {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	return tt.modes[n]
}

// Modes returns those of the given modes that are set.
func (tt *Terminal) Modes(ns ...int) []int {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(ns), func(n int) bool { return !tt.modes[n] })
}

// Keyboard is the kitty keyboard protocol's flags in force on the screen in
// use, 0 for the keyboard of old.
func (tt *Terminal) Keyboard() int {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	return top(tt.kitty)
}

// Clipboard is what the program has put into the clipboard last (OSC 52).
func (tt *Terminal) Clipboard() string {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	return tt.clip
}

// HangUp closes the terminal, as one does that closes its window.
func (tt *Terminal) HangUp() { _ = tt.pty.Close() }

// Bytes is how many bytes the program has written so far.
func (tt *Terminal) Bytes() int64 {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	return tt.bytes
}

// Resize gives the terminal a new size, of which the program is told.
func (tt *Terminal) Resize(cols, rows int) {
	tt.t.Helper()
	tt.mu.Lock()
	tt.emu.Resize(cols, rows)
	tt.mu.Unlock()
	if err := pty.Setsize(tt.pty, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)}); err != nil {
		tt.t.Fatalf("resize: %v", err)
	}
}

// Pid is the program's process id.
func (tt *Terminal) Pid() int { return tt.cmd.Process.Pid }

// Signal sends the program a signal.
func (tt *Terminal) Signal(s syscall.Signal) {
	tt.t.Helper()
	if err := tt.cmd.Process.Signal(s); err != nil {
		tt.t.Fatalf("signal %v: %v", s, err)
	}
}

// Exit waits for the program to end and returns what exec.Cmd.Wait returned:
// nil for status 0. All its output is on the screen then.
func (tt *Terminal) Exit() error {
	tt.t.Helper()
	timer := time.NewTimer(tt.timeout)
	defer timer.Stop()
	select {
	case <-tt.waited:
	case <-timer.C:
		// A Go program answers SIGQUIT with its stacks: the best witness.
		_ = tt.cmd.Process.Signal(syscall.SIGQUIT)
		grace := time.NewTimer(2 * time.Second)
		defer grace.Stop()
		select {
		case <-tt.waited:
		case <-grace.C:
		}
		tt.t.Fatalf("the program did not end within %s\n%s", tt.timeout, tt.dump())
	}
	for {
		tt.mu.Lock()
		changed, eof := tt.changed, tt.eof
		tt.mu.Unlock()
		if eof {
			break
		}
		select {
		case <-changed:
		case <-timer.C: // a child of the program keeps the terminal open
			return tt.waitErr
		}
	}
	return tt.waitErr
}

// Code is the exit status of the program: [Terminal.Exit] as a number, -1
// when a signal ended it.
func (tt *Terminal) Code() int {
	tt.t.Helper()
	err := tt.Exit()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

func (tt *Terminal) dump() string {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	s := tt.capture()
	var b strings.Builder
	fmt.Fprintf(&b, "screen %dx%d, cursor %d,%d shown=%v alt=%v title=%q keyboard=%d, %d bytes so far\n",
		tt.emu.Width(), tt.emu.Height(), s.X, s.Y, s.Cursor, s.Alt, s.Title, top(tt.kitty), tt.bytes)
	for _, l := range s.Lines {
		b.WriteString("  |" + l + "\n")
	}
	tail := tt.raw[max(len(tt.raw)-2048, 0):]
	fmt.Fprintf(&b, "last output: %q\n", tail)
	return b.String()
}

// Settle waits until the program has written nothing for d: the one thing
// that can only be seen by waiting.
func (tt *Terminal) Settle(d time.Duration) {
	tt.t.Helper()
	end := time.NewTimer(tt.timeout)
	defer end.Stop()
	quiet := time.NewTimer(d)
	defer quiet.Stop()
	for {
		tt.mu.Lock()
		changed := tt.changed
		tt.mu.Unlock()
		select {
		case <-quiet.C:
			return
		case <-changed:
			quiet.Reset(d)
		case <-end.C:
			tt.t.Fatalf("the program writes all the time\n%s", tt.dump())
		}
	}
}
