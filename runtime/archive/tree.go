package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

const (
	maxDepth = 1024
	maxName  = 255
	maxPath  = 32 << 10
)

// tree makes files below an empty directory. Everything is made anew and opened
// beneath it, so that whatever an archive says, nothing outside is touched.
type tree struct {
	top *os.File
	// stack are the directories on the way to the last entry, the top first.
	stack []folder
	buf   []byte
}

// folder is a directory that is being filled. Its mode and time are set when it
// has all that belongs into it.
type folder struct {
	name string // from the top; the top's is ""
	dir  *os.File
	h    *tar.Header // nil: as it is
}

func (t *tree) begin(dir *os.File) error {
	top, err := mount.OpenWithin(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	t.top = top
	t.stack = []folder{{dir: top}}
	if names, err := top.Readdirnames(1); !errors.Is(err, io.EOF) {
		return errors.Join(err, fmt.Errorf("the directory is not empty: it has %q", names))
	}
	return nil
}

// close ends the tree, whole or not.
func (t *tree) close() error {
	var errs []error
	for len(t.stack) > 0 {
		errs = append(errs, t.leave())
	}
	return errors.Join(errs...)
}

// leave finishes the last directory.
func (t *tree) leave() error {
	f := t.stack[len(t.stack)-1]
	t.stack = t.stack[:len(t.stack)-1]
	var err error
	if f.h != nil {
		err = finish(f.dir, f.h)
	}
	return errors.Join(err, f.dir.Close())
}

// enter makes the directory of name the last one of the stack, and tells the name
// in it. Entries come below their directories.
func (t *tree) enter(name string) (*os.File, string, error) {
	parent, base := path.Split(name)
	parent = strings.TrimSuffix(parent, "/")
	for t.stack[len(t.stack)-1].name != parent {
		if len(t.stack) == 1 {
			return nil, "", fmt.Errorf("%w: %.80q comes before its directory", ErrHostile, name)
		}
		if err := t.leave(); err != nil {
			return nil, "", err
		}
	}
	return t.stack[len(t.stack)-1].dir, base, nil
}

// checkName refuses what leads anywhere else. A directory ends in a slash.
func checkName(name string) error {
	if len(name) > maxPath || strings.IndexByte(name, 0) >= 0 || strings.Count(name, "/") >= maxDepth {
		return fmt.Errorf("%w: a name of %d bytes", ErrHostile, len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || len(part) > maxName {
			return fmt.Errorf("%w: the name %.80q", ErrHostile, name)
		}
	}
	return nil
}

// entry makes what h says; copy gives the file's contents.
func (t *tree) entry(name string, h *tar.Header, size int64, content []extent, copy func(io.Writer, int64) error) error {
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 || h.Mode < 0 || h.Mode > 0o7777 {
		return fmt.Errorf("%w: owner %d:%d, mode %#o", ErrHostile, h.Uid, h.Gid, h.Mode)
	}
	if name == "" {
		if h.Typeflag != tar.TypeDir || t.stack[0].h != nil {
			return fmt.Errorf("%w: the tree's own directory is not one", ErrHostile)
		}
		t.stack[0].h = h
		return nil
	}
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if err := checkName(name); err != nil {
		return err
	}
	dir, base, err := t.enter(name)
	if err != nil {
		return err
	}
	if err := t.make(dir, base, name, h, size, content, copy); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%w: %.80q is there twice", ErrHostile, name)
		}
		return fmt.Errorf("make %s: %w", name, err)
	}
	return nil
}

func (t *tree) make(dir *os.File, base, name string, h *tar.Header, size int64, content []extent, copy func(io.Writer, int64) error) error {
	at := int(dir.Fd())
	switch h.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(at, base, 0o700); err != nil {
			return err
		}
		d, err := mount.OpenWithin(dir, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		t.stack = append(t.stack, folder{name, d, h})
		return nil
	case tar.TypeReg:
		return t.file(dir, base, h, size, content, copy)
	case tar.TypeLink:
		return t.link(at, base, h.Linkname)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, at, base); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mknodat(at, base, unix.S_IFIFO|0o600, 0); err != nil {
			return err
		}
	case tar.TypeChar:
		if h.Devmajor != 0 || h.Devminor != 0 {
			return fmt.Errorf("%w: a device node", ErrHostile)
		}
		if err := unix.Mknodat(at, base, unix.S_IFCHR|0o600, 0); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: an entry of the type %q", ErrHostile, h.Typeflag)
	}
	f, err := mount.OpenWithin(dir, base, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(finish(f, h), f.Close())
}

// file makes a regular file, with holes where it had some.
func (t *tree) file(dir *os.File, base string, h *tar.Header, size int64, content []extent, copy func(io.Writer, int64) error) error {
	f, err := mount.OpenWithin(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	end := int64(0)
	for _, p := range content {
		if err := copy(io.NewOffsetWriter(f, p.offset), p.length); err != nil {
			return err
		}
		end = p.offset + p.length
	}
	if end < size {
		if err := unix.Ftruncate(int(f.Fd()), size); err != nil {
			return err
		}
	}
	if err := finish(f, h); err != nil {
		return err
	}
	return f.Close()
}

// link gives a second name to a file of the tree.
func (t *tree) link(at int, base, linkname string) error {
	first, ok := strings.CutPrefix(linkname, treeName)
	if !ok || checkName(first) != nil {
		return fmt.Errorf("%w: a link to %.80q", ErrHostile, linkname)
	}
	dir, last := path.Split(first)
	d, err := mount.OpenWithin(t.top, "./"+dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	// Without AT_SYMLINK_FOLLOW: a link to a symbolic link is one to itself.
	return unix.Linkat(int(d.Fd()), last, at, base, 0)
}

// finish gives f, which may be open by path only, its owner, mode, attributes and
// time, in this order: a change of the owner takes setuid and capabilities away.
func finish(f *os.File, h *tar.Header) error {
	if err := unix.Fchownat(int(f.Fd()), "", h.Uid, h.Gid, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set the owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		// By path: fchmod(2) refuses O_PATH. The magic link leads to exactly f.
		if err := unix.Chmod(fdPath(f), uint32(h.Mode)); err != nil {
			return fmt.Errorf("set the mode: %w", err)
		}
	}
	if err := writeXattrs(f, h.PAXRecords); err != nil {
		return err
	}
	when := h.ModTime
	if when.Before(time.Unix(-1<<40, 0)) || when.After(time.Unix(1<<40, 0)) {
		return fmt.Errorf("%w: a time in the year %d", ErrHostile, when.Year())
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: when.Unix(), Nsec: int64(when.Nanosecond())}}
	if err := unix.UtimesNanoAt(int(f.Fd()), "", ts, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}
