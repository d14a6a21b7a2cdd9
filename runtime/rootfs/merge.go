package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/disk"
	"cove/runtime/mount"
)

// ErrDiskLayer: a layer is a disk, whose files cannot be given second names.
var ErrDiskLayer = errors.New("a layer is a disk")

// placesSuffix is behind the name of a merged layer in that of the one below it.
const placesSuffix = "-places"

// Merge makes of the layers of b, which the caller has pinned, one, or two, of which a
// root is the same. Files are not copied; they get second names. What was made is
// pinned when it returns without an error. [ErrDiskLayer].
//
// On the host image what a layer takes away must stay hidden, and overlayfs looks for
// whiteouts only in directories that are in two layers at least: those that have some
// are in a second layer, below, where nothing is in them.
func (l *Layers) Merge(ctx context.Context, name string, b Base) (layers []string, release func(), err error) {
	layers = []string{name}
	if b.Host {
		layers = []string{name + placesSuffix, name}
	}
	if release, err := l.Pin(layers...); err == nil {
		return layers, release, nil
	}
	for _, layer := range b.Layers {
		if _, err := os.Lstat(filepath.Join(l.dir, layer, disk.ImageFile)); err == nil {
			return nil, nil, fmt.Errorf("merge layers: %w: %s", ErrDiskLayer, layer)
		}
	}
	var hiding []string
	merged, err := l.MakeClone(ctx, name, func(ctx context.Context, to *os.File) error {
		hiding = nil
		for _, part := range parts(b) {
			if err := l.mergePart(ctx, to, b, part); err != nil {
				return fmt.Errorf("merge layers: %w", err)
			}
			if err := tidyWhiteouts(ctx, to, part, false, &hiding); err != nil {
				return fmt.Errorf("merge layers: %w", err)
			}
		}
		return nil
	})
	if err != nil || !b.Host {
		return layers, merged, err
	}
	below, err := l.MakeClone(ctx, name+placesSuffix, func(_ context.Context, to *os.File) error {
		for _, dir := range append(parts(b), hiding...) {
			at := ""
			for part := range strings.SplitSeq(dir, "/") {
				at = filepath.Join(at, part)
				if err := makeDir(to, at); err != nil {
					return fmt.Errorf("merge layers: %w", err)
				}
			}
		}
		return nil
	})
	if err != nil {
		merged()
		return nil, nil, err
	}
	return layers, func() { merged(); below() }, nil
}

// tidyWhiteouts removes whiteouts that hide nothing, since nothing below their
// directory is seen, and lists the directories that have others.
func tidyWhiteouts(ctx context.Context, top *os.File, path string, opaque bool, hiding *[]string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	d, err := mount.OpenWithin(top, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	opaque = opaque || isOpaque(d)
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	has := false
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			if err := tidyWhiteouts(ctx, top, path+"/"+name, opaque, hiding); err != nil {
				return err
			}
		case !isWhiteout(&st):
		case opaque:
			if err := unix.Unlinkat(int(d.Fd()), name, 0); err != nil {
				return err
			}
		default:
			has = true
		}
	}
	if has {
		*hiding = append(*hiding, path)
	}
	return nil
}

func (l *Layers) mergePart(ctx context.Context, to *os.File, b Base, part string) error {
	if err := makeDir(to, part); err != nil {
		return err
	}
	// On the host image a whiteout hides what is there.
	m := merger{ctx: ctx, keep: b.Host}
	for _, layer := range b.Layers {
		from, err := os.OpenFile(filepath.Join(l.dir, layer, part), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		top, err := mount.OpenWithin(to, part, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err == nil {
			err = m.dir(from, top)
			err = errors.Join(err, top.Close())
		}
		if err := errors.Join(err, from.Close()); err != nil {
			return fmt.Errorf("%s: %w", layer, err)
		}
	}
	return nil
}

// merger puts one layer on top of what others have made already.
type merger struct {
	ctx context.Context
	// keep keeps whiteouts: there may be something below the lowest layer.
	keep bool
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func isOpaque(d *os.File) bool {
	b := make([]byte, 8)
	n, err := unix.Fgetxattr(int(d.Fd()), opaqueXattr, b)
	return err == nil && n == 1 && b[0] == 'y'
}

// dir puts the directory from on the directory to.
func (m *merger) dir(from, to *os.File) error {
	if err := context.Cause(m.ctx); err != nil {
		return err
	}
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.entry(from, to, name); err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	return setLike(from, to, &st, true)
}

func (m *merger) entry(from, to *os.File, name string) error {
	var st, was unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	err := unix.Fstatat(int(to.Fd()), name, &was, unix.AT_SYMLINK_NOFOLLOW)
	there := err == nil
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir {
		return m.subdir(from, to, name, there, &was)
	}
	if there {
		if err := m.remove(to, name, &was); err != nil {
			return err
		}
	}
	if isWhiteout(&st) && !m.keep {
		return nil
	}
	// Layers never change, so that one file may be in two.
	err = unix.Linkat(int(from.Fd()), name, int(to.Fd()), name, 0)
	if errors.Is(err, unix.EMLINK) {
		return fmt.Errorf("it has as many names as a file can have: %w", err)
	}
	return err
}

func (m *merger) remove(to *os.File, name string, st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return Remove(m.ctx, fmt.Sprintf("/proc/self/fd/%d/%s", to.Fd(), name))
	}
	return unix.Unlinkat(int(to.Fd()), name, 0)
}

// subdir puts the directory name of from on what there is of that name in to.
func (m *merger) subdir(from, to *os.File, name string, there bool, was *unix.Stat_t) error {
	src, err := mount.OpenWithin(from, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	opaque := isOpaque(src)
	hides := false // what is below the lowest layer
	if there && (was.Mode&unix.S_IFMT != unix.S_IFDIR || opaque) {
		// In the place of a file, or of a whiteout, a directory shows nothing of
		// what is below.
		hides = was.Mode&unix.S_IFMT != unix.S_IFDIR || opaque
		if err := m.remove(to, name, was); err != nil {
			return err
		}
		there = false
	}
	if !there {
		if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
			return err
		}
	}
	dst, err := mount.OpenWithin(to, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dst.Close() }()
	wasOpaque := there && isOpaque(dst)
	if err := m.dir(src, dst); err != nil {
		return err
	}
	if m.keep && (hides || opaque || wasOpaque) {
		return unix.Fsetxattr(int(dst.Fd()), opaqueXattr, []byte("y"), 0)
	}
	if !m.keep {
		if err := unix.Fremovexattr(int(dst.Fd()), opaqueXattr); err != nil && !errors.Is(err, unix.ENODATA) {
			return err
		}
	}
	return nil
}
