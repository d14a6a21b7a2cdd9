package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"cove/config"
	"cove/runtime/image"
	"cove/runtime/lifecycle"
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
	// hostname is the one that its files have, where it is the state of a sandbox.
	hostname string
	// release unpins the layers, once they are recorded.
	release func()
}

// ImageError is an image that a sandbox cannot be made of.
type ImageError struct {
	Image, Why, Hint string
	Err              error
}

func (e *ImageError) Error() string { return fmt.Sprintf("image %s: %s", e.Image, e.Why) }
func (e *ImageError) Unwrap() error { return e.Err }

// originOf gives the origin of what is to be made. The caller calls its release.
func (m *Manager) originOf(o *operation, r CreateRequest) (origin, error) {
	if r.from != nil {
		return m.pin(*r.from)
	}
	if r.Spec.Image == config.HostImage {
		return origin{base: rootfs.HostBase(), release: func() {}}, nil
	}
	if name, ok := config.SnapshotName(r.Spec.Image); ok {
		snap, err := m.snapshots.find(Caller{UID: o.b.record().Owner}, name)
		if err != nil {
			return origin{}, &ImageError{Image: r.Spec.Image, Why: "you have no such snapshot", Hint: "cove snapshot ls lists those you have", Err: image.ErrNotFound}
		}
		return m.pin(origin{base: snap.Base, config: snap.Config, snapshot: snap.ID, hostname: snap.Hostname})
	}
	img, release, err := m.imageOf(o, r)
	if err != nil {
		return origin{}, imageError(r.Spec.Image, err)
	}
	return origin{base: rootfs.Base{Layers: img.Layers}, config: img.Config, image: img.ID, release: release}, nil
}

// imageOf gives the image of what is to be made, with its layers pinned.
func (m *Manager) imageOf(o *operation, r CreateRequest) (image.Image, func(), error) {
	owner := o.b.record().Owner
	if _, _, file := config.ImageFile(r.Spec.Image); file {
		return m.opt.Images.Take(owner, r.ImageID)
	}
	if img, release, err := m.opt.Images.Take(owner, r.Spec.Image); err == nil {
		return img, release, nil
	}
	o.enter(lifecycle.PullingSnapshot)
	o.doing("pulling " + r.Spec.Image)
	defer o.doing("")
	img, release, err := m.opt.Images.Ensure(o.ctx, owner, image.Request{Ref: r.Spec.Image, Auth: r.Auth, Admit: m.guard.admit}, func(p image.Progress) { o.doing(PullText(p)) })
	if err != nil {
		return image.Image{}, nil, noSpace(err)
	}
	o.enter(lifecycle.Creating)
	return img, release, nil
}

// PullText is how far a pull is, for people.
func PullText(p image.Progress) string {
	layers := fmt.Sprintf("%d layers", p.Layers)
	if p.Layers == 1 {
		layers = "1 layer"
	}
	if p.Unpacking {
		return fmt.Sprintf("unpacking %s, %s", layers, sizeText(p.Total))
	}
	return fmt.Sprintf("pulling %s: %s of %s", layers, sizeText(p.Done), sizeText(p.Total))
}

// imageError says what is wrong with an image, and what to do.
func imageError(name string, err error) error {
	e := &ImageError{Image: name, Err: err, Why: strings.TrimPrefix(err.Error(), image.ErrReference.Error()+": ")}
	switch {
	case errors.Is(err, image.ErrReference):
		e.Why = "it is no reference to an image"
		e.Hint = `"host" is this machine's own system; others are like docker.io/library/debian:12, oci:DIR, docker-archive:FILE or snapshot:NAME`
	case errors.Is(err, image.ErrNotFound):
		e.Why = "you have no such image"
		e.Hint = "cove image ls lists those you have"
	case errors.Is(err, image.ErrRegistry), errors.Is(err, image.ErrCorrupt), errors.Is(err, image.ErrHostile), errors.Is(err, image.ErrTooLarge), errors.Is(err, image.ErrPlatform):
	default:
		return err
	}
	return e
}

// effective is the Spec that is in force: where it says nothing, what the image
// does.
func (r record) effective() config.Spec {
	s := r.Spec
	if s.Image == config.HostImage {
		return s
	}
	if s.User == "" {
		s.User = r.Config.User
	}
	if s.Workdir == "" && r.Config.Workdir != "/" {
		s.Workdir = r.Config.Workdir
	}
	if s.Workdir == "" {
		s.Workdir = config.DefaultWorkdir
	}
	env := map[string]config.EnvVar{"PATH": {Value: config.DefaultPath}}
	for _, kv := range r.Config.Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = config.EnvVar{Value: v}
	}
	for k, v := range s.Env {
		env[k] = v
	}
	s.Env = env
	return s
}

// pin keeps the layers of an origin, until its release.
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
