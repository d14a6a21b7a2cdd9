package files

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// futimens is futimens(3), which package unix lacks: utimensat(2) without a path.
func futimens(fd int, ts *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
