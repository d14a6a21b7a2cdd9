package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What to do about a daemon that does not answer.
const (
	hintStart  = "start it: sudo cove daemon start"
	hintStatus = "see: cove daemon status"
)

// maxSocketPath is the longest path that a socket address holds: sun_path is
// 108 bytes with the NUL (unix(7)).
const maxSocketPath = 107

// dial connects to the daemon. Its errors are the context's or *[Error].
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	path := c.Socket
	if len(path) > maxSocketPath {
		dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, c.noDaemon(ctx, err)
		}
		defer func() { _ = dir.Close() }()
		path = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, c.noDaemon(ctx, err)
	}
	return conn, nil
}

// noDaemon says why err kept dial from connecting.
func (c *Client) noDaemon(ctx context.Context, err error) error {
	var errno unix.Errno
	switch {
	case ctx.Err() != nil:
		return c.failed(ctx, err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return &Error{Code: CodeUnavailable, Message: "no daemon listens on " + c.Socket, Hint: hintStart, cause: err}
	case errors.Is(err, os.ErrPermission):
		return &Error{
			Code: CodeForbidden, Message: "the daemon's socket " + c.Socket + " may not be reached: permission denied",
			Hint: "the directories on its way must let you pass", cause: err,
		}
	case errors.Is(err, unix.EAGAIN):
		return &Error{Code: CodeUnavailable, Message: "the daemon does not accept connections fast enough", Hint: hintStatus, cause: err}
	case errors.As(err, &errno):
		err = errno // without the address, which the message has
	}
	return &Error{Code: CodeUnavailable, Message: "connect to the daemon on " + c.Socket + ": " + err.Error(), Hint: hintStatus, cause: err}
}
