package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cove/runtime/lifecycle"
	"cove/runtime/rootfs"
)

const (
	// mergeAt is how many layers a root may lie on before the lower ones are merged
	// into one: every one makes looking up a file that is not there slower. mergeLeaves
	// are how many of the upper ones stay: what else lies on them shares them.
	mergeAt     = 32
	mergeLeaves = 8
	// mergedLayer begins the names of layers that others were merged into.
	mergedLayer = "merge-"
)

// merge has the lower layers of whatever lies on too many merged, in the background.
func (m *Manager) merge() {
	select {
	case m.merges <- struct{}{}:
	default:
	}
}

// mergeLayers does it until the Manager is closed. What cannot be merged is not tried
// again by the same daemon.
func (m *Manager) mergeLayers() {
	failed := map[string]bool{}
	for {
		select {
		case <-m.merges:
		case <-m.ctx.Done():
			return
		}
		for m.ctx.Err() == nil {
			run, ok := m.tooLong(failed)
			if !ok {
				break
			}
			if err := m.mergeRun(m.ctx, run); err != nil {
				failed[mergedName(run)] = true
				if m.ctx.Err() == nil && !errors.Is(err, rootfs.ErrDiskLayer) {
					m.log.Warn("could not merge layers", "layers", len(run.Layers), "error", err)
				}
			}
		}
	}
}

// mergedName is the name of what the layers are merged to: the same whoever asks.
func mergedName(run rootfs.Base) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%t\n%s", run.Host, strings.Join(run.Layers, "\n")))
	return mergedLayer + hex.EncodeToString(sum[:16])
}

// tooLong gives the lower layers of what lies on too many, the longest first: of a
// snapshot, or a sandbox that nothing is being done with.
func (m *Manager) tooLong(but map[string]bool) (run rootfs.Base, ok bool) {
	var longest rootfs.Base
	see := func(b rootfs.Base) {
		if len(b.Layers) <= max(mergeAt, len(longest.Layers)) {
			return
		}
		lower := rootfs.Base{Host: b.Host, Layers: b.Layers[:len(b.Layers)-mergeLeaves]}
		if !but[mergedName(lower)] {
			longest, run, ok = b, lower, true
		}
	}
	for _, b := range m.all() {
		b.mu.Lock()
		base, idle := b.rec.base(), b.op == nil && !b.gone && b.state != lifecycle.Unknown
		b.mu.Unlock()
		if idle {
			see(base)
		}
	}
	for _, snap := range m.snapshots.list(Caller{}) {
		see(snap.Base)
	}
	return run, ok
}

// mergeRun puts one layer, or two, in the place of those of run, wherever they are the
// lowest. What runs goes on with those that it has, and is started on the others.
func (m *Manager) mergeRun(ctx context.Context, run rootfs.Base) error {
	release, err := m.opt.Layers.Pin(run.Layers...)
	if err != nil {
		return fmt.Errorf("merge layers: %w", err)
	}
	defer release()
	layers, merged, err := m.opt.Layers.Merge(ctx, mergedName(run), run)
	if err != nil {
		return noSpace(err)
	}
	defer merged()
	m.hook("merge", "merged")
	change := func(b *rootfs.Base) bool {
		if !below(run, *b) {
			return false
		}
		b.Layers = append(slices.Clone(layers), b.Layers[len(run.Layers):]...)
		return true
	}
	var errs []error
	for _, b := range m.all() {
		errs = append(errs, m.rebase(b, change))
	}
	m.hook("merge", "rebased")
	errs = append(errs, m.snapshots.rebase(change))
	m.sweep()
	return errors.Join(errs...)
}

// rebase changes what a sandbox lies on to what looks the same. One that something is
// being done with has read its record, and is left for the end of that.
func (m *Manager) rebase(b *box, change func(*rootfs.Base) bool) error {
	b.file.Lock()
	defer b.file.Unlock()
	b.mu.Lock()
	was := b.rec.Base
	changed := b.made && b.op == nil && !b.gone && b.state != lifecycle.Unknown && change(&b.rec.Base)
	rec := b.rec
	b.mu.Unlock()
	if !changed {
		return nil
	}
	if err := writeRecord(m.stateDir(b.id), rec, true); err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if sameBase(b.rec.Base, rec.Base) {
			b.rec.Base = was
		}
		return noSpace(fmt.Errorf("merge layers: %w", err))
	}
	return nil
}

// below tells whether the layers of b are the lowest of those of a root.
func below(b, of rootfs.Base) bool {
	return b.Host == of.Host && len(of.Layers) >= len(b.Layers) && slices.Equal(b.Layers, of.Layers[:len(b.Layers)])
}

func sameBase(a, b rootfs.Base) bool { return a.Host == b.Host && slices.Equal(a.Layers, b.Layers) }
