package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cove/runtime/lifecycle"
	"cove/runtime/store"
)

// operation is one operation under way on one sandbox. It is recorded before
// its first side effect and at each stage, so that the daemon after a killed
// one knows how far it came.
type operation struct {
	op     lifecycle.Operation
	from   lifecycle.State
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when it has ended; err is then set
	err    error

	// auto says that no person asked for it.
	auto bool
	// hooked: the command before a stop has run.
	hooked bool

	m   *Manager
	b   *box
	log *store.Oplog
	// args is what it was asked for, for the record: enough to finish it.
	args any
}

// begin takes the sandbox for op. It returns nil and the operation to wait for
// when another one under way already leads there, nil and nil when there is
// nothing to do, and a *ConflictError when the table or another operation
// forbids it. A delete cancels what is under way and waits for its end.
func (m *Manager) begin(ctx context.Context, b *box, op lifecycle.Operation) (*operation, *operation, error) {
	for {
		b.mu.Lock()
		if b.gone {
			b.mu.Unlock()
			return nil, nil, ErrNotFound
		}
		verdict := lifecycle.Check(op, b.state)
		cur := b.op
		if cur == nil {
			break
		}
		state, name := b.state, b.rec.Name
		b.mu.Unlock()
		switch {
		case verdict == lifecycle.Nothing && leadsTo(cur.op, op):
			return nil, cur, nil
		case op == lifecycle.OpDelete, verdict == lifecycle.Cancels:
			cur.cancel(ErrCanceled)
			select {
			case <-cur.done:
			case <-ctx.Done():
				return nil, nil, context.Cause(ctx)
			}
		default:
			return nil, nil, &ConflictError{Name: name, Op: cur.op, State: state, Why: fmt.Sprintf("%s is under way (the sandbox is %s); try again when it has ended", cur.op, state)}
		}
	}
	defer b.mu.Unlock()
	switch lifecycle.Check(op, b.state) {
	case lifecycle.Nothing:
		return nil, nil, nil
	case lifecycle.Refused:
		return nil, nil, &ConflictError{Name: b.rec.Name, State: b.state, Why: lifecycle.Why(op, b.state)}
	case lifecycle.Allowed, lifecycle.Cancels:
	}
	o := m.newOperation(b, op)
	b.op = o
	return o, nil, nil
}

func (m *Manager) newOperation(b *box, op lifecycle.Operation) *operation {
	ctx, cancel := context.WithCancelCause(m.ctx)
	return &operation{op: op, from: b.state, ctx: ctx, cancel: cancel, done: make(chan struct{}), m: m, b: b}
}

// leadsTo tells whether the operation under way ends where want would.
func leadsTo(cur, want lifecycle.Operation) bool {
	switch want {
	case lifecycle.OpStart:
		return cur == lifecycle.OpStart || cur == lifecycle.OpRestart
	case lifecycle.OpStop, lifecycle.OpDelete:
		return cur == want
	default:
		return cur == want
	}
}

// perform runs body as op on the sandbox, in a goroutine of the Manager's, and
// waits for its end. When ctx ends first the operation goes on without its
// caller.
func (m *Manager) perform(ctx context.Context, b *box, op lifecycle.Operation, body func(*operation) error) (Info, error) {
	return m.performWith(ctx, b, op, nil, body)
}

// performWith is perform of what is recorded with its arguments.
func (m *Manager) performWith(ctx context.Context, b *box, op lifecycle.Operation, args any, body func(*operation) error) (Info, error) {
	o, other, err := m.begin(ctx, b, op)
	if err != nil {
		return Info{}, err
	}
	switch {
	case o != nil:
		o.args = args
		m.wg.Go(func() { o.run(body) })
	case other != nil:
		o = other
	default:
		return b.snapshot(), nil
	}
	select {
	case <-o.done:
		return b.snapshot(), o.err
	case <-ctx.Done():
		return b.snapshot(), context.Cause(ctx)
	}
}

// run carries out body and gives the sandbox free again.
func (o *operation) run(body func(*operation) error) {
	defer o.cancel(nil)
	o.err = o.open()
	if o.err == nil {
		o.err = body(o)
	}
	if o.err != nil && o.ctx.Err() != nil {
		// Whatever failed last, this is why.
		o.err = context.Cause(o.ctx)
	}
	o.end()
}

// open writes the record of the operation: nothing may happen before.
func (o *operation) open() error {
	if o.log != nil {
		return nil
	}
	dir := o.m.runDir(o.b.id)
	if err := makeRunDir(dir); err != nil {
		return err
	}
	log, err := store.OpenOplog(filepath.Join(dir, oplogFile), false)
	if err != nil {
		return noSpace(fmt.Errorf("open the operation's record: %w", err))
	}
	if err := log.BeginWith(string(o.op), string(o.from), o.args); err != nil {
		return errors.Join(noSpace(err), log.Close())
	}
	o.log = log
	return nil
}

func (o *operation) end() {
	if o.log != nil {
		result := "done"
		if o.err != nil {
			result = "failed"
		}
		// A record that cannot be ended, or whose operation this daemon's end
		// cut short, reads as unfinished: the next daemon finds the truth by
		// looking.
		if o.m.ctx.Err() == nil || o.err == nil {
			_ = o.log.End(result)
		}
		_ = o.log.Close()
	}
	b := o.b
	b.mu.Lock()
	if b.run == nil {
		_ = os.RemoveAll(o.m.runDir(b.id))
	}
	b.op, b.doing = nil, ""
	if b.run != nil && !o.auto && b.clock != nil {
		b.idle.used(b.clock().Awake) // somebody did something with it
	}
	if !b.gone {
		o.m.publish(b)
	}
	w, layers := b.watch, len(b.rec.Base.Layers)
	b.mu.Unlock()
	close(o.done)
	if layers > mergeAt {
		o.m.merge()
	}
	if w != nil {
		select {
		case <-w.exited: // PID 1 ended while the operation was looking elsewhere
			o.m.wg.Go(func() { o.m.died(b, w) })
		default:
		}
	}
}

// enter moves the sandbox to a state and tells everybody.
func (o *operation) enter(s lifecycle.State) {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	o.b.state = s
	o.m.publish(o.b)
}

// doing tells everybody what the operation is at; "" that there is nothing to
// tell.
func (o *operation) doing(what string) {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	if o.b.doing != what {
		o.b.doing = what
		o.m.publish(o.b)
	}
}

// stage records that the operation has come so far.
func (o *operation) stage(name string) {
	if o.log != nil {
		_ = o.log.Stage(name)
	}
	if o.m.opt.OnStage != nil {
		o.m.opt.OnStage(string(o.op), name)
	}
}

// point is a cancellation point: it fails when a delete wants the sandbox.
func (o *operation) point(name string) error {
	o.stage(name)
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	return nil
}

// makeRunDir makes a sandbox's run directory. The sandbox's own root passes
// through it to its mounted root, so others may search it; the daemon's umask
// must not take that away.
func makeRunDir(dir string) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return noSpace(fmt.Errorf("make the run directory: %w", err))
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("open the run directory to its sandbox: %w", err)
	}
	return nil
}

// undo is a stack of what to give back.
type undo struct{ steps []func() }

func (u *undo) push(f func()) { u.steps = append(u.steps, f) }

// run gives everything back, last taken first. It may be called once.
func (u *undo) run() {
	for i := len(u.steps) - 1; i >= 0; i-- {
		u.steps[i]()
	}
	u.steps = nil
}
