package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cove/runtime/cgroup"
	"cove/runtime/lifecycle"
)

// freezeTimeout is how long all processes of a sandbox may take to stand still.
// It takes microseconds, but where one waits for a disk.
const freezeTimeout = 10 * time.Second

// Pause stops every process of a sandbox where it is; memory, terminals and open
// connections are kept. One that is paused is left alone. It fails with
// [ErrUnsupported] where the host cannot freeze; the sandbox runs on then.
func (m *Manager) Pause(ctx context.Context, c Caller, ref string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	return m.perform(ctx, b, lifecycle.OpPause, m.pause)
}

// pause is the body of the operation. It may be carried out again on what a
// killed daemon had frozen.
func (m *Manager) pause(o *operation) error {
	b := o.b
	o.enter(lifecycle.Pausing)
	err := o.point("pausing")
	if err == nil {
		err = m.freeze(o)
	}
	if err == nil {
		err = m.desire(b, lifecycle.Paused)
	}
	if err != nil {
		if thaw := m.thaw(context.WithoutCancel(o.ctx), b); thaw != nil {
			o.enter(lifecycle.Paused)
			return errors.Join(err, thaw)
		}
		o.enter(lifecycle.Started)
		return err
	}
	o.enter(lifecycle.Paused)
	return nil
}

func (m *Manager) freeze(o *operation) error {
	b := o.b
	b.ice.Lock()
	defer b.ice.Unlock()
	b.mu.Lock()
	b.frozen = true // from here on it may be
	w := b.watch
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(o.ctx, freezeTimeout)
	defer cancel()
	err := m.opt.Cgroups.Freeze(ctx, b.id)
	select {
	case <-w.exited:
		return errors.New("it ended while it was being paused")
	default:
	}
	switch {
	case errors.Is(err, cgroup.ErrUnavailable):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("some process did not stand still within %v, it may wait for a disk: %w", freezeTimeout, err)
	case err != nil:
		return err
	}
	o.stage("frozen")
	return nil
}

// Resume lets the processes of a paused sandbox go on; one that is started is
// left alone.
func (m *Manager) Resume(ctx context.Context, c Caller, ref string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	return m.perform(ctx, b, lifecycle.OpResume, m.resume)
}

func (m *Manager) resume(o *operation) error {
	b := o.b
	o.enter(lifecycle.Resuming)
	err := o.point("resuming")
	if err == nil {
		err = m.thaw(o.ctx, b)
	}
	if err != nil {
		o.enter(lifecycle.Paused)
		return err
	}
	o.stage("thawed")
	m.guard.poke()
	// It runs, whatever becomes of the record: what it says is told by the
	// next one that is written.
	b.mu.Lock()
	b.reason, b.rec.Reason = lifecycle.Reason{}, lifecycle.Reason{} // of a pause that nobody asked for
	b.mu.Unlock()
	if err := m.desire(b, lifecycle.Started); err != nil {
		m.log.Warn("could not record a resume", "sandbox", b.id, "error", err)
	}
	o.enter(lifecycle.Started)
	return nil
}

// desire records in which state the sandbox is to be.
func (m *Manager) desire(b *box, s lifecycle.State) error {
	if err := m.save(b, func(r *record) { r.Desired = s }); err != nil {
		return noSpace(fmt.Errorf("record that it is to be %s: %w", s, err))
	}
	return nil
}

// thaw lets what is paused of a sandbox go on, unless it is held; where nothing
// is, it does nothing.
func (m *Manager) thaw(ctx context.Context, b *box) error {
	b.ice.Lock()
	defer b.ice.Unlock()
	b.mu.Lock()
	frozen, held := b.frozen, b.held != "" && !b.ending
	b.mu.Unlock()
	if !frozen {
		return nil
	}
	if !held {
		ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
		defer cancel()
		if err := m.opt.Cgroups.Thaw(ctx, b.id); err != nil {
			return err
		}
	}
	b.mu.Lock()
	b.frozen = false
	b.mu.Unlock()
	return nil
}

// thawToEnd lets a sandbox that was killed go on, to its end: in some freezers
// nothing dies. It is not held again.
func (m *Manager) thawToEnd(ctx context.Context, b *box) error {
	b.ice.Lock()
	defer b.ice.Unlock()
	b.mu.Lock()
	frozen := b.frozen || b.held != ""
	b.mu.Unlock()
	if !frozen {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	return m.opt.Cgroups.Thaw(ctx, b.id)
}
