package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Find gives the path of the runc that belongs to the program self (an absolute
// path, from os.Executable): beside it, else in ../libexec/cove. PATH is not
// searched. For root it has to be a file, in a directory, that only root or the
// owner of self can change. Its version is asked for and judged. Errors are
// ErrNotFound, ErrUntrusted and ErrVulnerable.
func Find(ctx context.Context, self string) (string, error) {
	self, err := filepath.EvalSymlinks(self)
	if err != nil {
		return "", fmt.Errorf("find runc: %w", err)
	}
	beside := filepath.Dir(self)
	for _, path := range []string{filepath.Join(beside, "runc"), filepath.Join(beside, "..", "libexec", "cove", "runc")} {
		in := filepath.Dir(path)
		path, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find runc: %w", err)
		}
		if err := trusted(path, in, self, os.Geteuid()); err != nil {
			return "", err
		}
		v, err := (&Runner{Binary: path}).Version(ctx)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		if !v.Safe() {
			return "", &VersionError{Path: path, Version: v}
		}
		return path, nil
	}
	return "", fmt.Errorf("%w: neither %s nor %s is there", ErrNotFound,
		filepath.Join(beside, "runc"), filepath.Join(filepath.Dir(beside), "libexec", "cove", "runc"))
}

// trusted tells whether the user euid may run path, found in the directory in,
// perhaps by a link: root runs what root alone can change, or the owner of the
// program that is running already.
func trusted(path, in, self string, euid int) error {
	var owner uint32
	if info, err := os.Stat(self); err != nil {
		return fmt.Errorf("find runc: %w", err)
	} else if st, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = st.Uid
	}
	for _, p := range []string{path, filepath.Dir(path), in} {
		info, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("find runc: %w", err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok || p == path && !info.Mode().IsRegular():
			return fmt.Errorf("%w: %s is not a file", ErrUntrusted, p)
		case euid != 0:
			continue
		case st.Uid != 0 && st.Uid != owner:
			return fmt.Errorf("%w: %s belongs to uid %d; change its owner to root", ErrUntrusted, p, st.Uid)
		case info.Mode().Perm()&0o022 != 0 && !stickyRoot(info, st):
			return fmt.Errorf("%w: %s can be changed by others; take their write permission away", ErrUntrusted, p)
		}
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUntrusted, path, err)
	}
	return nil
}

// stickyRoot: in such a directory of root's, /tmp for one, nobody can replace
// the file of another.
func stickyRoot(info fs.FileInfo, st *syscall.Stat_t) bool {
	return info.IsDir() && st.Uid == 0 && info.Mode()&fs.ModeSticky != 0
}
