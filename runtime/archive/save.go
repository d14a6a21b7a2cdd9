package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// Partial ends what an archive is called until it is whole and proved.
const Partial = ".partial"

// Save keeps the tree below tree as the archive name in dir. When it returns nil
// the archive is on disk under its name, and was read back from there and found
// to be what was written. On failure nothing of it stays, and one of that name
// that was there does. A crash leaves name+".partial", which the next Save of it
// replaces. Errors are those of [Write] and [Verify].
func Save(ctx context.Context, dir *os.File, name string, tree *os.File, o WriteOptions) (m Manifest, err error) {
	if name == "" || strings.Contains(name, "/") || strings.HasPrefix(name, ".") {
		return Manifest{}, fmt.Errorf("save archive: the name %q", name)
	}
	tmp := name + Partial
	if err := unlink(dir, tmp); err != nil {
		return Manifest{}, fmt.Errorf("save archive: %w", err)
	}
	f, err := mount.OpenWithin(dir, tmp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return Manifest{}, fmt.Errorf("save archive: %w", err)
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			err = errors.Join(err, unlink(dir, tmp))
		}
	}()
	if m, err = Write(ctx, f, tree, o); err != nil {
		return Manifest{}, err
	}
	if err := f.Sync(); err != nil {
		return Manifest{}, fmt.Errorf("save archive: %w", err)
	}
	// What is on the disk is read, not what is still in memory.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return Manifest{}, fmt.Errorf("save archive: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Manifest{}, fmt.Errorf("save archive: %w", err)
	}
	_, again, err := Verify(ctx, f, ReadOptions{})
	if err != nil {
		return Manifest{}, err
	}
	if again != m {
		return Manifest{}, fmt.Errorf("save archive: %w: another one was read back", ErrDamaged)
	}
	if err := unix.Renameat(int(dir.Fd()), tmp, int(dir.Fd()), name); err != nil {
		return Manifest{}, fmt.Errorf("save archive: %w", err)
	}
	return m, syncDir(dir)
}

func unlink(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// syncDir makes a rename in dir last. dir may be open by path only.
func syncDir(dir *os.File) error {
	d, err := mount.OpenWithin(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
