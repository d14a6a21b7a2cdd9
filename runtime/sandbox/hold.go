package sandbox

import (
	"context"
	"fmt"
	"time"
)

// holdTimeout is what the processes of one sandbox may take to stand still, or to
// go on: the guard has others to look after, and tries again.
const holdTimeout = 2 * time.Second

// A sandbox is frozen while its owner has paused it or the guard holds it. Who
// changes the one or the other holds b.ice until the freezer says the same.

// holdable tells whether the guard could hold it: it runs, and is not frozen. The
// caller holds b.mu.
func (b *box) holdable() bool {
	return !b.gone && !b.ending && !b.evicted && b.run != nil && !b.frozen && b.held == ""
}

// hold freezes a sandbox though it is started, and says why. One that cannot be
// held any more is left alone.
func (m *Manager) hold(ctx context.Context, b *box, why string) error {
	b.ice.Lock()
	defer b.ice.Unlock()
	b.mu.Lock()
	ok := b.holdable()
	if ok {
		b.held = why // from here on it may be frozen
	}
	b.mu.Unlock()
	if !ok {
		return nil
	}
	// First, so that the daemon after this one lets it go again. Without it, it
	// would be taken for paused; that is no reason to let it write.
	if err := m.saveRunning(b, func(r *running) { r.Held = why }); err != nil {
		m.log.Warn("could not record that a sandbox is held", "sandbox", b.id, "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	if err := m.opt.Cgroups.Freeze(ctx, b.id); err != nil {
		b.mu.Lock()
		b.held = ""
		name, ended := b.rec.Name, b.ending || b.run == nil
		b.mu.Unlock()
		if ended {
			return nil
		}
		_ = m.saveRunning(b, func(r *running) { r.Held = "" })
		return fmt.Errorf("%s: %w", name, err)
	}
	m.log.Info("a sandbox is held", "sandbox", b.id, "why", why)
	b.mu.Lock()
	defer b.mu.Unlock()
	m.publish(b)
	return nil
}

// letGo ends a hold: the sandbox goes on, unless its owner has paused it meanwhile.
func (m *Manager) letGo(ctx context.Context, b *box) error {
	b.ice.Lock()
	defer b.ice.Unlock()
	b.mu.Lock()
	held, paused, name := b.held != "", b.frozen, b.rec.Name
	b.mu.Unlock()
	if !held {
		return nil
	}
	if !paused {
		ctx, cancel := context.WithTimeout(ctx, holdTimeout)
		defer cancel()
		if err := m.opt.Cgroups.Thaw(ctx, b.id); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	b.mu.Lock()
	b.held = ""
	b.mu.Unlock()
	if err := m.saveRunning(b, func(r *running) { r.Held = "" }); err != nil {
		m.log.Warn("could not record that a sandbox is not held any more", "sandbox", b.id, "error", err)
	}
	m.log.Info("a sandbox goes on", "sandbox", b.id)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.gone && b.run != nil {
		m.publish(b)
		b.wake()
	}
	return nil
}

// holdStill freezes a sandbox that is held once more, behind what had to let it go
// for a moment.
func (m *Manager) holdStill(ctx context.Context, b *box) {
	b.ice.Lock()
	defer b.ice.Unlock()
	b.mu.Lock()
	held := b.held != "" && !b.ending
	b.mu.Unlock()
	if !held {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	if err := m.opt.Cgroups.Freeze(ctx, b.id); err != nil {
		m.log.Error("a sandbox that is to be held may go on", "sandbox", b.id, "error", err)
	}
}

// isHeld tells why the guard holds the sandbox; "": it does not.
func (b *box) isHeld() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// saveRunning changes what is recorded of a sandbox that runs, in memory and then
// in its run directory. Where it does not run any more it does nothing.
func (m *Manager) saveRunning(b *box, change func(*running)) error {
	b.live.Lock()
	defer b.live.Unlock()
	b.mu.Lock()
	if b.run == nil || b.ending {
		b.mu.Unlock()
		return nil
	}
	run := *b.run
	change(&run)
	b.run = &run
	b.mu.Unlock()
	return writeRunning(m.runDir(b.id), run)
}
