package mount

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"

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

// VerifySandboxNamespace checks that pid runs in a user namespace whose id maps
// are exactly the one line "0 base 65536": with anything more, such as the
// extra extent of an [IDMap], a root inside could be the host's. It is asked
// after a sandbox's first process exists and before any code of the sandbox
// runs; the caller kills the sandbox on any error. Errors: [ErrUserNS], or
// that of reading /proc/PID.
func VerifySandboxNamespace(pid int, base uint32) error {
	if err := checkBase(base); err != nil {
		return fmt.Errorf("%w: %w", ErrUserNS, err)
	}
	want := fmt.Sprintf("0 %d %d", base, IDs)
	for _, name := range []string{"uid_map", "gid_map"} {
		raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		lines := bytes.Split(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n"))
		if got := string(bytes.Join(bytes.Fields(lines[0]), []byte(" "))); len(lines) != 1 || got != want {
			return fmt.Errorf("%w: %s of process %d is %q, not %q", ErrUserNS, name, pid, raw, want)
		}
	}
	return nil
}
