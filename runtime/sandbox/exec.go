package sandbox

import (
	"context"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
	"cove/runtime/guest"
	"cove/runtime/lifecycle"
)

// Guest is the way to PID 1 of one running sandbox.
type Guest struct {
	Info   Info
	Client *guest.Client

	m *Manager
	b *box
	// done ends what was begun for this way in alone; nil: nothing was.
	done func()
}

// Close gives the way back. It may be called again.
func (g *Guest) Close() {
	if g.done != nil {
		g.done()
	}
}

// Guest returns the way into a started sandbox for a use of it: one of
// config's kinds of activity, which it is until Close, or "" for what is none. It
// fails with [ErrNotFound] and with a *[ConflictError] where the sandbox does not
// run, or is about to be stopped or paused: what has begun before is seen by
// who stops it. While it is being resized it waits for that: programs go on
// meanwhile, and soon there is room for others.
func (m *Manager) Guest(ctx context.Context, c Caller, ref, use string) (*Guest, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return nil, err
	}
	if err := m.awaitResize(ctx, b); err != nil {
		return nil, err
	}
	b.mu.Lock()
	i := b.info()
	if state := b.entering(); lifecycle.Check(lifecycle.OpExec, state) != lifecycle.Allowed {
		b.mu.Unlock()
		return nil, &ConflictError{Name: i.Name, Op: i.Op, State: state, Why: lifecycle.Why(lifecycle.OpExec, state)}
	}
	if i.Held != "" {
		b.mu.Unlock()
		return nil, &ConflictError{Name: i.Name, Op: i.Op, State: i.State, Why: "it is held: " + i.Held}
	}
	end := b.begin(use)
	b.wake()
	b.mu.Unlock()
	b.active.touch(m.now())
	return &Guest{Info: i, Client: m.client(b.id), m: m, b: b, done: end}, nil
}

// awaitResize waits for the end of a resize of a sandbox that runs.
func (m *Manager) awaitResize(ctx context.Context, b *box) error {
	b.mu.Lock()
	o, runs := b.op, b.run != nil
	b.mu.Unlock()
	if o == nil || o.op != lifecycle.OpResize || !runs {
		return nil
	}
	select {
	case <-o.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// entering is the state that the sandbox is in, or that its operation brings it
// into first. The caller holds b.mu.
func (b *box) entering() lifecycle.State {
	if b.op == nil || b.state != b.op.from {
		return b.state
	}
	if r, ok := lifecycle.RuleOf(b.op.op); ok && len(r.Via) > 0 {
		return r.Via[0]
	}
	return b.state
}

// Finish completes what PID 1 said of a program's end with what only the host
// knows: that the kernel killed it for memory.
func (g *Guest) Finish(s frame.ExitStatus) frame.ExitStatus {
	// Before the client hears of the end, so that it finds the sandbox free.
	defer g.Close()
	if s.Reason == frame.ReasonNone && s.Signal == int(unix.SIGKILL) && g.m.oomKilled(g.b) {
		s.Reason = frame.ReasonOOM
	}
	return s
}

// Sessions lists the terminal sessions of a sandbox; none when it does not run
// or is paused.
func (m *Manager) Sessions(ctx context.Context, c Caller, ref string) ([]guest.SessionInfo, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return nil, err
	}
	switch i := b.snapshot(); {
	case !i.State.Running():
		return nil, nil
	case i.Held != "" || i.State == lifecycle.Pausing || i.State == lifecycle.Paused:
		return nil, nil // it has some, and cannot say so
	}
	return m.client(b.id).Sessions(ctx)
}
