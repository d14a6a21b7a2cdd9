package runner

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo is struct pidfd_info of linux/pidfd.h in its first version, of
// unix.PIDFD_INFO_SIZE_VER0 bytes; later kernels still take it.
type pidfdInfo struct {
	Mask     uint64
	Cgroup   uint64
	IDs      [11]uint32
	ExitCode int32
}

// getInfo is PIDFD_GET_INFO for that size: _IOWR(0xFF, 11, struct pidfd_info).
const getInfo = unix.PIDFD_GET_INFO&^(0x3fff<<16) | unix.PIDFD_INFO_SIZE_VER0<<16

// reapedStatus gives the wait status of a process that was reaped, which the
// kernel keeps with a descriptor of it since 6.15.
func reapedStatus(fd uintptr) (syscall.WaitStatus, bool) {
	info := pidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, getInfo, uintptr(unsafe.Pointer(&info)))
	return syscall.WaitStatus(info.ExitCode), errno == 0 && info.Mask&unix.PIDFD_INFO_EXIT != 0
}

func pollEvents(fd uintptr) int16 {
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(events, 0); err != unix.EINTR {
			return events[0].Revents
		}
	}
}
