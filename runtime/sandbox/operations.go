package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cove/runtime/lifecycle"
	"cove/runtime/volume"
)

// StartRequest is what a start is given.
type StartRequest struct {
	// Secrets are the values of the spec's variables that come from the
	// caller. They are kept in no file.
	Secrets map[string]string
	// SkipSetup leaves setup steps that are still to be done for the next
	// start: somebody comes to mend what they fail on.
	SkipSetup bool
}

// Start starts a stopped sandbox; one that is started already is left alone.
func (m *Manager) Start(ctx context.Context, c Caller, ref string, r StartRequest) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	if i := b.snapshot(); lifecycle.Check(lifecycle.OpStart, i.State) == lifecycle.Allowed {
		if err := checkSecrets(i.Spec, r.Secrets); err != nil {
			return i, err
		}
		if err := m.alive(b); err != nil {
			return i, err
		}
		if err := m.guard.admit(); err != nil {
			return i, err
		}
	}
	return m.perform(ctx, b, lifecycle.OpStart, func(o *operation) error { return m.start(o, r, nil) })
}

// start is the body of the operation; set is as for launch.
func (m *Manager) start(o *operation, r StartRequest, set *volume.Set) error {
	b := o.b
	if b.record().Rest == lifecycle.Archived {
		if err := m.restore(o); err != nil {
			return err
		}
		o.from = lifecycle.Stopped
	}
	o.enter(lifecycle.Starting)
	err := asMount(m.launch(o, r.Secrets, set))
	if err == nil && !r.SkipSetup {
		err = m.setup(o, r.Secrets)
	}
	if err == nil {
		err = m.started(o)
	}
	if err == nil {
		return nil
	}
	if b.snapshot().State == lifecycle.Error {
		return err // a failed setup step has said so already
	}
	m.stopNow(b)
	if o.from == lifecycle.Stopped || o.ctx.Err() != nil {
		return errors.Join(err, m.rest(o, lifecycle.Stopped, lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: "start: " + err.Error()}))
	}
	m.failed(o, err)
	return err
}

// Stop ends what runs inside: politely, and by force when the profile's
// stop_timeout is over, or at once when force is set. One that is stopped
// already is left alone. An ephemeral sandbox is gone afterwards.
func (m *Manager) Stop(ctx context.Context, c Caller, ref string, force bool) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	return m.perform(ctx, b, lifecycle.OpStop, func(o *operation) error {
		return m.stop(o, force, lifecycle.Reason{Kind: lifecycle.ReasonUser})
	})
}

// stop is the body of the operation.
func (m *Manager) stop(o *operation, force bool, reason lifecycle.Reason) error {
	o.enter(lifecycle.Stopping)
	m.shutdown(o, force)
	return m.finishStop(o, reason)
}

// shutdownGrace is what PID 1 may take beyond the stop_timeout it was given.
const shutdownGrace = time.Second

// shutdown asks PID 1 to end everything. What does not end, release kills.
func (m *Manager) shutdown(o *operation, force bool) {
	b := o.b
	b.mu.Lock()
	w, timeout := b.watch, time.Duration(b.rec.Spec.Automation.StopTimeout)
	b.mu.Unlock()
	// What is held may not write, and is not asked: that it is held is why it
	// is to go.
	if force || w == nil || b.isHeld() != "" || m.thaw(o.ctx, b) != nil {
		return
	}
	m.preStop(o)
	if timeout <= 0 {
		return
	}
	// A delete, and the daemon's own end, cut the waiting short.
	ctx, cancel := context.WithTimeout(o.ctx, timeout+shutdownGrace)
	defer cancel()
	if err := m.client(b.id).Shutdown(ctx, timeout); err != nil {
		m.log.Debug("PID 1 did not shut down", "sandbox", b.id, "error", err)
		return
	}
	select {
	case <-w.exited:
	case <-ctx.Done():
	}
}

// finishStop gives everything back and writes down why the sandbox stopped.
func (m *Manager) finishStop(o *operation, reason lifecycle.Reason) error {
	b := o.b
	if o.ctx.Err() != nil && m.ctx.Err() != nil {
		return ErrUnavailable // the daemon ends; the next one finishes the stop
	}
	o.stage("ended")
	m.stopNow(b)
	o.stage("released")
	if b.record().Spec.Automation.Ephemeral() {
		o.enter(lifecycle.Destroying)
		b.mu.Lock()
		b.reason = reason // it goes with the news of its end
		b.mu.Unlock()
		return m.discard(b)
	}
	return m.rest(o, lifecycle.Stopped, reason)
}

// rest puts the sandbox into a state in which nothing of it runs.
func (m *Manager) rest(o *operation, s lifecycle.State, reason lifecycle.Reason) error {
	b := o.b
	err := m.save(b, func(r *record) {
		b.reason = reason
		r.Rest, r.Reason, r.Stopped = s, reason, m.now().UTC()
		r.Desired = lifecycle.Stopped
	})
	o.enter(s)
	if err != nil {
		return noSpace(fmt.Errorf("record the stop: %w", err))
	}
	return nil
}

// Restart stops the sandbox and starts it again.
func (m *Manager) Restart(ctx context.Context, c Caller, ref string, secrets map[string]string, force bool) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	i := b.snapshot()
	if err := checkSecrets(i.Spec, secrets); err != nil {
		return i, err
	}
	if err := m.alive(b); err != nil {
		return i, err
	}
	if i.Spec.Automation.Ephemeral() && i.State.Running() {
		return i, &ConflictError{Name: i.Name, State: i.State, Why: "it is ephemeral (auto_delete = \"0\"): stopping it deletes it, so it cannot be restarted"}
	}
	if err := m.guard.admit(); err != nil {
		return i, err
	}
	return m.perform(ctx, b, lifecycle.OpRestart, func(o *operation) error {
		// What could not be mounted again keeps on running as it is.
		set, err := m.reopen(o.ctx, b.record())
		if err != nil {
			return asMount(err)
		}
		defer func() { _ = set.Close() }()
		letGo := m.gpus.keep(b.id)
		defer func() { letGo(b.snapshot().Pid != 0) }()
		o.enter(lifecycle.Stopping)
		m.shutdown(o, force)
		if o.ctx.Err() != nil && m.ctx.Err() != nil {
			return ErrUnavailable
		}
		o.stage("ended")
		m.stopNow(b)
		if err := o.point("released"); err != nil {
			return m.joinRest(o, err)
		}
		o.from = lifecycle.Stopped
		return m.start(o, StartRequest{Secrets: secrets}, set)
	})
}

func (m *Manager) joinRest(o *operation, err error) error {
	if rest := m.rest(o, lifecycle.Stopped, lifecycle.Reason{Kind: lifecycle.ReasonUser}); rest != nil {
		return rest
	}
	return err
}
