package network

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespaces are those of one sandbox that exist before it does. Whoever has
// them closes them; they live on with what runs in them.
type Namespaces struct {
	// UIDBase is the first of the 65536 uids and gids of the user namespace.
	UIDBase uint32
	// User maps 0..65535 to UIDBase and what follows, and Net is a network
	// namespace that belongs to it, with a loopback that is up.
	User, Net *os.File

	closed func() // told of Close; nil: nobody is
}

// Close lets go of the namespaces. It is called once.
func (n Namespaces) Close() error {
	if n.closed != nil {
		defer n.closed()
	}
	var errs []error
	for _, f := range []*os.File{n.User, n.Net} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// NewNamespaces makes the namespaces of one sandbox, in which 0..65535 are base
// and what follows outside. The network namespace is made inside the user
// namespace: sysfs cannot be mounted over one that an outer one owns.
//
// The user namespace belongs to base and not to root. What a user may have of
// the kernel's countable things (inotify instances, message queues, pending
// signals, namespaces: user_namespaces(7), "Limits"; ucount in the kernel) is
// counted for the owner of the namespace too: were that root, one sandbox could
// use up what root itself and all other sandboxes have.
func NewNamespaces(base uint32) (Namespaces, error) {
	type result struct {
		ns  Namespaces
		err error
	}
	made := make(chan result, 1)
	go func() {
		// The thread changes its ids for a moment; one that cannot change
		// back must not serve anything else, and ends with its goroutine.
		runtime.LockOSThread()
		ns, restored, err := newNamespaces(base)
		if restored {
			runtime.UnlockOSThread()
		}
		made <- result{ns, err}
	}()
	r := <-made
	if r.err == nil {
		r.err = inNS(r.ns.Net, prepareInside)
	}
	if r.err != nil {
		return Namespaces{}, errors.Join(fmt.Errorf("make the sandbox's namespaces: %w", r.err), r.ns.Close())
	}
	return r.ns, nil
}

func newNamespaces(base uint32) (ns Namespaces, restored bool, err error) {
	pid, restored, err := startOwned(base)
	if err != nil {
		return ns, restored, err
	}
	defer func() {
		if kerr := reap(pid); err == nil && kerr != nil {
			err = kerr
		}
	}()
	dir := "/proc/" + strconv.Itoa(pid)
	line := fmt.Appendf(nil, "0 %d 65536", base)
	for _, name := range []string{"/uid_map", "/gid_map"} {
		if err := os.WriteFile(dir+name, line, 0); err != nil {
			return ns, restored, err
		}
	}
	ns.UIDBase = base
	if ns.User, err = os.Open(dir + "/ns/user"); err != nil {
		return ns, restored, err
	}
	ns.Net, err = os.Open(dir + "/ns/net")
	return ns, restored, err
}

// startOwned starts a child in a new user namespace that belongs to base, and a
// new network namespace that belongs to that. It
// stops, as the traced process it asked to be, at the end of its exec, before
// its first instruction. Only the effective ids of this thread change meanwhile:
// the kernel takes the owner from them, and permits to take them back.
func startOwned(base uint32) (pid int, restored bool, err error) {
	const keep = ^uintptr(0)
	set := func(call, id uintptr) error {
		if _, _, errno := syscall.RawSyscall(call, keep, id, keep); errno != 0 {
			return errno
		}
		return nil
	}
	if err := errors.Join(set(unix.SYS_SETRESGID, uintptr(base)), set(unix.SYS_SETRESUID, uintptr(base))); err != nil {
		return 0, false, fmt.Errorf("take the sandbox's ids: %w", err)
	}
	pid, err = syscall.ForkExec("/proc/self/exe", []string{"cove-namespaces"}, &syscall.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, Ptrace: true, Pdeathsig: unix.SIGKILL},
	})
	if back := errors.Join(set(unix.SYS_SETRESUID, 0), set(unix.SYS_SETRESGID, 0)); back != nil {
		if err == nil {
			err = reap(pid)
		}
		return 0, false, errors.Join(fmt.Errorf("take root's ids back: %w", back), err)
	}
	if err != nil {
		return 0, true, fmt.Errorf("a child in user and network namespaces of its own (user.max_user_namespaces, user.max_net_namespaces, kernel.unprivileged_userns_clone or a filter may forbid it): %w", err)
	}
	return pid, true, nil
}

// reap kills the child and waits for its end.
func reap(pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill the holder of the namespaces: %w", err)
	}
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the holder of the namespaces: %w", err)
		case ws.Exited() || ws.Signaled(): // the stop at exec may be reported first
			return nil
		}
	}
}
