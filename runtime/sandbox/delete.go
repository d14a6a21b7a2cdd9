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

// Delete removes a sandbox in whatever state it is. An operation under way is
// cancelled first. It returns the sandbox's last state. Unless now is set, one
// that was whole is kept for a while, see [Manager.Undo].
func (m *Manager) Delete(ctx context.Context, c Caller, ref string, now bool) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	args := opArgs{Reason: lifecycle.Reason{Kind: lifecycle.ReasonUser}, Keep: !now}
	i, err := m.performWith(ctx, b, lifecycle.OpDelete, args, func(o *operation) error {
		return m.remove(o, args.Reason, args.Keep)
	})
	if errors.Is(err, ErrNotFound) && b.snapshot().State == lifecycle.Destroyed {
		return b.snapshot(), nil // the cancelled operation left nothing to delete
	}
	return i, err
}

// discard takes a sandbox that does not run off the disk and frees its name.
// The rename is the moment of its end: before it the sandbox is there, after
// it there is only rubbish, which is cleared away in the background.
func (m *Manager) discard(b *box) error { return m.bury(b, false) }

// bury is discard that keeps what is left for a while, where keep says so and
// there is something whole.
func (m *Manager) bury(b *box, keep bool) error {
	// A rename is over by then, or finds the sandbox gone.
	b.file.Lock()
	defer b.file.Unlock()
	rec := b.record()
	name := rec.Name
	// Where space is short it is wanted at once.
	if keep = keep && b.made && !m.guard.isShort() && (rec.Rest == lifecycle.Stopped || rec.Rest == lifecycle.Archived || rec.Rest == lifecycle.Error); keep {
		rec.Deleted = m.now().UTC()
		if rec.Desired != lifecycle.Stopped {
			rec.Stopped, rec.Reason = rec.Deleted, lifecycle.Reason{Kind: lifecycle.ReasonUser}
		}
		if err := writeRecord(m.stateDir(b.id), rec, false); err != nil {
			m.log.Warn("a deleted sandbox cannot be brought back", "sandbox", b.id, "error", err)
			keep = false
		}
	}
	grave := filepath.Join(m.trashDir(), b.id)
	moved := false
	for _, dir := range []string{m.stateDir(b.id), filepath.Join(m.sandboxesDir(), newPrefix+b.id)} {
		err := os.Rename(dir, grave)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return m.discardFailed(b, err)
		}
		moved = true
	}
	if moved {
		if err := store.SyncDir(m.sandboxesDir()); err != nil {
			m.log.Warn("could not sync a delete", "sandbox", b.id, "error", err)
		}
		if !keep {
			m.trash.add(grave)
		}
	}
	if err := m.links.Release(name, b.id); err != nil {
		m.log.Warn("could not free a name", "name", name, "error", err)
	}
	m.forget(b)
	if keep && moved {
		m.kept.add(deletedOf(rec)) // now that its name is free
	}
	return nil
}

func (m *Manager) discardFailed(b *box, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = lifecycle.Error
	b.reason = lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: "delete: " + err.Error()}
	m.publish(b)
	return fmt.Errorf("delete the sandbox's directory: %w", err)
}
