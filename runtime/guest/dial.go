package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dial connects to the unix socket at path, which may be longer than the 108
// bytes of a socket address: it is named by way of its directory's descriptor.
// The file is in the poller: deadlines work. It is not a net.Conn so that
// PID 1, which shares this package, does not carry package net.
func dial(ctx context.Context, path string) (*os.File, error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the directory of the guest's socket: %w", err)
	}
	defer unix.Close(dir)
	addr := &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	err = unix.Connect(fd, addr)
	if errors.Is(err, unix.EAGAIN) {
		err = connectSlowly(ctx, fd, addr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect to the guest's socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "guest"), nil
}

// connectSlowly waits for room in the listener's queue, which a stream socket
// of this family cannot be polled for: a blocking connect obeys SO_SNDTIMEO.
func connectSlowly(ctx context.Context, fd int, addr unix.Sockaddr) error {
	deadline, ok := ctx.Deadline()
	if most := time.Now().Add(helloTimeout); !ok || deadline.After(most) {
		deadline = most
	}
	wait := unix.NsecToTimeval(max(int64(time.Until(deadline)), int64(time.Millisecond)))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return err
	}
	err := unix.Connect(fd, addr)
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return err
}
