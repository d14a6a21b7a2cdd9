package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"cove/runtime/rootfs"
)

const (
	// mergeAt is how many layers a root may lie on before they are merged into one:
	// every one makes looking up a file that is not there slower.
	mergeAt = 32
	// mergedLayer begins the names of layers that others were merged into.
	mergedLayer = "merge-"
)

// mergeSoon has the layers of b merged, where they are many, in the background.
func (m *Manager) mergeSoon(b rootfs.Base) {
	if len(b.Layers) <= mergeAt {
		return
	}
	m.wg.Go(func() {
		if err := m.merge(m.ctx, b); err != nil && m.ctx.Err() == nil {
			m.log.Warn("could not merge layers", "layers", len(b.Layers), "error", err)
		}
	})
}

// merge puts one layer, or two, in the place of those of was, wherever they are used by
// nothing that is under way. It is the same layer whoever asks for it.
func (m *Manager) merge(ctx context.Context, was rootfs.Base) error {
	release, err := m.opt.Layers.Pin(was.Layers...)
	if err != nil {
		return fmt.Errorf("merge layers: %w", err)
	}
	defer release()
	sum := sha256.Sum256([]byte(strings.Join(was.Layers, "\n")))
	name := mergedLayer + hex.EncodeToString(sum[:16])
	layers, merged, err := m.opt.Layers.Merge(ctx, name, was)
	if err != nil {
		return err
	}
	defer merged()
	now := rootfs.Base{Host: was.Host, Layers: layers}
	for _, b := range m.all() {
		if !below(was, b.record().base()) {
			continue
		}
		err := m.save(b, func(r *record) {
			// One that is being launched, say, has read its record.
			if base := r.base(); b.op == nil && below(was, base) {
				r.Base = rootfs.Base{Host: now.Host, Layers: append(slices.Clone(now.Layers), base.Layers[len(was.Layers):]...)}
			}
		})
		if err != nil {
			return fmt.Errorf("merge layers: %w", err)
		}
	}
	if err := m.snapshots.replace(was, now); err != nil {
		return err
	}
	m.sweep()
	return nil
}

// below tells whether the layers of b are the lowest of those of a root.
func below(b, of rootfs.Base) bool {
	return b.Host == of.Host && len(of.Layers) >= len(b.Layers) && slices.Equal(b.Layers, of.Layers[:len(b.Layers)])
}
