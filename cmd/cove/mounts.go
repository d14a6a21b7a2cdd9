package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
		if err := staysWithin(m, f); err != nil {
			return nil, err
		}
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

// staysWithin holds a mount that a project's profile asks for to the project:
// what was opened is looked at, so that no link that comes and goes matters.
func staysWithin(m config.Mount, opened *os.File) error {
	if m.Within == "" {
		return nil
	}
	top, err := os.OpenFile(m.Within, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount %s: open the project: %w", m.Source, err)
	}
	defer closeQuietly(top)
	where := func(f *os.File) (string, error) { return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) }
	real, err := where(opened)
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Source, err)
	}
	within, err := where(top)
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Source, err)
	}
	if rel, err := filepath.Rel(within, real); err != nil || !filepath.IsLocal(rel) {
		return hint(fmt.Errorf("mount %s: it leads out of the project, to %s", m.Source, real), "give it with --mount, if you want that directory mounted")
	}
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		closeQuietly(f)
	}
}
