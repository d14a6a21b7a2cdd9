package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// UnsafeError says in one line what makes a directory unsafe to use and what to
// do about it. It is an [ErrUnsafe].
type UnsafeError struct {
	Dir, Problem, Fix string
}

func (e *UnsafeError) Error() string {
	if e.Fix == "" {
		return e.Dir + " " + e.Problem
	}
	return e.Dir + " " + e.Problem + ": " + e.Fix
}

// Is makes errors.Is(err, ErrUnsafe) hold.
func (e *UnsafeError) Is(target error) bool { return target == ErrUnsafe }

// openOwned opens the directory at path, after making it where there is none,
// and makes sure that it is root's, that no one else can change what is in it,
// and that nobody has more access than mode gives. An existing directory with
// things in it is refused rather than changed: closing /home to its owners
// because somebody named it would be worse. Only search permission that is
// missing is added.
func openOwned(path string, mode os.FileMode) (_ *os.File, err error) {
	fd := -1
	open := func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	}
	if err = restart(open); errors.Is(err, unix.ENOENT) {
		if err := makeDir(path, mode); err != nil {
			return nil, err
		}
		err = restart(open)
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, &UnsafeError{Dir: path, Problem: "is not a directory (links are not followed)", Fix: "name the directory itself"}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	d := os.NewFile(uintptr(fd), path)
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	perm := os.FileMode(st.Mode & 0o7777)
	if st.Uid != 0 {
		return nil, &UnsafeError{Dir: path, Problem: fmt.Sprintf("belongs to uid %d, not to root", st.Uid), Fix: "chown root " + path}
	}
	if perm&0o022 != 0 {
		return nil, wrongMode(path, perm, mode)
	}
	switch extra, missing := perm&^mode, mode&^perm; {
	case extra == 0 && missing == 0:
		return d, nil
	case missing == 0 && mode&0o001 != 0 && extra&^0o044 == 0:
		return d, nil // who may search it may as well list it
	case extra == 0 && missing&^0o011 == 0:
	default:
		empty, err := isEmpty(d)
		if err != nil {
			return nil, err
		}
		if !empty {
			return nil, wrongMode(path, perm, mode)
		}
	}
	if err := d.Chmod(mode); err != nil {
		return nil, err
	}
	return d, nil
}

func wrongMode(path string, perm, mode os.FileMode) error {
	return &UnsafeError{Dir: path, Problem: fmt.Sprintf("has the mode %04o, not %04o", perm, mode), Fix: fmt.Sprintf("chmod %o %s", mode, path)}
}

func isEmpty(d *os.File) (bool, error) {
	names, err := d.Readdirnames(1)
	if len(names) > 0 {
		return false, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return true, nil
}

// makeDir makes a directory and what is missing above it, with these modes
// whatever the umask is: a sandbox's root passes through the run directory.
func makeDir(path string, mode os.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) && filepath.Dir(path) != path {
		if err := makeDir(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err = os.Mkdir(path, mode); errors.Is(err, os.ErrExist) {
			return nil
		}
	}
	if err != nil {
		return noSpace(err)
	}
	return os.Chmod(path, mode)
}
