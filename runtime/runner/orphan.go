package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Adopt makes this process the one to which the first processes of containers
// are left, for runc ends when it has made one. They would be the machine's PID 1's
// otherwise, which reaps them at once, and kernels before 6.15 then forget how they
// ended. What ends is a zombie until [Process.Reap], or [Reap] where nobody
// watches it. It holds until the process ends (prctl(2), PR_SET_CHILD_SUBREAPER);
// called once, by the starting daemon.
func Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of containers: %w", err)
	}
	return nil
}

// Reap lets go of what is left of the process, when it has ended and was left to
// us. One that was not is no error.
func (p *Process) Reap() error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var reaped error
	if err := conn.Control(func(fd uintptr) { reaped = reap(unix.P_PIDFD, int(fd)) }); err != nil {
		return err
	}
	return reaped
}

// Reap lets go of the first processes of containers that ended before they were
// any program: nobody watches those.
func Reap() error {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return err
	}
	var errs []error
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		for _, word := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(word)
			if err != nil || !unbegun(pid) {
				continue
			}
			errs = append(errs, reap(unix.P_PID, pid))
		}
	}
	return errors.Join(errs...)
}

// unbegun tells whether a process is one of runc's own on the way to the
// container's program (libcontainer/nsenter/nsexec.c names them so), and has ended.
func unbegun(pid int) bool {
	st, err := procStat(pid)
	if err != nil || !st.ended() {
		return false
	}
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return err == nil && strings.HasPrefix(string(name), "runc:[")
}

func reap(kind, id int) error {
	for {
		err := unix.Waitid(kind, id, nil, unix.WEXITED|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD): // it is not ours
			return nil
		case err != nil:
			return fmt.Errorf("reap a container's first process: %w", err)
		default:
			return nil
		}
	}
}
