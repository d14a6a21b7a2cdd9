package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"cove/config"
	"cove/runtime/image"
	"cove/runtime/lifecycle"
)

// ImageInfo is an image that a user has.
type ImageInfo struct {
	image.Image
	// Size is what its layers occupy, in bytes; those of several images count in
	// each.
	Size int64
	// Used are the names of its owner's sandboxes that are made of it.
	Used []string
}

// Images lists the caller's images, root's are everybody's.
func (m *Manager) Images(ctx context.Context, c Caller) ([]ImageInfo, error) {
	if m.opt.Images == nil {
		return nil, nil
	}
	var list []ImageInfo
	for _, img := range m.opt.Images.List(c.UID) {
		i, err := m.imageInfo(ctx, img)
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

func (m *Manager) imageInfo(ctx context.Context, img image.Image) (ImageInfo, error) {
	i := ImageInfo{Image: img}
	for _, name := range img.Layers {
		n, err := m.opt.Layers.Size(ctx, name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return i, fmt.Errorf("measure the image %s: %w", img.Ref, err)
		}
		i.Size += n
	}
	for _, b := range m.all() {
		if rec := b.record(); rec.ImageID == img.ID && rec.Owner == img.Owner {
			i.Used = append(i.Used, rec.Name)
		}
	}
	slices.Sort(i.Used)
	return i, nil
}

// PullImage gets an image from its registry, or a newer one of that name, for the
// caller. Errors: *[ImageError], [ErrNoSpace].
func (m *Manager) PullImage(ctx context.Context, c Caller, r image.Request, progress func(image.Progress)) (ImageInfo, error) {
	if err := m.guard.admit(); err != nil {
		return ImageInfo{}, err
	}
	r.Admit = m.guard.admit
	img, release, err := m.opt.Images.Pull(ctx, c.UID, r, progress)
	if err != nil {
		return ImageInfo{}, imageError(r.Ref, noSpace(err))
	}
	release()
	m.sweep() // of what it replaces
	return m.imageInfo(ctx, img)
}

// ImportImage takes an image that the caller sends, a tar. Errors are those of
// PullImage.
func (m *Manager) ImportImage(ctx context.Context, c Caller, r image.ImportRequest) (ImageInfo, error) {
	if err := m.guard.admit(); err != nil {
		return ImageInfo{}, err
	}
	r.Admit = m.guard.admit
	img, release, err := m.opt.Images.Import(ctx, c.UID, r)
	if err != nil {
		name := r.Ref
		if name == "" {
			name = "archive"
		}
		return ImageInfo{}, imageError(name, noSpace(err))
	}
	release()
	m.sweep()
	return m.imageInfo(ctx, img)
}

// RemoveImage takes an image from its owner. It fails with an *[ImageError], and
// with a *[ConflictError] when a sandbox is made of it.
func (m *Manager) RemoveImage(ctx context.Context, c Caller, ref string) (ImageInfo, error) {
	img, err := m.opt.Images.Find(c.UID, ref)
	if err != nil {
		return ImageInfo{}, imageError(ref, err)
	}
	i, err := m.imageInfo(ctx, img)
	if err != nil {
		return ImageInfo{}, err
	}
	if len(i.Used) > 0 {
		return i, &ConflictError{Name: "image " + img.Ref, State: "", Why: fmt.Sprintf("%s made of it: delete %s first", isAre(i.Used), itThem(i.Used))}
	}
	if err := m.opt.Images.Remove(img); err != nil {
		return i, err
	}
	m.sweep()
	return i, nil
}

func isAre(names []string) string {
	const most = 5
	shown := names[:min(len(names), most)]
	text := shown[0]
	for _, n := range shown[1:] {
		text += ", " + n
	}
	switch {
	case len(names) > most:
		return fmt.Sprintf("%s and %d more are", text, len(names)-most)
	case len(names) > 1:
		return text + " are"
	}
	return text + " is"
}

func itThem(names []string) string {
	if len(names) > 1 {
		return "them"
	}
	return "it"
}

// PruneImages removes the caller's images that no sandbox is made of, and tells how
// much space that gives.
func (m *Manager) PruneImages(ctx context.Context, c Caller) (gone []ImageInfo, freed int64, err error) {
	list, err := m.Images(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	gone = []ImageInfo{}
	for _, i := range list {
		if len(i.Used) > 0 {
			continue
		}
		if err := m.opt.Images.Remove(i.Image); err != nil {
			return gone, 0, err
		}
		gone = append(gone, i)
	}
	if err := m.opt.Images.Tidy(); err != nil {
		return gone, 0, err
	}
	if c.UID == 0 {
		if err := m.builds.clear(); err != nil {
			return gone, 0, err
		}
	}
	sizes := map[string]int64{}
	for _, i := range gone {
		for _, name := range i.Layers {
			if n, err := m.opt.Layers.Size(ctx, name); err == nil {
				sizes[name] = n
			}
		}
	}
	if err := m.collectLayers(ctx); err != nil {
		return gone, 0, err
	}
	for name, n := range sizes {
		if !m.opt.Layers.Has(name) {
			freed += n
		}
	}
	return gone, freed, nil
}

// sweep has the layers that nothing uses removed, in the background.
func (m *Manager) sweep() {
	select {
	case m.sweeps <- struct{}{}:
	default:
	}
}

func (m *Manager) sweepLayers() {
	for {
		select {
		case <-m.sweeps:
		case <-m.ctx.Done():
			return
		}
		if err := m.collectLayers(m.ctx); err != nil && m.ctx.Err() == nil {
			m.log.Warn("could not remove layers that nothing uses", "error", err)
		}
	}
}

// collectLayers removes the layers that nothing uses, now.
func (m *Manager) collectLayers(ctx context.Context) error {
	if m.opt.Layers == nil {
		return nil
	}
	return m.opt.Layers.Collect(ctx, m.usedLayers)
}

// errUnknownSandbox: what a sandbox needs cannot be told.
var errUnknownSandbox = errors.New("what a sandbox is made of cannot be told, so all layers stay")

// usedLayers are those that a sandbox, one that can be brought back, or an image
// is made of.
func (m *Manager) usedLayers() (map[string]bool, error) {
	used := map[string]bool{}
	use := func(names []string) {
		for _, name := range names {
			used[name] = true
		}
	}
	// Whoever is on the way into the trash or out of it is in one of the three.
	if err := m.deletedLayers(use); err != nil {
		return nil, err
	}
	for _, b := range m.all() {
		i := b.snapshot()
		if i.State == lifecycle.Unknown && b.record().Spec.Image == "" {
			return nil, fmt.Errorf("%w: %s", errUnknownSandbox, i.ID)
		}
		rec := b.record()
		use(rec.Base.Layers)
		use([]string{rec.Pending})
	}
	if err := m.deletedLayers(use); err != nil {
		return nil, err
	}
	if err := m.snapshots.layers(use); err != nil {
		return nil, err
	}
	m.builds.layers(use)
	if m.opt.Images != nil {
		use(m.opt.Images.Layers())
	}
	return used, nil
}

// deletedLayers are those of the sandboxes that can be brought back.
func (m *Manager) deletedLayers(use func([]string)) error {
	entries, err := os.ReadDir(m.trashDir())
	if err != nil {
		return fmt.Errorf("read the trash: %w", err)
	}
	for _, e := range entries {
		if rec, err := readRecord(filepath.Join(m.trashDir(), e.Name()), e.Name()); err == nil && !rec.Deleted.IsZero() {
			use(rec.Base.Layers)
			use([]string{rec.Pending})
		}
	}
	return nil
}

// ExportImage writes an image, or, as "snapshot:NAME", a snapshot to w as a tar of an
// OCI image layout. Errors: *[ImageError], *[ConflictError].
func (m *Manager) ExportImage(ctx context.Context, c Caller, ref string, w io.Writer) error {
	var r image.ExportRequest
	if name, ok := config.SnapshotName(ref); ok {
		snap, err := m.snapshots.find(c, name)
		if err != nil {
			return err
		}
		if snap.Base.Host {
			return &ConflictError{Name: "snapshot " + snap.Name, Why: "it lies on this machine's own system, which is no image: cove archive --full takes all of a sandbox"}
		}
		at, err := m.pin(origin{base: snap.Base})
		if err != nil {
			return err
		}
		defer at.release()
		r = image.ExportRequest{Ref: "localhost/" + snap.Name + ":latest", Layers: snap.Base.Layers, Config: snap.Config}
	} else {
		img, release, err := m.opt.Images.Take(c.UID, ref)
		if err != nil {
			return imageError(ref, err)
		}
		defer release()
		r = image.ExportRequest{Ref: img.Ref, Layers: img.Layers, Config: img.Config}
	}
	if err := m.guard.admit(); err != nil {
		return err
	}
	err := m.opt.Images.Export(ctx, w, r)
	if errors.Is(err, image.ErrDiskLayer) {
		return &ConflictError{Name: ref, Why: "a layer of it is the disk of a sandbox with a quota, which is no layer of an image"}
	}
	return noSpace(err)
}
