package sandbox

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"cove/runtime/rootfs"
)

// trash deletes what is left of deleted sandboxes, one after the other, in the
// background. What a killed daemon left there the next one takes up.
type trash struct {
	m     *Manager
	mu    sync.Mutex
	dirs  []string
	busy  bool
	idle  *sync.Cond
	fails map[string]error
}

func newTrash(m *Manager) *trash {
	t := &trash{m: m, fails: map[string]error{}}
	t.idle = sync.NewCond(&t.mu)
	return t
}

func (t *trash) add(dir string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirs = append(t.dirs, dir)
	if !t.busy {
		t.busy = true
		t.m.wg.Go(t.work)
	}
}

func (t *trash) work() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.dirs) > 0 && t.m.ctx.Err() == nil {
		dir := t.dirs[0]
		t.dirs = t.dirs[1:]
		t.mu.Unlock()
		err := rootfs.Remove(t.m.ctx, dir)
		t.mu.Lock()
		delete(t.fails, dir)
		if err != nil {
			t.fails[dir] = err
			t.m.log.Warn("could not delete the remains of a sandbox", "dir", dir, "error", err)
		}
	}
	t.busy = false
	t.idle.Broadcast()
	t.m.sweep()
}

// collect takes up what a daemon before this one left.
func (t *trash) collect() error {
	entries, err := os.ReadDir(t.m.trashDir())
	if err != nil {
		return fmt.Errorf("read the trash: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(t.m.trashDir(), e.Name())
		if rec, err := readRecord(dir, e.Name()); err == nil && !rec.Deleted.IsZero() {
			t.m.kept.add(deletedOf(rec))
			continue
		}
		t.add(dir)
	}
	return nil
}

// again tries once more to delete what could not be deleted.
func (t *trash) again() {
	t.mu.Lock()
	failed := slices.Collect(maps.Keys(t.fails))
	t.mu.Unlock()
	for _, dir := range failed {
		t.add(dir)
	}
}

// drain waits until nothing is left to delete, or ctx ends.
func (t *trash) drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.idle.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.busy && ctx.Err() == nil {
		t.idle.Wait()
	}
	return context.Cause(ctx)
}
