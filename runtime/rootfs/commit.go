package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// Commit makes a layer of all that the sandbox in sandboxDir has changed, by
// renaming it into the store: that takes the same time whatever its size. What
// the sandbox changes next begins empty, and the caller records that its base has
// the layer on top. The sandbox does not run; what its last root
// at target still writes is waited for.
//
// Called again, after a kill at any moment or an error, it comes to the same end:
// where the store has the layer, and the sandbox no changes, these are made empty.
// The layer must be recorded as used before the first call. Errors: [ErrDamaged],
// ctx's.
func (h *Host) Commit(ctx context.Context, sandboxDir, target, layer string) error {
	if h.opts.Layers == nil {
		return fmt.Errorf("keep a sandbox's changes: %w: there is no store", ErrNoLayer)
	}
	if err := h.awaitGone(ctx, target); err != nil {
		return err
	}
	if err := h.opts.Layers.Take(sandboxDir, layer); err != nil {
		return fmt.Errorf("keep a sandbox's changes: %w", err)
	}
	return nil
}

// Take moves the changes of the sandbox in dir, whose root is not mounted, into the
// store: see [Host.Commit]. Of one with a disk it is the disk, and the caller makes
// a fresh one.
func (l *Layers) Take(dir, name string) error {
	if err := validLayer(name); err != nil {
		return err
	}
	top, err := os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }()
	if l.isDisk(dir, name) {
		return l.takeDisk(dir, name)
	}
	if !l.Has(name) {
		// Both must be there: half of a sandbox is not a layer.
		for _, d := range []string{upperRoot, upperUsr} {
			f, err := mount.OpenWithin(top, d, unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", ErrDamaged, d, err)
			}
			_ = f.Close()
		}
		if err := l.adopt(filepath.Join(dir, Upper), name); err != nil {
			return err
		}
	}
	if err := l.freshUpper(top, name); err != nil {
		return err
	}
	if err := Create(top, Fresh{}); err != nil { // the rest
		return err
	}
	if err := top.Sync(); err != nil {
		return fmt.Errorf("sync the sandbox's directory: %w", err)
	}
	return nil
}

// freshUpper makes an empty upper over the layer, whole or not at all, unless there
// is one.
func (l *Layers) freshUpper(top *os.File, name string) error {
	const fresh = Upper + ".new"
	var st unix.Stat_t
	if err := unix.Fstatat(int(top.Fd()), Upper, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
		return nil
	}
	if err := makeDir(top, fresh); err != nil {
		return err
	}
	for _, d := range []string{layerRoot, layerUsr} {
		if err := makeDir(top, filepath.Join(fresh, d)); err != nil {
			return err
		}
		if err := likewise(filepath.Join(l.dir, name, d), top, filepath.Join(fresh, d)); err != nil {
			return err
		}
	}
	// What it changed in directories of the host's stays its own.
	err := os.Rename(filepath.Join(l.dir, name, cowDir), filepath.Join(top.Name(), fresh, cowDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keep what was changed in the host's directories: %w", err)
	}
	if err := unix.Renameat(int(top.Fd()), fresh, int(top.Fd()), Upper); err != nil {
		return fmt.Errorf("make the sandbox's root: %w", err)
	}
	return nil
}

// likewise gives the directory rel below top, which lies over the one at path, its
// owner, mode and attributes, which are those that are seen.
func likewise(path string, top *os.File, rel string) error {
	from, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := mount.OpenWithin(top, rel, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	return setLike(from, to, &st, false)
}
