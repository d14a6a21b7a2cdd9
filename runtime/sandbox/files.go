package sandbox

import (
	"context"
	"sync"

	"cove/config"
	"cove/runtime/lifecycle"
)

// Files returns the way into a sandbox for copying files: that of [Manager.Guest]
// where it is started. One that is stopped is occupied until Close: its root is
// mounted and its PID 1 runs, in all the confinement of a start, but without
// network, variables of the caller's and devices, and nothing else of it runs. So
// the files of a stopped sandbox, which may be made to lead anywhere, are looked
// at in its own view by its own user, as those of a started one are.
func (m *Manager) Files(ctx context.Context, c Caller, ref string) (*Guest, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return nil, err
	}
	if err := m.awaitResize(ctx, b); err != nil {
		return nil, err
	}
	i := b.snapshot()
	switch {
	case lifecycle.Check(lifecycle.OpCopy, i.State) != lifecycle.Allowed:
		return nil, &ConflictError{Name: i.Name, Op: i.Op, State: i.State, Why: lifecycle.Why(lifecycle.OpCopy, i.State)}
	case i.State == lifecycle.Started:
		return m.Guest(ctx, c, ref, config.ActivityExec)
	}
	if err := m.guard.admit(); err != nil {
		return nil, err
	}
	o, _, err := m.begin(ctx, b, lifecycle.OpCopy)
	if err != nil {
		return nil, err
	}
	if o.from == lifecycle.Started { // meanwhile: nothing is to be done for it
		o.run(func(*operation) error { return nil })
		return m.Guest(ctx, c, ref, config.ActivityExec)
	}
	ready, end := make(chan struct{}), make(chan struct{})
	over := sync.OnceFunc(func() { close(end) })
	g := &Guest{Client: m.client(b.id), m: m, b: b, done: func() { over(); <-o.done }}
	m.wg.Go(func() {
		o.run(func(o *operation) error { return m.copying(o, ready, end) })
	})
	select {
	case <-ready:
		g.Info = b.snapshot()
		return g, nil
	case <-o.done:
		return nil, o.err
	case <-ctx.Done():
		over() // once it is there, it goes again
		return nil, context.Cause(ctx)
	}
}

// copying is the body of the operation: between ready and end there is a PID 1 to
// talk to.
func (m *Manager) copying(o *operation, ready, end chan struct{}) error {
	b := o.b
	o.enter(o.from) // it says what is under way
	if err := m.launchAs(o, quiet(b.record()), nil, nil); err != nil {
		return asMount(err)
	}
	o.stage("open")
	close(ready)
	var err error
	select {
	case <-end:
	case <-o.ctx.Done():
		err = context.Cause(o.ctx)
	}
	m.stopNow(b)
	return err
}

// quiet is what of a sandbox is needed to look at its files.
func quiet(r record) record {
	r.Spec.Network = config.Network{BlockAll: true}
	r.Spec.Resources.GPU, r.Spec.Resources.GPUShared = config.GPURequest{}, false
	r.Spec.Env = nil
	return r
}
