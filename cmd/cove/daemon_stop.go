package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// stopTimeout is how long a daemon that was asked to end may take: it finishes
// the operations that cannot be left half done.
const stopTimeout = 60 * time.Second

func (a *app) daemonStopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon; sandboxes run on",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkDirs(); err != nil {
				return err
			}
			pid, err := a.stopDaemon(cmd.Context())
			if errors.Is(err, errNotRunning) {
				return a.printf("not running\n")
			}
			if err != nil {
				return err
			}
			return a.printf("stopped, was pid %d\n", pid)
		},
	}
}

// stopDaemon asks the daemon behind the socket to end and waits until it has.
func (a *app) stopDaemon(ctx context.Context) (pid int, err error) {
	conn, err := a.dialDaemon()
	if notListening(err) {
		return 0, errNotRunning
	}
	if err != nil {
		return 0, err
	}
	defer closeQuietly(conn)
	pid, err = listenerPid(conn)
	if err != nil {
		return 0, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	// Whoever answers now lives now, so the pidfd opened before is its own
	// and of no later process with that number.
	st, err := a.status(ctx)
	if err != nil {
		return 0, explain(err, "")
	}
	if st.Pid != pid {
		return 0, fmt.Errorf("process %d listens on %s, but process %d answers", pid, a.dirs.Socket(), st.Pid)
	}
	if runByUnit(pid) {
		// systemd would take the end of its process for a crash.
		ctx, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		if err := systemctl(ctx, "stop", unitName); err != nil {
			return 0, err
		}
		return pid, awaitEnd(pidfd, pid)
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0); err != nil {
		err = fmt.Errorf("signal process %d: %w", pid, err)
		if errors.Is(err, unix.EPERM) {
			err = hint(err, "sudo cove daemon stop")
		}
		return 0, err
	}
	return pid, awaitEnd(pidfd, pid)
}

// listenerPid is the process that listens at the other end of conn, as the
// kernel knows it.
func listenerPid(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("find the daemon's process: %w", err)
	}
	if cred.Pid <= 0 {
		return 0, errors.New("the daemon runs in another pid namespace")
	}
	return int(cred.Pid), nil
}

// runByUnit tells whether a process belongs to cove's systemd unit.
func runByUnit(pid int) bool {
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && strings.Contains(string(cgroups), "/"+unitName)
}

// awaitEnd waits until the process behind pidfd has ended.
func awaitEnd(pidfd, pid int) error {
	deadline := time.Now().Add(stopTimeout)
	for {
		left := time.Until(deadline)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(max(left, 0)/time.Millisecond))
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case left <= 0:
			return fmt.Errorf("process %d has not ended within %s", pid, stopTimeout)
		}
	}
}
