package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/mount"
)

// ExportRequest is an image that is given away.
type ExportRequest struct {
	// Ref is what it is called, or empty.
	Ref string
	// Layers are names in the store, the lowest first; the caller has pinned them.
	Layers []string
	Config config.ImageConfig
}

// ErrDiskLayer: a layer is a disk, which is no layer of an image.
var ErrDiskLayer = errors.New("a layer is a disk with a quota")

// Export writes an image to w: a tar of an OCI image layout, which docker load takes
// as well. Its layers are what is in the store; their digests are others than those
// they came with. [ErrDiskLayer].
func (s *Store) Export(ctx context.Context, w io.Writer, r ExportRequest) (err error) {
	dir, err := os.MkdirTemp(s.blobs, "export-")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cf := v1.ConfigFile{
		OS: "linux", Architecture: thisArch, Created: v1.Time{Time: s.now().UTC().Truncate(time.Second)},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Env: r.Config.Env, User: r.Config.User, WorkingDir: r.Config.Workdir, Entrypoint: r.Config.Entrypoint, Cmd: r.Config.Cmd,
			Shell: r.Config.Shell, Labels: r.Config.Labels, StopSignal: r.Config.StopSignal,
		},
	}
	if len(r.Config.ExposedPorts) > 0 {
		cf.Config.ExposedPorts = map[string]struct{}{}
		for _, p := range r.Config.ExposedPorts {
			cf.Config.ExposedPorts[p] = struct{}{}
		}
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, name := range r.Layers {
		if _, err := os.Lstat(filepath.Join(s.layers.Path(name), "root")); err != nil {
			return fmt.Errorf("export: %w", ErrDiskLayer)
		}
		blob, diff, err := s.packLayer(ctx, dir, name)
		if err != nil {
			return fmt.Errorf("export the layer %s: %w", name, err)
		}
		m.Layers = append(m.Layers, blob)
		cf.RootFS.DiffIDs = append(cf.RootFS.DiffIDs, diff)
	}
	out := &blobs{dir: dir, t: tar.NewWriter(w)}
	if m.Config, err = out.json(cf, types.OCIConfigJSON); err != nil {
		return err
	}
	d, err := out.json(m, types.OCIManifestSchema1)
	if err != nil {
		return err
	}
	if r.Ref != "" {
		d.Annotations = map[string]string{containerdName: r.Ref, refName: r.Ref}
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{d}}
	docker := []map[string]any{{"Config": blobPath(m.Config.Digest), "RepoTags": tags(r.Ref), "Layers": layerPaths(m.Layers)}}
	for _, f := range []struct {
		name string
		v    any
	}{{layoutFile, map[string]string{"imageLayoutVersion": "1.0.0"}}, {"index.json", index}, {dockerFile, docker}} {
		data, err := json.Marshal(f.v)
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if err := out.file(f.name, data); err != nil {
			return err
		}
	}
	for _, l := range m.Layers {
		if err := out.blob(l); err != nil {
			return err
		}
	}
	if err := out.t.Close(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func tags(ref string) []string {
	if ref == "" || strings.Contains(ref, "@") || strings.HasPrefix(ref, config.OCIPrefix) {
		return []string{}
	}
	return []string{ref}
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func layerPaths(list []v1.Descriptor) []string {
	paths := make([]string, 0, len(list))
	for _, l := range list {
		paths = append(paths, blobPath(l.Digest))
	}
	return paths
}

// blobs writes the files of a layout.
type blobs struct {
	dir  string
	t    *tar.Writer
	seen []v1.Hash
}

func (b *blobs) file(name string, data []byte) error {
	if err := b.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err := b.t.Write(data)
	return err
}

func (b *blobs) json(v any, kind types.MediaType) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("export: %w", err)
	}
	d := v1.Descriptor{MediaType: kind, Size: int64(len(data)), Digest: digestOf(data)}
	return d, b.file(blobPath(d.Digest), data)
}

// blob writes a layer, once.
func (b *blobs) blob(d v1.Descriptor) error {
	if slices.Contains(b.seen, d.Digest) {
		return nil
	}
	b.seen = append(b.seen, d.Digest)
	f, err := os.Open(filepath.Join(b.dir, d.Digest.Hex))
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := b.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: blobPath(d.Digest), Mode: 0o644, Size: d.Size}); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err = io.Copy(b.t, f)
	return err
}

// packLayer makes the blob of a layer, a file in dir that its digest names.
func (s *Store) packLayer(ctx context.Context, dir, name string) (blob v1.Descriptor, diff v1.Hash, err error) {
	f, err := os.CreateTemp(dir, "layer-")
	if err != nil {
		return blob, diff, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	packed, plain := sha256.New(), sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, packed), gzip.BestSpeed)
	if err != nil {
		return blob, diff, err
	}
	root, err := os.OpenFile(filepath.Join(s.layers.Path(name), "root"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return blob, diff, err
	}
	defer func() { _ = root.Close() }()
	p := packer{ctx: ctx, t: tar.NewWriter(io.MultiWriter(z, plain)), links: map[[2]uint64]string{}}
	err = p.dir(root, "")
	if err = errors.Join(err, p.t.Close(), z.Close()); err != nil {
		return blob, diff, err
	}
	st, err := f.Stat()
	if err != nil {
		return blob, diff, err
	}
	blob = v1.Descriptor{MediaType: types.OCILayer, Size: st.Size(), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(packed.Sum(nil))}}
	diff = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(plain.Sum(nil))}
	return blob, diff, os.Rename(f.Name(), filepath.Join(dir, blob.Digest.Hex))
}

// packer writes a layer as the OCI image specification has it.
type packer struct {
	ctx   context.Context
	t     *tar.Writer
	links map[[2]uint64]string
}

func (p *packer) dir(d *os.File, at string) error {
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	var value [8]byte
	if n, err := unix.Fgetxattr(int(d.Fd()), opaqueXattr, value[:]); err == nil && n == 1 && value[0] == 'y' {
		if err := p.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: at + opaque, Mode: 0o600}); err != nil {
			return err
		}
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := p.entry(d, name, at+name); err != nil {
			return fmt.Errorf("%.200q: %w", at+name, err)
		}
	}
	return nil
}

func (p *packer) entry(d *os.File, name, at string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	h := &tar.Header{
		Name: at, Mode: int64(st.Mode & 0o7777), Uid: inside(st.Uid), Gid: inside(st.Gid), ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	kind := st.Mode & unix.S_IFMT
	switch {
	case kind == unix.S_IFCHR && st.Rdev == 0:
		return p.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: at[:len(at)-len(name)] + whiteout + name, Mode: 0o600})
	case kind == unix.S_IFLNK:
		buf := make([]byte, 4096)
		n, err := unix.Readlinkat(int(d.Fd()), name, buf)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(buf[:n])
		return p.t.WriteHeader(h)
	case kind == unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
		return p.t.WriteHeader(h)
	case kind != unix.S_IFDIR && kind != unix.S_IFREG:
		return nil
	}
	if kind == unix.S_IFREG && st.Nlink > 1 {
		key := [2]uint64{st.Dev, st.Ino}
		if first, ok := p.links[key]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.t.WriteHeader(h)
		}
		p.links[key] = at
	}
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	if kind == unix.S_IFDIR {
		flags |= unix.O_DIRECTORY
	}
	f, err := mount.OpenWithin(d, name, flags, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if h.PAXRecords, err = xattrsOf(f); err != nil {
		return err
	}
	if kind == unix.S_IFDIR {
		h.Typeflag, h.Name = tar.TypeDir, at+"/"
		if err := p.t.WriteHeader(h); err != nil {
			return err
		}
		return p.dir(f, at+"/")
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := p.t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(p.t, f, st.Size)
	return err
}

// inside is an owner's id as it is inside: what the kernel made for overlayfs is
// root's.
func inside(id uint32) int {
	if id > lastID {
		return 0
	}
	return int(id)
}

// xattrsOf are the attributes that mean something in another place.
func xattrsOf(f *os.File) (map[string]string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Flistxattr(int(f.Fd()), list)
	if errors.Is(err, unix.EOPNOTSUPP) || n <= 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if !keptXattr(name) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(int(f.Fd()), name, value)
		if err != nil {
			return nil, err
		}
		records[xattrRecord+name] = string(value[:n])
	}
	return records, nil
}
