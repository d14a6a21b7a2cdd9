package mount

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// IDs is how many user ids, and group ids, every sandbox has of its own.
const IDs = 65536

// IDMap says how a mount shifts owners: id n on disk is id Base()+n of the
// host, for n below [IDs]; and on-disk id 65536 is the host's id 0.
//
// DANGER. That last extent is why the descriptor inside never leaves this
// package. It exists because overlayfs writes its work directory as the one
// who mounted it, the host's root, whose id would otherwise have no place on
// the shifted upper and the overlay would silently be read-only. The map is
// kept by the kernel in a user namespace, and a PROCESS in that namespace
// could become uid 65536, which is the host's real root. So the namespace of
// an IDMap is for mounts only and a sandbox gets another one, made by
// whoever starts it, with the single extent "0 base 65536"; see
// runner.AssertUserNS.
//
// An IDMap belongs to who got it from [IDMaps.Get] and is closed by them.
type IDMap struct {
	ns   *os.File
	base uint32
}

// Base is the host's id of on-disk id 0.
func (m *IDMap) Base() uint32 { return m.base }

// Close gives the descriptor back. Mounts made with the map keep it.
func (m *IDMap) Close() error { return m.ns.Close() }

// extents are the two extents of a map; both ids and groups use them.
func extents(base uint32) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{
		{ContainerID: 0, HostID: int(base), Size: IDs},
		{ContainerID: IDs, HostID: 0, Size: 1},
	}
}

func checkBase(base uint32) error {
	if base < IDs || uint64(base)+IDs > 1<<32-1 {
		return fmt.Errorf("uid range at %d: must lie between %d and %d", base, IDs, uint64(1<<32-1-IDs))
	}
	return nil
}

// newIDMap makes the user namespace of a map. A namespace needs a process
// while its map is written: a child that stops, as the traced process it asked
// to be, at the end of its exec, before its first instruction, and is killed
// there. (The same way as containerd's GetUsernsFD.) 1 to 3 ms, growing with
// the caller's page tables, for it is a real fork.
func newIDMap(base uint32) (_ *IDMap, err error) {
	if err := checkBase(base); err != nil {
		return nil, err
	}
	pid, release, err := startHolder(base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return nil, fmt.Errorf("open user namespace: %w", err)
	}
	return &IDMap{ns: ns, base: base}, nil
}

// startHolder starts the child that keeps the namespace. release kills it and
// waits for it; it must be called by the same goroutine, which is tied to its
// thread until then, for the child dies with the thread that made it.
func startHolder(base uint32) (pid int, release func() error, err error) {
	return holdNamespace(extents(base), extents(base))
}

// holdNamespace is startHolder for any map of users and groups.
func holdNamespace(uids, gids []syscall.SysProcIDMap) (pid int, release func() error, err error) {
	runtime.LockOSThread()
	pid, err = syscall.ForkExec("/proc/self/exe", []string{"cove-idmap"}, &syscall.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: uids,
			GidMappings: gids,
			Ptrace:      true,
			Pdeathsig:   unix.SIGKILL,
		},
	})
	if err != nil {
		runtime.UnlockOSThread()
		return 0, nil, fmt.Errorf("%w: a child in a new user namespace cannot be made (user.max_user_namespaces, kernel.yama.ptrace_scope=3 and a filter on ptrace forbid it): %w", ErrNoIDMap, err)
	}
	return pid, func() error {
		defer runtime.UnlockOSThread()
		return killHolder(pid)
	}, nil
}

func killHolder(pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill the holder of a user namespace: %w", err)
	}
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the holder of a user namespace: %w", err)
		}
		// The stop at exec may be reported first.
		if ws.Exited() || ws.Signaled() {
			return nil
		}
	}
}
