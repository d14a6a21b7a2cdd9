package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// resolveHostile lets a path pass no symbolic link, no magic link of /proc and
// not out of the directory.
const resolveHostile = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// OpenBeneath opens path, which must not be absolute, below dir without
// following any symbolic link and without ever leaving dir, even while someone
// renames things below it (openat2(2), Linux 5.6). flags and mode are those of
// open(2); O_CLOEXEC is added. Errors: ELOOP for a link, EXDEV for a path that
// leaves, both as *os.PathError.
func OpenBeneath(dir *os.File, path string, flags int, mode uint32) (*os.File, error) {
	return openat2(dir, path, flags, mode, resolveHostile)
}

// OpenWithin is OpenBeneath that also stays on dir's mount: EXDEV for what is
// mounted below it.
func OpenWithin(dir *os.File, path string, flags int, mode uint32) (*os.File, error) {
	return openat2(dir, path, flags, mode, resolveHostile|unix.RESOLVE_NO_XDEV)
}

func openat2(dir *os.File, path string, flags int, mode uint32, resolve uint64) (*os.File, error) {
	how := &unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Mode: uint64(mode), Resolve: resolve}
	for {
		fd, err := unix.Openat2(int(dir.Fd()), path, how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			// EAGAIN: a rename elsewhere made ".." uncertain (openat2(2)).
			continue
		default:
			return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
		}
	}
}

// Unmount takes away what is mounted at path, with everything mounted below
// it, even when busy: it vanishes here at once and is freed with its last
// user. A path where nothing is mounted, or that does not exist, is no error.
func Unmount(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil: // there may be another one below it
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return nil
		default:
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}
