package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// WriteOptions say how a tree becomes an archive.
type WriteOptions struct {
	// Meta is JSON that is kept beside the tree, at most four mebibytes.
	Meta json.RawMessage
	// Threads is how many compress at once; 0 means two.
	Threads int
	// Mounted are open directories that stand for those of their names at the top of
	// the tree: what is mounted there. They stay the caller's.
	Mounted map[string]*os.File
	// Progress, if not nil, is told now and then how many bytes of files have
	// been read.
	Progress func(bytes int64)
}

// Write writes the tree below dir, which must not change meanwhile, to w. No link
// is followed and no other mount entered. It takes its time: ctx ends it.
func Write(ctx context.Context, w io.Writer, dir *os.File, o WriteOptions) (m Manifest, err error) {
	if o.Threads <= 0 {
		o.Threads = 2
	}
	if len(o.Meta) > maxMeta {
		return Manifest{}, fmt.Errorf("write archive: %d bytes beside the tree are too many", len(o.Meta))
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(o.Threads), zstd.WithEncoderCRC(false))
	if err != nil {
		return Manifest{}, fmt.Errorf("write archive: %w", err)
	}
	aw := &writer{ctx: ctx, o: o, sum: sha256.New(), links: map[inode]string{}, buf: make([]byte, copyBuffer)}
	aw.tw = tar.NewWriter(io.MultiWriter(z, aw.sum))
	err = aw.all(dir)
	// A broken-off stream must not end like a whole one.
	if err != nil {
		z.Reset(io.Discard)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return Manifest{}, fmt.Errorf("write archive: %w", err)
	}
	return aw.m, nil
}

type inode struct{ dev, ino uint64 }

type writer struct {
	ctx   context.Context
	o     WriteOptions
	tw    *tar.Writer
	sum   hash.Hash
	m     Manifest
	links map[inode]string // names of files that have several
	buf   []byte
	told  int64
}

func (w *writer) all(dir *os.File) error {
	meta := w.o.Meta
	if len(meta) == 0 {
		meta = json.RawMessage("null")
	}
	if err := w.json(headName, head{Version, meta}); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("look at the tree: %w", err)
	}
	// Its own description: reading a directory moves along.
	top, err := mount.OpenWithin(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if err := w.directory(top, treeName, &st); err != nil {
		return err
	}
	if err := w.tw.Flush(); err != nil {
		return err
	}
	w.m.Version, w.m.SHA256 = Version, hex.EncodeToString(w.sum.Sum(nil))
	if err := w.json(manifestName, w.m); err != nil {
		return err
	}
	return w.tw.Close()
}

func (w *writer) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := w.tw.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), Format: tar.FormatUSTAR}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = w.tw.Write(data)
	return err
}

// directory writes an entry for d and all that is in it, and closes d.
func (w *writer) directory(d *os.File, name string, st *unix.Stat_t) (err error) {
	defer func() { err = errors.Join(err, d.Close()) }()
	h, err := w.header(d, name, st)
	if err != nil {
		return err
	}
	h.Typeflag = tar.TypeDir
	if err := w.entry(h); err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list %s: %w", name, err)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := context.Cause(w.ctx); err != nil {
			return err
		}
		if err := w.child(d, n, name+n); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) child(d *os.File, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFSOCK:
		w.m.Skipped++
		return nil
	case unix.S_IFDIR:
		if m := w.o.Mounted[strings.TrimPrefix(name, treeName)]; m != nil {
			return w.mounted(m, name+"/")
		}
		sub, err := mount.OpenWithin(d, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		return w.directory(sub, name+"/", &st)
	}
	if first, ok := w.linked(name, &st); ok {
		return w.entry(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: first, Format: tar.FormatPAX})
	}
	if kind == unix.S_IFREG {
		f, err := mount.OpenWithin(d, base, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		return errors.Join(w.file(f, name, &st), f.Close())
	}
	// A descriptor of what must not be opened.
	f, err := mount.OpenWithin(d, base, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h, err := w.header(f, name, &st)
	if err != nil {
		return err
	}
	switch kind {
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		n, err := unix.Readlinkat(int(d.Fd()), base, w.buf)
		if err != nil {
			return fmt.Errorf("read link %s: %w", name, err)
		}
		h.Linkname = string(w.buf[:n])
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
		if st.Rdev != 0 {
			return fmt.Errorf("%s is a device node: no sandbox can make one", name)
		}
	default:
		return fmt.Errorf("%s is of an unknown kind (mode %#o)", name, st.Mode)
	}
	return w.entry(h)
}

// mounted writes what is mounted in the tree.
func (w *writer) mounted(m *os.File, name string) error {
	d, err := mount.OpenWithin(m, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return errors.Join(err, d.Close())
	}
	return w.directory(d, name, &st)
}

// linked tells the first name of a file that has several, and remembers it.
func (w *writer) linked(name string, st *unix.Stat_t) (first string, ok bool) {
	if st.Nlink < 2 {
		return "", false
	}
	key := inode{st.Dev, st.Ino}
	if first, ok = w.links[key]; !ok {
		w.links[key] = name
	}
	return first, ok
}

// header describes f, which may be open by path only.
func (w *writer) header(f *os.File, name string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	attrs, err := readXattrs(f)
	if err != nil {
		return nil, fmt.Errorf("attributes of %s: %w", name, err)
	}
	if len(attrs) > 0 {
		h.PAXRecords = make(map[string]string, len(attrs)+2)
		for k, v := range attrs {
			h.PAXRecords[xattrPrefix+k] = v
		}
	}
	return h, nil
}

func (w *writer) entry(h *tar.Header) error {
	w.m.Entries++
	if err := w.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", h.Name, err)
	}
	return nil
}

// file writes a regular file, without its holes where it has some.
func (w *writer) file(f *os.File, name string, st *unix.Stat_t) error {
	h, err := w.header(f, name, st)
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	pieces := []extent{{0, st.Size}}
	if st.Blocks*512 < st.Size {
		found, err := extents(f, st.Size)
		if err != nil {
			return fmt.Errorf("find the holes of %s: %w", name, err)
		}
		if len(found) <= maxExtents {
			pieces = found
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.Size = describe(h.PAXRecords, found, st.Size)
		}
	}
	if err := w.entry(h); err != nil {
		return err
	}
	for _, p := range pieces {
		if err := w.piece(f, p); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	return nil
}

// piece writes a part of a file, which must not have become shorter.
func (w *writer) piece(f *os.File, p extent) error {
	for p.length > 0 {
		if err := context.Cause(w.ctx); err != nil {
			return err
		}
		n, err := f.ReadAt(w.buf[:min(int64(len(w.buf)), p.length)], p.offset)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if _, err := w.tw.Write(w.buf[:n]); err != nil {
			return err
		}
		p.offset, p.length = p.offset+int64(n), p.length-int64(n)
		w.m.Bytes += int64(n)
		if w.o.Progress != nil && w.m.Bytes-w.told >= 1<<20 {
			w.told = w.m.Bytes
			w.o.Progress(w.told)
		}
	}
	return nil
}
