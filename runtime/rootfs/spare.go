package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// An overlay makes some files of its own when it is mounted. On a disk that the sandbox
// has filled up, with data or with files, it cannot: nothing inside could make room
// any more. So a disk has some spare files that are not the sandbox's, and give way.
const (
	spareDir   = "spare"
	spareFiles = 8
	spareBytes = 4096
)

// hasDisk tells whether the changes of the sandbox are on a disk of its own.
func hasDisk(sandboxDir string, changes *os.File) (bool, error) {
	var outside, inside unix.Stat_t
	if err := unix.Lstat(sandboxDir, &outside); err != nil {
		return false, &os.PathError{Op: "lstat", Path: sandboxDir, Err: err}
	}
	if err := unix.Fstat(int(changes.Fd()), &inside); err != nil {
		return false, &os.PathError{Op: "stat", Path: "root of the disk", Err: err}
	}
	return outside.Dev != inside.Dev, nil
}

// ErrFull: the sandbox's own disk has no room for what mounting it takes.
var ErrFull = errors.New("the sandbox's own disk is full; give it more: cove resize NAME --disk SIZE")

// spend removes the spare files of a disk, if there are any, and waits until their
// space is free.
func spend(top *os.File) error {
	dir, err := mount.OpenWithin(top, spareDir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	for i := range spareFiles {
		err := unix.Unlinkat(int(dir.Fd()), strconv.Itoa(i), 0)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "unlink", Path: filepath.Join(spareDir, strconv.Itoa(i)), Err: err}
		}
	}
	return unix.Syncfs(int(dir.Fd()))
}

// save makes the spare files that are missing. A disk that is too full has none.
func save(top *os.File) error {
	err := unix.Mkdirat(int(top.Fd()), spareDir, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return ignoreFull(err)
	}
	dir, err := mount.OpenWithin(top, spareDir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	for i := range spareFiles {
		f, err := mount.OpenWithin(dir, strconv.Itoa(i), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return ignoreFull(err)
		}
		_, err = f.Write(make([]byte, spareBytes))
		if err = errors.Join(err, f.Close()); err != nil {
			return ignoreFull(err)
		}
	}
	return nil
}

func ignoreFull(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return nil
	}
	return err
}
