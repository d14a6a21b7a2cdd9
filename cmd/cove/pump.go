package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"github.com/charmbracelet/x/term"
	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/frame"
	"cove/runtime/lifecycle"
	"cove/tui/attach"
)

// Statuses that stand for how a program ended, as timeout(1) and shells have
// them.
const (
	statusTimeout = 124
	statusKilled  = 128 + 9
	statusPipe    = 128 + 13
)

// forwarder catches the signals that are meant for the program inside, from
// the first moment on, and hands them to its present target.
type forwarder struct {
	ch   chan os.Signal
	pipe chan os.Signal
	done chan struct{}

	mu   sync.Mutex
	to   func(number int)
	kept []int // came before there was a target
}

func newForwarder() *forwarder {
	f := &forwarder{ch: make(chan os.Signal, 16), pipe: make(chan os.Signal, 1), done: make(chan struct{})}
	signal.Notify(f.ch, heeded(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)...)
	// Caught, a write to a closed pipe is an error and not our end: there is
	// a program to tell, and perhaps a sandbox to delete.
	signal.Notify(f.pipe, unix.SIGPIPE)
	go f.loop()
	return f
}

func (f *forwarder) loop() {
	for {
		select {
		case s := <-f.ch:
			if s, ok := s.(unix.Signal); ok {
				f.forward(int(s))
			}
		case <-f.done:
			return
		}
	}
}

func (f *forwarder) forward(number int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to == nil {
		f.kept = append(f.kept, number)
		return
	}
	f.to(number)
}

// target says who gets the signals from now on, and those kept so far.
func (f *forwarder) target(to func(number int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
	for _, number := range f.kept {
		to(number)
	}
	f.kept = nil
}

func (f *forwarder) stop() {
	signal.Stop(f.ch)
	signal.Stop(f.pipe)
	close(f.done)
}

// pump connects the program to this process's streams until it ends.
func (a *app) pump(conn *api.Stream, req api.ExecRequest) (frame.ExitStatus, error) {
	streams := frame.Streams{Stdout: a.stdout, Stderr: a.stderr}
	if req.Stdin {
		// Its reader ends with the process, which is about to.
		streams.Stdin = a.stdin
	}
	if req.TTY {
		restore, err := a.rawTerminal(conn)
		if err != nil {
			return frame.ExitStatus{}, err
		}
		defer restore()
		// What runs inside draws on the person's own terminal: it may not
		// make that type, print or touch the clipboard, and what modes it
		// leaves on are turned off.
		screen := attach.NewWriter(a.stdout)
		defer func() { _ = screen.Reset() }()
		streams.Stdout = screen
	}
	st, err := conn.Pump(streams)
	if errors.Is(err, unix.EPIPE) && !errors.Is(err, frame.ErrNoExit) {
		// Nobody reads the output any more: the program gets what a write to
		// a closed pipe would give it, and the end of the connection.
		_ = conn.Signal(int(unix.SIGPIPE))
		return st, &exitError{status: statusPipe}
	}
	return st, err
}

// rawTerminal passes every key on as it is typed and follows the terminal's
// size. What it returns undoes that.
func (a *app) rawTerminal(conn *api.Stream) (restore func(), err error) {
	before, err := term.MakeRaw(a.stdin.Fd())
	if err != nil {
		return nil, fmt.Errorf("make the terminal raw: %w", err)
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			// The first time tells of a change between the request and now.
			if cols, rows := terminalSize(a.stdout); cols > 0 {
				_ = conn.Resize(cols, rows)
			}
			select {
			case <-resized:
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(resized)
		close(done)
		wg.Wait()
		_ = term.Restore(a.stdin.Fd(), before)
	}, nil
}

// terminalSize is 0, 0 where f is no terminal.
func terminalSize(f *os.File) (cols, rows int) {
	cols, rows, err := term.GetSize(f.Fd())
	if err != nil {
		return 0, 0
	}
	return cols, rows
}

// outcome turns the end of a program into this program's own.
func (a *app) outcome(ctx context.Context, client *api.Client, name string, req api.ExecRequest, st frame.ExitStatus) error {
	fail := func(status int, format string, args ...any) error {
		return &exitError{status, prefixed(fmt.Errorf(format, args...), name)}
	}
	switch st.Reason {
	case frame.ReasonTimeout:
		return fail(statusTimeout, "killed: its time was up (--timeout %s)", req.Timeout)
	case frame.ReasonOOM:
		limit := ""
		if d, err := client.Get(ctx, name); err == nil && d.Spec.Resources.Memory > 0 {
			limit = " (limit " + d.Spec.Resources.Memory.String() + ")"
		}
		return fail(statusKilled, "killed: out of memory%s", limit)
	case frame.ReasonGone:
		d, err := client.Get(ctx, name)
		if errors.Is(err, api.ErrNotFound) || err == nil && (d.Spec.Automation.AutoDelete == 0 || d.State == lifecycle.Destroying) {
			return fail(statusKilled, "killed: the sandbox was stopped and deleted")
		}
		return fail(statusKilled, "killed: the sandbox was stopped (start it with: cove start %s)", name)
	case frame.ReasonNone:
	}
	switch {
	case st.Error != "":
		return fail(max(st.Code, statusFailed), "%s", st.Error)
	case st.Code != 0:
		return &exitError{status: st.Code & 0xff}
	}
	return nil
}
