package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// listenGap is how long awaitSocket waits at most between two looks.
const listenGap = 100 * time.Millisecond

// dialDaemon connects to the daemon. One that was killed a moment ago may seem
// to answer: a child of its own, on the way to becoming runc, still has the
// socket until it gets there. Such a connection counts as refused.
func (a *app) dialDaemon() (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: a.dirs.Socket()})
	if err != nil {
		return nil, err
	}
	if pid, err := listenerPid(conn); err == nil && ended(pid) {
		closeQuietly(conn)
		return nil, fmt.Errorf("the daemon (pid %d) has ended: %w", pid, unix.ECONNREFUSED)
	}
	return conn, nil
}

// ended tells whether there is no process with that pid any more, but perhaps
// what waits for its parent to see that.
func ended(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		// EINVAL while it is being reaped, before Linux 6.15.
		return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
	}
	defer unix.Close(fd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// notListening tells whether dialing failed because there is no daemon.
func notListening(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
}

// daemonAnswers tells whether something listens on the daemon's socket.
func (a *app) daemonAnswers() bool {
	conn, err := a.dialDaemon()
	if err != nil {
		return false
	}
	closeQuietly(conn)
	return true
}

// awaitSocket returns when the daemon's socket answers. It looks whenever
// something in the run directory changes, and every [listenGap]: listen(2)
// after bind(2) is no change, and not everybody may watch the directory.
func (a *app) awaitSocket(ctx context.Context) error {
	changed, stop := watchDir(a.dirs.Run)
	defer stop()
	look := time.NewTicker(listenGap)
	defer look.Stop()
	for !a.daemonAnswers() {
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not answer on %s: %w", a.dirs.Socket(), ctx.Err())
		}
	}
	return nil
}

// watchDir tells when a name appears in a directory or changes its mode. Where
// the directory cannot be watched it tells nothing.
func watchDir(path string) (changed <-chan struct{}, stop func()) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() {}
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB); err != nil {
		closeQuietly(watch)
		return nil, func() {}
	}
	ch := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			if _, err := watch.Read(buf); err != nil {
				return // closed
			}
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}()
	return ch, func() {
		closeQuietly(watch)
		<-done
	}
}
