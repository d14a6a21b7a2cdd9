package gpu

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// errUntrusted: somebody other than root could change a file or what its path
// leads to.
var errUntrusted = errors.New("others than root can change it")

// openTrustedDir opens a directory that only root can change, going down from
// the top without following a link. Errors: [os.ErrNotExist], errUntrusted, ELOOP
// or ENOTDIR for a link on the way.
func openTrustedDir(path string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil, fmt.Errorf("%s is no clean absolute path", path)
	}
	dir, err := openAt(unix.AT_FDCWD, "/", "/", flags)
	if err != nil {
		return nil, err
	}
	steps := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for at, i := "/", 0; ; i++ {
		if err := trusted(dir, at, i < len(steps)); err != nil {
			_ = dir.Close()
			return nil, err
		}
		if i == len(steps) {
			return dir, nil
		}
		at = filepath.Join(at, steps[i])
		next, err := openAt(int(dir.Fd()), steps[i], at, flags)
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
		dir = next
	}
}

// openTrustedFile opens a regular file beneath dir that only root can change.
func openTrustedFile(dir *os.File, name string) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	// Non-blocking: opening a pipe that has no writer would wait for one.
	f, err := openAt(int(dir.Fd()), name, path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err == nil {
		err = trusted(f, path, false)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func openAt(dir int, name, path string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EINTR):
		default:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// trusted tells whether only root can change f. A directory on the way may be one
// where others make files but cannot touch root's (sticky, as /tmp).
func trusted(f *os.File, path string, onTheWay bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case st.Uid != 0:
		return fmt.Errorf("%w: %s belongs to uid %d", errUntrusted, path, st.Uid)
	case st.Mode&0o022 != 0 && !(onTheWay && st.Mode&unix.S_ISVTX != 0):
		return fmt.Errorf("%w: %s has the mode %04o", errUntrusted, path, st.Mode&0o7777)
	}
	return nil
}

// readTrusted reads what openTrustedFile opens, of at most limit bytes.
func readTrusted(dir *os.File, name string, limit int64) ([]byte, error) {
	f, err := openTrustedFile(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", f.Name(), limit)
	}
	return data, err
}

// openTrusted opens what path leads to, through whatever links, where only root
// can change it, and gives its real path. Errors: [os.ErrNotExist], errUntrusted.
func openTrusted(path string) (real string, f *os.File, err error) {
	if real, err = filepath.EvalSymlinks(path); err != nil {
		return "", nil, err
	}
	dir, err := openTrustedDir(filepath.Dir(real))
	if err != nil {
		return "", nil, err
	}
	defer dir.Close()
	f, err = openTrustedFile(dir, filepath.Base(real))
	return real, f, err
}

// trustedProgram gives the real path of a program that only root can change.
// Errors: [os.ErrNotExist], errUntrusted.
func trustedProgram(path string) (string, error) {
	real, f, err := openTrusted(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm()&0o111 == 0 {
		return "", &os.PathError{Op: "execute", Path: real, Err: errors.Join(fs.ErrPermission, err)}
	}
	return real, nil
}

// firstProgram is the first of paths that is there, or "" and why one that is
// there cannot be used.
func firstProgram(paths []string) (string, error) {
	for _, p := range paths {
		real, err := trustedProgram(p)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return real, err
		}
	}
	return "", nil
}
