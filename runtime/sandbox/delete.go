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
// cancelled first. It returns the sandbox's last state.
func (m *Manager) Delete(ctx context.Context, c Caller, ref string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	i, err := m.perform(ctx, b, lifecycle.OpDelete, func(o *operation) error {
		return m.remove(o, lifecycle.Reason{Kind: lifecycle.ReasonUser})
	})
	if errors.Is(err, ErrNotFound) && b.snapshot().State == lifecycle.Destroyed {
		return b.snapshot(), nil // the cancelled operation left nothing to delete
	}
	return i, err
}

// discard takes a sandbox that does not run off the disk and frees its name.
// The rename is the moment of its end: before it the sandbox is there, after
// it there is only rubbish, which is cleared away in the background.
func (m *Manager) discard(b *box) error {
	// A rename is over by then, or finds the sandbox gone.
	b.file.Lock()
	defer b.file.Unlock()
	name := b.record().Name
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
		m.trash.add(grave)
	}
	if err := m.links.Release(name, b.id); err != nil {
		m.log.Warn("could not free a name", "name", name, "error", err)
	}
	m.forget(b)
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
