package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// restart calls f again for as long as a signal interrupts it: the runtime's
// own preemption signals are enough for that.
func restart(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openAt opens a file beneath dir, never through a link, never inherited.
func openAt(dir *os.File, name string, flags int, perm uint32) (*os.File, error) {
	fd := -1
	err := restart(func() (err error) {
		fd, err = unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), dir.Name()+"/"+name), nil
}

func renameAt(dir *os.File, from, to string) error {
	err := restart(func() error { return unix.Renameat(int(dir.Fd()), from, int(dir.Fd()), to) })
	if err != nil {
		return &os.LinkError{Op: "rename", Old: dir.Name() + "/" + from, New: dir.Name() + "/" + to, Err: err}
	}
	return nil
}

// unlinkAt removes a file beneath dir; one that is not there is no error.
func unlinkAt(dir *os.File, name string) error {
	err := restart(func() error { return unix.Unlinkat(int(dir.Fd()), name, 0) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unlink", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

func openDir(path string) (*os.File, error) {
	fd := -1
	err := restart(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
