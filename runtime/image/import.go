package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// ImportRequest is an image that a caller sends.
type ImportRequest struct {
	// Tar is of an OCI image layout, or what docker save makes.
	Tar io.Reader
	// Ref is what it is to be called; empty is what the tar says, and what it is
	// called by its id where that says nothing.
	Ref string
	// Tag chooses one of several.
	Tag string
	// Admit is as in [Request].
	Admit func() error
}

const (
	// refName is what a layout says an image is called (OCI image specification,
	// "Pre-Defined Annotation Keys"); containerdName what containerd and docker say.
	refName        = "org.opencontainers.image.ref.name"
	containerdName = "io.containerd.image.name"

	layoutFile  = "oci-layout"
	dockerFile  = "manifest.json"
	maxImported = 64 << 10 // files of an archive
	maxManifest = 4 << 20
)

// Import takes an image from a tar for the user. The image's layers are pinned until
// release, which the caller calls. Errors: [ErrCorrupt], [ErrHostile], [ErrTooLarge],
// [ErrPlatform], [ErrReference], [ErrNotFound] (no such tag).
func (s *Store) Import(ctx context.Context, owner int, r ImportRequest) (img Image, release func(), err error) {
	dir, err := os.MkdirTemp(s.blobs, "import-")
	if err != nil {
		return Image{}, nil, fmt.Errorf("import: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := s.spool(ctx, dir, r.Tar, r.Admit); err != nil {
		return Image{}, nil, fmt.Errorf("import: %w", err)
	}
	source, called, err := openImported(dir, r.Tag)
	if err != nil {
		return Image{}, nil, err
	}
	d, err := describe(source)
	if err != nil {
		return Image{}, nil, corrupt(err)
	}
	ref := r.Ref
	if ref == "" {
		ref = called
	}
	if ref == "" {
		ref = fileRef(d.id.String())
	} else if ref, err = Canonical(ref); err != nil {
		return Image{}, nil, err
	}
	layers, err := source.Layers()
	if err != nil {
		return Image{}, nil, corrupt(err)
	}
	release, err = s.layersOf(ctx, d, newTally(nil), func(ctx context.Context, i int, root *os.File) error {
		blob, err := layers[i].Compressed()
		if err != nil {
			return corrupt(err)
		}
		defer func() { _ = blob.Close() }()
		return s.unpackBlob(ctx, blob, d.config.RootFS.DiffIDs[i], root, r.Admit)
	})
	if err != nil {
		return Image{}, nil, err
	}
	img = d.image(owner, ref, s.now())
	if err := s.record(img); err != nil {
		release()
		return Image{}, nil, err
	}
	return img, release, nil
}

// spool keeps the files of a tar in dir, which is nobody else's, under names that
// are made of theirs.
func (s *Store) spool(ctx context.Context, dir string, r io.Reader, admit func() error) error {
	plain, err := decompress(r)
	if err != nil {
		return corrupt(err)
	}
	defer func() { _ = plain.Close() }()
	tr := tar.NewReader(plain)
	var files, size, asked int64
	links := map[string]string{}
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return corrupt(err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeSymlink: // docker save before 25 links equal layers
			links[name] = path.Join(path.Dir(name), h.Linkname)
			continue
		case tar.TypeLink:
			links[name] = h.Linkname
			continue
		default:
			continue
		}
		if files++; files > maxImported || h.Size > s.limits.Bytes-size {
			return ErrTooLarge
		}
		f, err := create(dir, name)
		if err != nil {
			return err
		}
		for left := h.Size; left > 0 && err == nil; {
			var n int64
			n, err = io.CopyN(f, tr, min(left, 8<<20))
			left, size = left-n, size+n
			if err == nil && admit != nil && size-asked >= 8<<20 {
				asked = size
				err = admit()
			}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return corrupt(err)
		}
	}
	// The rest of what the caller sends is nothing, so that its end is seen.
	if _, err := io.Copy(io.Discard, io.LimitReader(plain, 64<<20)); err != nil {
		return corrupt(err)
	}
	for name, to := range links {
		if err := link(dir, to, name); err != nil {
			return err
		}
	}
	return nil
}

// spooled is where a file of that name is kept: names are the archive's, and so are
// no paths here.
func spooled(dir, name string) string {
	return filepath.Join(dir, strings.TrimPrefix(path.Clean("/"+name), "/"))
}

func create(dir, name string) (*os.File, error) {
	at := spooled(dir, name)
	if len(name) > 512 || name == "" {
		return nil, fmt.Errorf("%w: a file called %.100q", ErrHostile, name)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return nil, asHostile(err, name)
	}
	// Nothing here is a link: the archive's are made at the end.
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, asHostile(err, name)
	}
	return f, nil
}

// link gives a file of the archive a second name.
func link(dir, to, name string) error {
	if len(name) > 512 || len(to) > 512 {
		return fmt.Errorf("%w: a file called %.100q", ErrHostile, name)
	}
	at := spooled(dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return asHostile(err, name)
	}
	if err := os.Link(spooled(dir, to), at); err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrNotExist) {
		return asHostile(err, name)
	}
	return nil
}

func asHostile(err error, name string) error {
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%w: the file %.100q cannot be where it is", ErrHostile, name)
	}
	return err
}

// openImported finds the image that is meant in what was spooled, and what it is
// called.
func openImported(dir, tag string) (v1.Image, string, error) {
	if _, err := os.Lstat(filepath.Join(dir, layoutFile)); err == nil {
		return openLayout(dir, tag)
	}
	if _, err := os.Lstat(filepath.Join(dir, dockerFile)); err == nil {
		return openDocker(dir, tag)
	}
	return nil, "", fmt.Errorf("%w: it is a tar neither of an OCI layout nor of docker save", ErrHostile)
}

func openLayout(dir, tag string) (v1.Image, string, error) {
	l, err := layout.FromPath(dir)
	if err != nil {
		return nil, "", corrupt(err)
	}
	index, err := l.ImageIndex()
	if err != nil {
		return nil, "", corrupt(err)
	}
	for range 4 { // an index may hold one
		m, err := index.IndexManifest()
		if err != nil {
			return nil, "", corrupt(err)
		}
		found, names := choose(m.Manifests, tag)
		switch {
		case len(found) == 0 && tag != "":
			return nil, "", fmt.Errorf("%w: no tag %s, it has %s", ErrNotFound, tag, strings.Join(names, ", "))
		case len(found) == 0:
			return nil, "", fmt.Errorf("%w: there is none for this machine in it", ErrPlatform)
		case len(found) > 1:
			return nil, "", fmt.Errorf("%w: it has several: %s; choose one by its tag", ErrNotFound, strings.Join(names, ", "))
		}
		d := found[0]
		if d.MediaType.IsIndex() {
			if index, err = index.ImageIndex(d.Digest); err != nil {
				return nil, "", corrupt(err)
			}
			tag = ""
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, "", corrupt(err)
		}
		return img, nameOf(d), nil
	}
	return nil, "", fmt.Errorf("%w: indexes within indexes", ErrHostile)
}

// choose gives the manifests that may be meant, and the names of all.
func choose(all []v1.Descriptor, tag string) (found []v1.Descriptor, names []string) {
	for _, d := range all {
		name := d.Annotations[refName]
		if name != "" {
			names = append(names, name)
		}
		if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
			continue
		}
		if p := d.Platform; p != nil && p.OS != "" && (p.OS != "linux" || p.Architecture != thisArch) {
			continue
		}
		if tag != "" && name != tag && !strings.HasSuffix(name, ":"+tag) {
			continue
		}
		found = append(found, d)
	}
	return found, names
}

// nameOf is what a descriptor says its image is called; a tag alone is no name.
func nameOf(d v1.Descriptor) string {
	for _, name := range []string{d.Annotations[containerdName], d.Annotations[refName]} {
		if strings.ContainsAny(name, "/:") {
			if _, err := Canonical(name); err == nil {
				return name
			}
		}
	}
	return ""
}

func openDocker(dir, tag string) (v1.Image, string, error) {
	f, err := os.OpenFile(filepath.Join(dir, dockerFile), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, "", corrupt(err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return nil, "", err
	}
	var list tarball.Manifest
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, "", fmt.Errorf("%w: %s: %w", ErrCorrupt, dockerFile, err)
	}
	var names []string
	var found *tarball.Descriptor
	for i, d := range list {
		names = append(names, d.RepoTags...)
		for _, name := range d.RepoTags {
			if tag != "" && (name == tag || strings.HasSuffix(name, ":"+tag)) {
				found = &list[i]
			}
		}
		if tag == "" && len(list) == 1 {
			found = &list[i]
		}
	}
	if found == nil {
		return nil, "", fmt.Errorf("%w: it has %s; choose one by its tag", ErrNotFound, strings.Join(names, ", "))
	}
	called := ""
	for _, name := range found.RepoTags {
		if tag == "" || name == tag || strings.HasSuffix(name, ":"+tag) {
			called = name
			break
		}
	}
	img, err := dockerImage(dir, *found)
	return img, called, err
}
