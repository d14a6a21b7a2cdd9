package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

const (
	// maxRemoveDepth bounds the descriptors that removing holds open; what is
	// nested deeper is moved to the top first.
	maxRemoveDepth = 64
	removeBatch    = 512
	// The flags of FS_IOC_SETFLAGS that forbid deleting (linux/fs.h).
	immutableFlag  = 0x10
	appendOnlyFlag = 0x20
)

// Remove deletes dir with all that is in it. The content is hostile: it may be
// nested deeper than any path is long, hold links to anywhere, closed
// directories and immutable files. Nothing outside of dir is touched; no link
// is followed and no mount entered, which makes it fail. It can be called
// again after any error, ctx's among them, and goes on from there; a dir that
// does not exist is no error. It is not fast: call it in the background.
func Remove(ctx context.Context, dir string) error {
	parent, err := os.OpenFile(filepath.Dir(dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("remove: %w", err)
	}
	defer func() { _ = parent.Close() }()
	top, err := mount.OpenWithin(parent, filepath.Base(dir), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	defer func() { _ = top.Close() }()
	r := &remover{ctx: ctx, top: top}
	if err := r.empty(top, 0); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	if err := r.unlink(parent, filepath.Base(dir), unix.AT_REMOVEDIR); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

type remover struct {
	ctx   context.Context
	top   *os.File
	moved int
}

// empty deletes what is in d. It gives up when a whole pass deletes nothing,
// with the first error.
func (r *remover) empty(d *os.File, depth int) error {
	for {
		removed, seen, first, err := r.pass(d, depth)
		if err != nil {
			return err
		}
		if seen == 0 {
			return nil
		}
		if removed == 0 {
			return first
		}
	}
}

// pass goes through d once; first is the first entry's error that the pass
// went on after, err one that ends everything.
func (r *remover) pass(d *os.File, depth int) (removed, seen int, first, err error) {
	if _, err := d.Seek(0, io.SeekStart); err != nil {
		return 0, 0, nil, err
	}
	for {
		names, err := d.Readdirnames(removeBatch)
		if errors.Is(err, io.EOF) {
			return removed, seen, first, nil
		}
		if err != nil {
			return removed, seen, first, err
		}
		for _, n := range names {
			if err := r.ctx.Err(); err != nil {
				return removed, seen, first, err
			}
			seen++
			switch err := r.entry(d, n, depth); {
			case err == nil:
				removed++
			case r.ctx.Err() != nil:
				return removed, seen, first, r.ctx.Err()
			case first == nil:
				first = err
			}
		}
	}
}

func (r *remover) entry(d *os.File, name string, depth int) error {
	err := r.unlink(d, name, 0)
	if err == nil || !errors.Is(err, unix.EISDIR) {
		return err
	}
	if depth >= maxRemoveDepth {
		return r.lift(d, name)
	}
	sub, err := mount.OpenWithin(d, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME, 0)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	err = r.empty(sub, depth+1)
	_ = sub.Close()
	if err != nil {
		return err
	}
	return r.unlink(d, name, unix.AT_REMOVEDIR)
}

// lift moves a deep directory to the top, where the next pass finds it.
func (r *remover) lift(d *os.File, name string) error {
	for {
		r.moved++
		to := ".cove-lifted-" + strconv.Itoa(r.moved)
		move := func() error {
			return unix.Renameat2(int(d.Fd()), name, int(r.top.Fd()), to, unix.RENAME_NOREPLACE)
		}
		err := move()
		if errors.Is(err, unix.EPERM) && thaw(d, name) {
			err = move()
		}
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EEXIST): // a name that the sandbox chose too
			continue
		default:
			return &os.PathError{Op: "rename", Path: name, Err: err}
		}
	}
}

func (r *remover) unlink(d *os.File, name string, flags int) error {
	err := unix.Unlinkat(int(d.Fd()), name, flags)
	if errors.Is(err, unix.EPERM) && thaw(d, name) {
		err = unix.Unlinkat(int(d.Fd()), name, flags)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unlinkat", Path: name, Err: err}
	}
	return nil
}

// thaw takes the immutable and append-only flags from a directory and an entry
// of it, and tells whether there was one to take. (A sandbox cannot set them,
// but an image or an archive may bring them along.)
func thaw(d *os.File, name string) bool {
	changed := clearFlags(d)
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return changed
	}
	if k := st.Mode & unix.S_IFMT; k != unix.S_IFREG && k != unix.S_IFDIR {
		return changed
	}
	f, err := mount.OpenWithin(d, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return changed
	}
	defer func() { _ = f.Close() }()
	return clearFlags(f) || changed
}

func clearFlags(f *os.File) bool {
	const forbid = immutableFlag | appendOnlyFlag
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&forbid == 0 {
		return false
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^forbid)) == nil
}
