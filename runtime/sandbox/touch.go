package sandbox

import (
	"context"
	"fmt"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// Touch says that somebody still wants the sandbox: the time in which it was not
// in use, and that since it stopped, count from now. A ttl goes on. It fails with
// [ErrNotFound] and a *[ConflictError].
func (m *Manager) Touch(_ context.Context, c Caller, ref string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	b.file.Lock()
	defer b.file.Unlock()
	rec, err := m.updatable(b)
	if err != nil {
		return b.snapshot(), err
	}
	if rec.Spec.Automation.AutoDelete > 0 || rec.Spec.Automation.AutoArchive >= 0 {
		rec.Touched = m.now().UTC()
		if b.made {
			if err := m.write(b, rec); err != nil {
				return b.snapshot(), err
			}
		}
	}
	return m.touched(b, rec), nil
}

// touched puts into effect what was written down. The caller holds b.file.
func (m *Manager) touched(b *box, rec record) Info {
	now := m.clock()
	b.mu.Lock()
	b.rec.Spec.Automation, b.rec.Touched = rec.Spec.Automation, rec.Touched
	b.idle.used(now.Awake)
	b.trying = tries{}
	keep := b.run != nil && watched(rec.Spec.Automation)
	m.publish(b)
	i := b.info()
	b.mu.Unlock()
	if keep {
		m.keep(b, now, true)
	}
	return i
}

// SetAutomation changes what happens to a sandbox with time, from now on: no time
// that is over counts, but for the ttl, which is since the creation. It does not
// occupy the sandbox. It fails with an *[InvalidError], with a *[ConflictError]
// where the ttl would be over already, and with [ErrNotFound].
func (m *Manager) SetAutomation(_ context.Context, c Caller, ref string, a config.Automation) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	b.file.Lock()
	defer b.file.Unlock()
	rec, err := m.updatable(b)
	if err != nil {
		return b.snapshot(), err
	}
	rec.Spec.Automation = a
	if err := m.validate(CreateRequest{Spec: rec.Spec}); err != nil {
		return b.snapshot(), err
	}
	now := m.now()
	if _, over := rec.expired(now); over && a.TTL != b.record().Spec.Automation.TTL {
		return b.snapshot(), &ConflictError{
			Name: rec.Name, State: b.snapshot().State,
			Why: fmt.Sprintf("it was made %v ago, so a ttl of %v is over already; give it a longer one, or stop or delete it",
				now.Sub(rec.Created).Round(time.Second), a.TTL),
		}
	}
	rec.Touched = now.UTC()
	if b.made {
		if err := m.write(b, rec); err != nil {
			return b.snapshot(), err
		}
	}
	return m.touched(b, rec), nil
}

// alive refuses to start a sandbox whose ttl is over: it would be stopped at once.
func (m *Manager) alive(b *box) error {
	rec := b.record()
	over, ok := rec.expired(m.now())
	if !ok {
		return nil
	}
	return &ConflictError{
		Name: rec.Name, State: b.snapshot().State,
		Why: fmt.Sprintf("its ttl of %v was over %v ago; cove automation %s --ttl never lets it start again",
			rec.Spec.Automation.TTL, over.Round(time.Second), rec.Name),
	}
}

// opArgs are why a stop or delete was begun, for the daemon that finishes it.
type opArgs struct {
	Reason lifecycle.Reason `json:"reason,omitzero"`
	// Keep says of a delete that it can be undone.
	Keep bool `json:"keep,omitempty"`
}
