package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// Cloner makes a layer of the changes of a sandbox that runs, in two passes or more:
// most of them while it runs, and what has changed meanwhile while it stands still. A
// file is another one, by its change time, size or inode, which no program inside
// sets, or where it may have changed since the pass began that copied it: the times of
// files lag, and one that is written to by way of memory tells so only once after its
// page went to the disk.
type Cloner struct {
	from, to *os.File
	seen     map[string]copiedAs
	links    map[inode]string // in this pass: the first name
	live     map[string]bool  // paths found in this pass
	copied   int64
	buf      []byte
	// begin is when this pass began; tells says that the times of files tell all.
	begin time.Time
	tells bool
	// admit, if not nil, is asked now and then whether to go on copying; asked is how
	// much was copied when it was.
	admit func() error
	asked int64
}

// admitEvery is after how many bytes a Cloner asks whether to go on.
const admitEvery = 16 << 20

// clockGrain is more than files' times lag behind the clock: its tick.
const clockGrain = 20 * time.Millisecond

// stamp is what tells that a file was changed.
type stamp struct {
	ino, size int64
	mode      uint32
	ctime     unix.Timespec
	rdev      uint64
}

// copiedAs is what of a file was copied, in the pass that began then.
type copiedAs struct {
	stamp
	begin time.Time
}

type inode struct{ dev, ino uint64 }

// NewCloner makes a Cloner of the directory from, the upper of a sandbox, into the
// empty directory to. Both stay the caller's. admit, if not nil, is asked now and then
// while much is copied, and breaks it off by an error.
func NewCloner(from, to *os.File, admit func() error) *Cloner {
	return &Cloner{from: from, to: to, admit: admit, seen: map[string]copiedAs{}, buf: make([]byte, 256<<10)}
}

// Copied is how many bytes of files have been copied so far; what the file system
// shares between two files (reflink) is not copied.
func (c *Cloner) Copied() int64 { return c.copied }

// HotPass is Pass while the files may be changed: what is changed from now on the
// next pass will see. It writes to the disk what is in memory of their file system.
func (c *Cloner) HotPass(ctx context.Context) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(c.from.Fd()), &fs); err != nil {
		return fmt.Errorf("copy the changes of the sandbox: %w", err)
	}
	switch int64(fs.Type) { //nolint:unconvert // 32 bits elsewhere
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
	default:
		return nil // of a tmpfs, say, times do not tell: all is copied in the last pass
	}
	c.tells = true
	begin := time.Now().Add(-clockGrain)
	if err := unix.Syncfs(int(c.from.Fd())); err != nil {
		return fmt.Errorf("write the changes of the sandbox to the disk: %w", err)
	}
	return c.pass(ctx, begin)
}

// Pass copies what has changed since the last pass, and takes away what is gone. A
// pass over files that somebody changes leaves them in whatever state: the last one
// is to be over files that nobody does.
func (c *Cloner) Pass(ctx context.Context) error { return c.pass(ctx, time.Now()) }

func (c *Cloner) pass(ctx context.Context, begin time.Time) error {
	c.begin = begin
	c.links, c.live = map[inode]string{}, map[string]bool{}
	if err := c.dir(ctx, "."); err != nil {
		return fmt.Errorf("copy the changes of the sandbox: %w", err)
	}
	for path := range c.seen {
		if c.live[path] {
			continue
		}
		delete(c.seen, path)
		if err := c.remove(ctx, path); err != nil {
			return fmt.Errorf("copy the changes of the sandbox: %w", err)
		}
	}
	return nil
}

// vanished tells of a file that was there a moment ago: its directory may be a link
// by now.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

func (c *Cloner) dir(ctx context.Context, path string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	d, err := mount.OpenWithin(c.from, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		if vanished(err) {
			return nil
		}
		return err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		child := name
		if path != "." {
			child = path + "/" + name
		} else if name == cowDir {
			continue
		}
		if err := c.entry(ctx, d, name, child); err != nil && !vanished(err) {
			return fmt.Errorf("%.200q: %w", child, err)
		}
	}
	// Last: what is made in it changes it.
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return err
	}
	to, err := mount.OpenWithin(c.to, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(setLike(d, to, &st, true), to.Close())
}

func (c *Cloner) entry(ctx context.Context, d *os.File, name, path string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	now := stamp{ino: int64(st.Ino), size: st.Size, mode: st.Mode, ctime: st.Ctim, rdev: st.Rdev}
	was, had := c.seen[path]
	c.live[path] = true
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if had && was.mode&unix.S_IFMT != unix.S_IFDIR {
			if err := c.remove(ctx, path); err != nil {
				return err
			}
			had = false
		}
		if !had {
			if err := c.at(path, func(dir int, base string) error { return unix.Mkdirat(dir, base, 0o700) }); err != nil {
				return err
			}
		}
		c.seen[path] = copiedAs{now, c.begin}
		return c.dir(ctx, path)
	}
	first, linked := "", false
	if st.Nlink > 1 {
		first, linked = c.links[inode{st.Dev, st.Ino}]
		if !linked {
			c.links[inode{st.Dev, st.Ino}] = path
		}
	}
	if had && !linked && c.tells && was.stamp == now && time.Unix(st.Ctim.Unix()).Before(was.begin) {
		return nil
	}
	if had {
		if err := c.remove(ctx, path); err != nil {
			return err
		}
	}
	delete(c.seen, path)
	err := c.make(ctx, d, name, path, first, linked, &st)
	if err == nil {
		c.seen[path] = copiedAs{now, c.begin}
	}
	return err
}

// at does something in the directory of path.
func (c *Cloner) at(path string, do func(dir int, base string) error) error {
	parent, base := ".", path
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			parent, base = path[:i], path[i+1:]
			break
		}
	}
	d, err := mount.OpenWithin(c.to, parent, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(do(int(d.Fd()), base), d.Close())
}

func (c *Cloner) remove(ctx context.Context, path string) error {
	err := c.at(path, func(dir int, base string) error {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return Remove(ctx, fmt.Sprintf("/proc/self/fd/%d/%s", dir, base))
		}
		return unix.Unlinkat(dir, base, 0)
	})
	if vanished(err) {
		return nil // with its directory
	}
	return err
}

func (c *Cloner) make(ctx context.Context, d *os.File, name, path, first string, linked bool, st *unix.Stat_t) error {
	if linked {
		from, err := mount.OpenWithin(c.to, first, unix.O_PATH|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer func() { _ = from.Close() }()
		return c.at(path, func(dir int, base string) error {
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", from.Fd()), dir, base, unix.AT_SYMLINK_FOLLOW)
		})
	}
	return c.at(path, func(dir int, base string) error {
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			return c.file(ctx, d, name, dir, base)
		case unix.S_IFLNK:
			buf := make([]byte, 4096)
			n, err := unix.Readlinkat(int(d.Fd()), name, buf)
			if err == nil {
				err = unix.Symlinkat(string(buf[:n]), dir, base)
			}
			if err != nil {
				return err
			}
		case unix.S_IFSOCK:
			return nil // nobody listens on it any more
		default:
			if err := unix.Mknodat(dir, base, st.Mode, int(st.Rdev)); err != nil {
				return err
			}
		}
		return c.like(d, name, dir, base, st)
	})
}

// like gives what was made the owner, mode, attributes and times of the original.
func (c *Cloner) like(d *os.File, name string, dir int, base string, st *unix.Stat_t) error {
	from, err := mount.OpenWithin(d, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(fd), base)
	return errors.Join(setLike(from, to, st, true), to.Close())
}

// file copies a regular file: shared where the file system can, else what of it is
// no hole.
func (c *Cloner) file(ctx context.Context, d *os.File, name string, dir int, base string) error {
	from, err := mount.OpenWithin(d, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	fd, err := unix.Openat(dir, base, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(fd), base)
	defer func() { _ = to.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		if err := c.pieces(ctx, from, to, st.Size); err != nil {
			return err
		}
	}
	if err := setLike(from, to, &st, true); err != nil {
		return err
	}
	return to.Close()
}

func (c *Cloner) mayGoOn(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if c.admit == nil || c.copied-c.asked < admitEvery {
		return nil
	}
	c.asked = c.copied
	return c.admit()
}

func (c *Cloner) pieces(ctx context.Context, from, to *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(from.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		r := io.NewSectionReader(from, data, hole-data)
		w := io.NewOffsetWriter(to, data)
		for {
			if err := c.mayGoOn(ctx); err != nil {
				return err
			}
			n, err := r.Read(c.buf)
			if n > 0 {
				if _, werr := w.Write(c.buf[:n]); werr != nil {
					return werr
				}
				c.copied += int64(n)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		at = hole
	}
	return unix.Ftruncate(int(to.Fd()), size)
}

// MakeClone makes the layer name of a directory of the caller's: fill is given the
// empty directory that is to be as the upper of a sandbox is, with root and usr in
// it. The layer is pinned when it returns without an error.
func (l *Layers) MakeClone(ctx context.Context, name string, fill func(ctx context.Context, dir *os.File) error) (release func(), err error) {
	if err := validLayer(name); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(l.dir, makingPrefix)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Remove(context.WithoutCancel(ctx), tmp))
		}
	}()
	dir, err := os.Open(tmp)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if err := fill(ctx, dir); err != nil {
		return nil, err
	}
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return nil, fmt.Errorf("make layer %s: sync: %w", name, err)
	}
	l.mu.Lock()
	l.pinned[name]++ // before anybody could collect it
	l.mu.Unlock()
	unpin := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.pinned[name]--; l.pinned[name] <= 0 {
			delete(l.pinned, name)
		}
	}
	if err := l.adopt(tmp, name); err != nil {
		unpin()
		return nil, err
	}
	return sync.OnceFunc(unpin), nil
}
