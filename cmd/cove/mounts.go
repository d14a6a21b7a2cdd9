package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"cove/config"
)

// openDirs opens the directories of a spec's mounts as the caller: that they
// can be is what gives the caller a right to mount them, and the daemon opens
// no path that a caller names.
func openDirs(mounts []config.Mount) (_ []*os.File, err error) {
	dirs := make([]*os.File, 0, len(mounts))
	defer func() {
		if err != nil {
			closeAll(dirs)
		}
	}()
	for _, m := range mounts {
		// Not to wait for the other end of a pipe.
		f, err := os.OpenFile(m.Source, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, mountError(m, err)
		}
		dirs = append(dirs, f)
	}
	return dirs, nil
}

// mountError says what is wrong with the source of a mount.
func mountError(m config.Mount, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return hint(fmt.Errorf("mount %s: there is no such directory", m.Source), "make it: mkdir -p %s", m.Source)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("mount %s: it is no directory", m.Source)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("mount %s: you may not open it", m.Source)
	}
	return fmt.Errorf("mount %s: %w", m.Source, err)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		closeQuietly(f)
	}
}
