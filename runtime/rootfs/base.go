package rootfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Base is what lies below a sandbox's own changes, and makes its root together
// with them. It is kept in the sandbox's record, and so are those of snapshots.
type Base struct {
	// Host says that this machine's own system is the lowest.
	Host bool `json:"host,omitempty"`
	// Layers are the names of layers in the store, the lowest first.
	Layers []string `json:"layers,omitempty"`
}

// HostBase is the base of the host image.
func HostBase() Base { return Base{Host: true} }

// IsZero tells whether nothing is there to make a root of.
func (b Base) IsZero() bool { return !b.Host && len(b.Layers) == 0 }

// With is b with one more layer on it. It shares nothing with b.
func (b Base) With(layer string) Base {
	b.Layers = append(slices.Clone(b.Layers), layer)
	return b
}

// Validate tells whether a root can be made of b: its layers may still be
// missing. It wraps [ErrDamaged].
func (b Base) Validate() error {
	if b.IsZero() {
		return fmt.Errorf("%w: it has no layer", ErrDamaged)
	}
	for _, name := range b.Layers {
		if err := validLayer(name); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return nil
}

// validLayer tells whether name can be that of a layer in the store: lower case
// letters, digits and dashes, none of the host image's.
func validLayer(name string) error {
	switch {
	case name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || name[0] == '-':
		return fmt.Errorf("layer %q: no name of a layer", name)
	case strings.HasPrefix(name, skeletonPrefix), strings.HasPrefix(name, maskPrefix), filepath.Base(name) != name:
		return fmt.Errorf("layer %q: the name is the host image's", name)
	}
	return nil
}

// ErrNoLayer: the store has no such layer.
var ErrNoLayer = errors.New("no such layer")
