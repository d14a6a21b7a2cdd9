package mount

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// EnterPrivateNamespace moves the calling thread into a mount namespace of its
// own whose mounts are slaves of the host's: file systems that come and go on
// the host do so here, and nothing mounted here is seen outside or outlives
// the last process in it. (Private mounts would keep unplugged disks busy.)
//
// Only this thread moves: the goroutine stays locked to it and the caller has
// to exec next ([syscall.Exec] of /proc/self/exe), which makes it the whole
// process. It needs CAP_SYS_ADMIN. After an error the process must end.
func EnterPrivateNamespace() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts slaves of the host's: %w", err)
	}
	return nil
}
