package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"cove/runtime/rootfs"
)

const (
	// whiteout marks an entry that takes away what lies below the layer (OCI image
	// specification, "Whiteouts"); whiteoutMeta one that is about a directory, of
	// which only opaque is left in use.
	whiteout     = ".wh."
	whiteoutMeta = whiteout + whiteout
	opaque       = whiteout + whiteout + ".opq"

	opaqueXattr = "trusted.overlay.opaque"
	xattrRecord = "SCHILY.xattr."
	// lastID is the greatest id that is somebody's inside: a sandbox has as many as
	// there are up to it. nobodyID is who has what belongs to others.
	lastID   = 65534
	nobodyID = 65534

	zstdWindow = 128 << 20
)

// decompress gives what is in a layer's blob, however it is compressed.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return z, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderMaxMemory(zstdWindow))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// unpacker makes the files of a layer's tar beneath a directory.
type unpacker struct {
	root   *os.File
	limits Limits
	// admit, if not nil, is asked now and then whether there is room.
	admit func() error

	entries, bytes, asked int64
	// made are the paths that this layer has made: a whiteout is about what lies
	// below it.
	made map[string]bool
	dirs []dirTime
}

// dirTime is a time of a directory, to be set when all is in it.
type dirTime struct {
	path string
	mod  time.Time
}

// unpack makes the files of the tar in r beneath root, an empty directory that
// nobody else uses. Errors: [ErrCorrupt], [ErrHostile], [ErrTooLarge], admit's,
// those of the file system and of r.
func unpack(ctx context.Context, root *os.File, r io.Reader, limits Limits, admit func() error) error {
	u := &unpacker{root: root, limits: limits, admit: admit, made: map[string]bool{}}
	tr := tar.NewReader(r)
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
		if err := u.entry(ctx, h, tr); err != nil {
			return fmt.Errorf("unpack %.200q: %w", h.Name, err)
		}
	}
	for i := len(u.dirs) - 1; i >= 0; i-- {
		if err := u.setTime(u.dirs[i]); err != nil {
			return fmt.Errorf("unpack %.200q: %w", u.dirs[i].path, err)
		}
	}
	return nil
}

// corrupt says of errors of the formats what they mean here.
func corrupt(err error) error {
	var errno unix.Errno
	for _, known := range []error{ErrCorrupt, ErrHostile, ErrTooLarge, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return err
		}
	}
	if errors.As(err, &errno) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

func (u *unpacker) entry(ctx context.Context, h *tar.Header, content io.Reader) error {
	if u.entries++; u.entries > u.limits.Entries {
		return fmt.Errorf("%w: a layer of more than %d files", ErrTooLarge, u.limits.Entries)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if strings.IndexByte(h.Name, 0) >= 0 || strings.IndexByte(h.Linkname, 0) >= 0 {
		return fmt.Errorf("%w: a name with a NUL byte", ErrHostile)
	}
	// Whatever leads up, or begins at the root, stays in the layer.
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" {
		if h.Typeflag == tar.TypeDir {
			u.dirs = append(u.dirs, dirTime{".", h.ModTime})
			return u.finish(u.root, h)
		}
		return fmt.Errorf("%w: / is no directory", ErrHostile)
	}
	dir, base := path.Split(name)
	parent, err := u.parent(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	if strings.HasPrefix(base, whiteout) {
		return u.whiteout(parent, path.Clean(dir), base)
	}
	if err := u.clear(ctx, parent, base, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	u.made[name] = true
	return u.make(parent, base, name, h, content)
}

// within opens a path as it is for somebody whose / is the layer.
func (u *unpacker) within(name string, flags int) (*os.File, error) {
	if name == "" {
		name = "."
	}
	fd, err := unix.Openat2(int(u.root.Fd()), name, &unix.OpenHow{
		Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// parent opens a directory of the layer, and makes what is missing of it.
func (u *unpacker) parent(dir string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY
	f, err := u.within(dir, flags)
	if !errors.Is(err, unix.ENOENT) || dir == "" {
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil, fmt.Errorf("%w: %.200q is no directory", ErrHostile, dir)
		}
		return f, err
	}
	above, base := path.Split(dir)
	up, err := u.parent(strings.TrimSuffix(above, "/"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = up.Close() }()
	switch err := unix.Mkdirat(int(up.Fd()), base, 0o755); {
	case errors.Is(err, unix.EEXIST):
		return nil, fmt.Errorf("%w: %.200q is a link that leads nowhere", ErrHostile, dir)
	case err != nil:
		return nil, err
	}
	u.made[dir] = true
	f, err = u.within(dir, flags)
	if err != nil {
		return nil, err
	}
	return f, errors.Join(f.Chmod(0o755))
}

// whiteout takes away what lies below the layer.
func (u *unpacker) whiteout(parent *os.File, dir, base string) error {
	if base == opaque {
		if err := unix.Fsetxattr(int(parent.Fd()), opaqueXattr, []byte("y"), 0); err != nil {
			return fmt.Errorf("make it opaque: %w", err)
		}
		return nil
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil // what aufs kept for itself
	}
	base = strings.TrimPrefix(base, whiteout)
	if base == "" || base == "." || base == ".." {
		return fmt.Errorf("%w: a whiteout of nothing", ErrHostile)
	}
	if u.made[path.Join(dir, base)] {
		return nil
	}
	err := unix.Mknodat(int(parent.Fd()), base, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// clear takes away what an earlier entry of the layer has put at base, but a
// directory where there is to be one.
func (u *unpacker) clear(ctx context.Context, parent *os.File, base string, dir bool) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return unix.Unlinkat(int(parent.Fd()), base, 0)
	case dir:
		return nil
	}
	return rootfs.Remove(ctx, fmt.Sprintf("/proc/self/fd/%d/%s", parent.Fd(), base))
}

func (u *unpacker) make(parent *os.File, base, name string, h *tar.Header, content io.Reader) error {
	at := int(parent.Fd())
	switch h.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(at, base, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		u.dirs = append(u.dirs, dirTime{name, h.ModTime})
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(parent, base, h, content)
	case tar.TypeLink:
		return u.link(at, base, h.Linkname)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, at, base); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mknodat(at, base, unix.S_IFIFO|0o600, 0); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock:
		return nil // no sandbox could open it
	default:
		return fmt.Errorf("%w: an entry of the type %q", ErrHostile, h.Typeflag)
	}
	fd, err := unix.Openat(at, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	return errors.Join(u.finish(f, h), f.Close())
}

// file makes a regular file.
func (u *unpacker) file(parent *os.File, base string, h *tar.Header, content io.Reader) error {
	if h.Size < 0 || h.Size > u.limits.Bytes-u.bytes {
		return fmt.Errorf("%w: a layer of more than %v", ErrTooLarge, sizeText(u.limits.Bytes))
	}
	fd, err := unix.Openat(int(parent.Fd()), base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer func() { _ = f.Close() }()
	for left := h.Size; left > 0; {
		n, err := io.CopyN(f, content, min(left, 8<<20))
		left -= n
		u.bytes += n
		if err != nil {
			return corrupt(err)
		}
		if u.admit != nil && u.bytes-u.asked >= 8<<20 {
			u.asked = u.bytes
			if err := u.admit(); err != nil {
				return err
			}
		}
	}
	if err := u.finish(f, h); err != nil {
		return err
	}
	return f.Close()
}

// link gives a second name to a file of the layer.
func (u *unpacker) link(at int, base, to string) error {
	to = strings.TrimPrefix(path.Clean("/"+to), "/")
	dir, last := path.Split(to)
	if last == "" {
		return fmt.Errorf("%w: a link to /", ErrHostile)
	}
	d, err := u.within(strings.TrimSuffix(dir, "/"), unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		defer func() { _ = d.Close() }()
		// Without AT_SYMLINK_FOLLOW: a link to a symbolic link is one to itself.
		err = unix.Linkat(int(d.Fd()), last, at, base, 0)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%w: a link to %.200q, which is no file of the layer", ErrHostile, to)
	}
	return err
}

// finish gives f, which may be open by path only, its owner, mode, attributes and
// time, in this order: a change of the owner takes setuid and capabilities away.
func (u *unpacker) finish(f *os.File, h *tar.Header) error {
	uid, gid := h.Uid, h.Gid
	if uid < 0 || uid > lastID {
		uid = nobodyID
	}
	if gid < 0 || gid > lastID {
		gid = nobodyID
	}
	flags := unix.AT_EMPTY_PATH
	if err := unix.Fchownat(int(f.Fd()), "", uid, gid, flags); err != nil {
		return fmt.Errorf("set the owner: %w", err)
	}
	self := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if h.Typeflag != tar.TypeSymlink {
		// By path: fchmod(2) refuses O_PATH. The magic link leads to exactly f.
		if err := unix.Chmod(self, uint32(h.Mode)&0o7777); err != nil {
			return fmt.Errorf("set the mode: %w", err)
		}
		for record, value := range h.PAXRecords {
			attr, ok := strings.CutPrefix(record, xattrRecord)
			if !ok || !keptXattr(attr) {
				continue
			}
			if err := unix.Setxattr(self, attr, []byte(value), 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("set the attribute %.100q: %w", attr, err)
			}
		}
	}
	if h.Typeflag == tar.TypeDir {
		return nil // when all is in it
	}
	return setTimes(f, h.ModTime)
}

// keptXattr tells whether an attribute means something inside: nothing that only
// the host's root could give it, but capabilities, which count inside alone.
func keptXattr(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "security.capability"
}

func (u *unpacker) setTime(d dirTime) error {
	f, err := u.within(d.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // a later entry has replaced it
	}
	if err != nil {
		return err
	}
	return errors.Join(setTimes(f, d.mod), f.Close())
}

func setTimes(f *os.File, mod time.Time) error {
	if mod.Before(time.Unix(-1<<40, 0)) || mod.After(time.Unix(1<<40, 0)) {
		mod = time.Unix(0, 0)
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: mod.Unix(), Nsec: int64(mod.Nanosecond())}}
	if err := unix.UtimesNanoAt(int(f.Fd()), "", ts, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}

func sizeText(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
