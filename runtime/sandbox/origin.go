package sandbox

import (
	"fmt"

	"cove/config"
	"cove/runtime/rootfs"
)

// origin is what a sandbox's root begins as, found from its Spec's image: it is
// kept in the record, and does not change when the image's name goes to another.
type origin struct {
	base   rootfs.Base
	config config.ImageConfig
	// image is the id of the image, empty of the host's; snapshot that of the
	// snapshot, empty without one.
	image, snapshot string
	// release unpins the layers, once they are recorded.
	release func()
}

// originOf gives the origin of what is to be made. The caller calls its release.
func (m *Manager) originOf(o *operation, r CreateRequest) (origin, error) {
	if r.Spec.Image == config.HostImage {
		return origin{base: rootfs.HostBase(), release: func() {}}, nil
	}
	return origin{}, fmt.Errorf("no image %q", r.Spec.Image)
}

// pin keeps layers for an origin.
func (m *Manager) pin(at origin) (origin, error) {
	at.release = func() {}
	if len(at.base.Layers) == 0 {
		return at, nil
	}
	release, err := m.opt.Layers.Pin(at.base.Layers...)
	if err != nil {
		return origin{}, fmt.Errorf("keep the layers of the image: %w", err)
	}
	at.release = release
	return at, nil
}
