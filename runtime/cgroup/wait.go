package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// waiter waits for events of the kernel's until a context ends.
type waiter struct {
	ctx  context.Context
	wake int // eventfd, readable once ctx has ended
	stop func() bool
	done chan struct{} // closed when the function on the context's end has run
}

func newWaiter(ctx context.Context) (*waiter, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	w := &waiter{ctx: ctx, wake: fd, done: make(chan struct{})}
	w.stop = context.AfterFunc(ctx, func() {
		defer close(w.done)
		one := [8]byte{1} // any count but 0; little or big end
		_, _ = unix.Write(fd, one[:])
	})
	return w, nil
}

func (w *waiter) close() {
	if !w.stop() {
		<-w.done // it still writes to the descriptor
	}
	_ = unix.Close(w.wake)
}

// poll waits for events on fd, at most for limit (none: 0), or fails with the
// cause of the context's end. It is false when limit was over first.
func (w *waiter) poll(fd int, events int16, limit time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}, {Fd: int32(fd), Events: events}}
	timeout := -1
	if limit > 0 {
		timeout = int(max(1, limit.Milliseconds()))
	}
	for {
		n, err := unix.Poll(fds, timeout)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, fmt.Errorf("poll: %w", err)
		case fds[1].Revents != 0:
			return true, nil
		case w.ctx.Err() != nil:
			return false, context.Cause(w.ctx)
		case n == 0:
			return false, nil
		}
	}
}

// readable waits until fd can be read: a pidfd can when its process has ended.
func (w *waiter) readable(fd int) error {
	_, err := w.poll(fd, unix.POLLIN, 0)
	return err
}

// pause waits for so long.
func (w *waiter) pause(d time.Duration) error {
	_, err := w.poll(-1, 0, d)
	return err
}

// unpopulated waits until no process is in a v2 group or below it
// (cgroup-v2.rst, "[Un]populated Notification"). A group that is removed is
// empty; it fails with fs.ErrNotExist when the group is not one of v2.
func (w *waiter) unpopulated(dir string) error { return w.event(dir, "populated", false) }

// event waits until a key of a v2 group's cgroup.events says yes or no. The
// kernel wakes who polls the file when that changes (cgroup-v2.rst). It fails
// with fs.ErrNotExist when the group is not one of v2; one that is removed
// meanwhile is nothing to wait for.
func (w *waiter) event(dir, key string, want bool) error {
	path := filepath.Join(dir, "cgroup.events")
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	var buf [256]byte
	for {
		n := 0
		// Reading is what tells the kernel which state we have seen.
		err := restart(func() (err error) {
			n, err = unix.Pread(fd, buf[:], 0)
			return err
		})
		if isGone(err) {
			return nil
		}
		if err != nil {
			return &fs.PathError{Op: "read", Path: path, Err: err}
		}
		value, ok, err := keyed(buf[:n], key)
		if err != nil || !ok {
			return fmt.Errorf("%s holds %q", path, buf[:n])
		}
		if (value != 0) == want {
			return nil
		}
		if _, err := w.poll(fd, unix.POLLPRI, 0); err != nil {
			return err
		}
	}
}
