package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

const (
	maxCopyDepth = 24
	// maxScanned is how large a file may be that is searched for secrets;
	// what is larger is left out.
	maxScanned = 8 << 20
)

// copier copies what every user of the host could read, and nothing else, from
// one directory to another: regular files with o+r, directories with o+rx, and
// symbolic links that [linkAllowed] lets through. It follows no link, crosses
// no mount and reads a file only after looking at the very file it opened.
type copier struct {
	ctx      context.Context
	src, dst *os.File
	scan     *secrets          // leave out files that hold some; nil: none is
	deny     func(string) bool // by path below src; may be nil
	owner    *int              // for all; nil: the host's system ids are kept
	linkBase string            // where dst will be in the sandbox's root, for judging links
	skipped  int
	buf      []byte
}

// copy copies the entry at rel, with everything below it, from src to the same
// path below dst, making the directories on the way. What does not exist, or
// may not be copied, is left out without an error.
func (c *copier) copy(rel string) error {
	dir, name := path.Split(rel)
	src, dst, err := c.descend(strings.Trim(dir, "/"))
	if err != nil || src == nil {
		return err
	}
	defer func() { _ = src.Close(); _ = dst.Close() }()
	return c.entry(src, dst, name, rel, 0)
}

// descend opens dir on both sides; src is nil when it may not be entered.
func (c *copier) descend(dir string) (src, dst *os.File, err error) {
	if dir == "" {
		dir = "."
	}
	// The paths that copying starts at are ours, and any part of them may be a
	// file system of its own; below them no mount is crossed.
	src, err = c.openDir(c.src, dir, mount.OpenBeneath)
	if err != nil || src == nil {
		return nil, nil, err
	}
	cur, err := mount.OpenWithin(c.dst, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		_ = src.Close()
		return nil, nil, err
	}
	for part := range strings.SplitSeq(dir, "/") {
		if part == "." {
			continue
		}
		next, err := c.makeDir(cur, part, nil)
		_ = cur.Close()
		if err != nil {
			_ = src.Close()
			return nil, nil, err
		}
		cur = next
	}
	return src, cur, nil
}

// opener is mount.OpenBeneath or mount.OpenWithin.
type opener func(dir *os.File, path string, flags int, mode uint32) (*os.File, error)

// openDir opens a directory of the source, or returns nil when it is none, is
// gone, or not everyone may list and enter it.
func (c *copier) openDir(at *os.File, name string, open opener) (*os.File, error) {
	f, err := open(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		if absent(err) {
			return nil, nil
		}
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("stat %s: %w", name, err)
	}
	if st.Mode&0o005 != 0o005 {
		_ = f.Close()
		return nil, nil
	}
	return f, nil
}

// absent tells errors that mean "not there, or not what is copied".
func absent(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.ENXIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (c *copier) makeDir(at *os.File, name string, st *unix.Stat_t) (*os.File, error) {
	mode, uid, gid := uint32(0o755), 0, 0
	if st != nil {
		mode = st.Mode & 0o777
		uid, gid = c.ids(st)
	}
	if err := unix.Mkdirat(int(at.Fd()), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make directory %s: %w", name, err)
	}
	d, err := mount.OpenWithin(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.Chown(uid, gid), d.Chmod(os.FileMode(mode))); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// ids are the owners on our side. People of the host do not exist inside.
func (c *copier) ids(st *unix.Stat_t) (uid, gid int) {
	if c.owner != nil {
		return *c.owner, *c.owner
	}
	if st.Uid <= maxSystemID {
		uid = int(st.Uid)
	}
	if st.Gid <= maxSystemID {
		gid = int(st.Gid)
	}
	return uid, gid
}

func (c *copier) entry(src, dst *os.File, name, rel string, depth int) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if c.deny != nil && c.deny(rel) {
		c.skipped++
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(src.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if absent(err) {
			return nil
		}
		return fmt.Errorf("stat %s: %w", rel, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.dir(src, dst, name, rel, depth)
	case unix.S_IFREG:
		return c.file(src, dst, name, rel)
	case unix.S_IFLNK:
		return c.link(src, dst, name, rel)
	}
	c.skipped++
	return nil
}

func (c *copier) dir(src, dst *os.File, name, rel string, depth int) error {
	if depth >= maxCopyDepth {
		c.skipped++
		return nil
	}
	from, err := c.openDir(src, name, mount.OpenWithin)
	if err != nil || from == nil {
		c.skipped++
		return err
	}
	defer func() { _ = from.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", rel, err)
	}
	to, err := c.makeDir(dst, name, &st)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	names, err := from.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list %s: %w", rel, err)
	}
	sort.Strings(names)
	for _, n := range names {
		if err := c.entry(from, to, n, rel+"/"+n, depth+1); err != nil {
			return err
		}
	}
	return setTimes(to, "", &st)
}

func (c *copier) file(src, dst *os.File, name, rel string) error {
	in, err := mount.OpenWithin(src, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		if absent(err) {
			return nil
		}
		return err
	}
	defer func() { _ = in.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", rel, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o004 == 0 {
		c.skipped++
		return nil
	}
	var from io.Reader = in
	if c.scan != nil {
		if st.Size > maxScanned {
			c.skipped++
			return nil
		}
		raw, err := io.ReadAll(io.LimitReader(in, maxScanned+1))
		if err != nil {
			return fmt.Errorf("read %s: %w", rel, err)
		}
		if len(raw) > maxScanned || c.scan.in(raw) {
			c.skipped++
			return nil
		}
		from = bytes.NewReader(raw)
	}
	out, err := mount.OpenWithin(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	if _, err := io.Copy(out, from); err != nil {
		return fmt.Errorf("copy %s: %w", rel, err)
	}
	uid, gid := c.ids(&st)
	if err := errors.Join(out.Chown(uid, gid), out.Chmod(os.FileMode(st.Mode&0o777)), setTimes(out, "", &st)); err != nil {
		return fmt.Errorf("copy %s: %w", rel, err)
	}
	return out.Close()
}

func (c *copier) link(src, dst *os.File, name, rel string) error {
	if c.buf == nil {
		c.buf = make([]byte, unix.PathMax)
	}
	n, err := unix.Readlinkat(int(src.Fd()), name, c.buf)
	if err != nil {
		if absent(err) || errors.Is(err, unix.EINVAL) {
			return nil
		}
		return fmt.Errorf("read link %s: %w", rel, err)
	}
	target := string(c.buf[:n])
	if !linkAllowed(path.Join(c.linkBase, rel), target) {
		c.skipped++
		return nil
	}
	if err := unix.Symlinkat(target, int(dst.Fd()), name); err != nil {
		return fmt.Errorf("link %s: %w", rel, err)
	}
	uid := 0
	if c.owner != nil {
		uid = *c.owner
	}
	if err := unix.Fchownat(int(dst.Fd()), name, uid, uid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("link %s: %w", rel, err)
	}
	return nil
}

// setTimes gives f, or name below it, the modification time of st.
func setTimes(f *os.File, name string, st *unix.Stat_t) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}
	if name == "" {
		return unix.UtimesNanoAt(int(f.Fd()), "", ts, unix.AT_EMPTY_PATH)
	}
	return unix.UtimesNanoAt(int(f.Fd()), name, ts, unix.AT_SYMLINK_NOFOLLOW)
}
