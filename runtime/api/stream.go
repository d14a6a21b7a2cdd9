package api

import (
	"context"
	"errors"
	"net"
	"net/http"

	"cove/runtime/frame"
)

// Stream is an exec or an attach that the daemon has agreed to. Its owner
// closes it: a program that still runs is hung up then, a session is detached
// from and lives on.
//
// It is used in one of two ways, never both: by the methods of [frame.Conn], or
// by Read and Write as the bare stream of frames.
type Stream struct {
	*frame.Conn

	c    *Client
	conn net.Conn
	r    rest
}

// Exec runs a program in a started sandbox. ctx bounds the opening only; the
// stream ends with the program, or with [Stream.Close]. That a program cannot be
// started is told by the stream's exit status (code 126 or 127, Error). Codes:
// invalid, not_found, conflict, unavailable. Stable.
func (c *Client) Exec(ctx context.Context, ref string, r ExecRequest) (*Stream, error) {
	return c.stream(ctx, ref, "exec", r)
}

// Attach joins, or makes, a terminal session of a started sandbox. ctx bounds
// the opening only. Codes as Exec. Stable.
func (c *Client) Attach(ctx context.Context, ref string, r AttachRequest) (*Stream, error) {
	return c.stream(ctx, ref, "attach", r)
}

func (c *Client) stream(ctx context.Context, ref, action string, in any) (*Stream, error) {
	path, err := sandboxPath(ref, action)
	if err != nil {
		return nil, err
	}
	return c.streamAt(ctx, path, in)
}

func (c *Client) streamAt(ctx context.Context, path string, in any) (*Stream, error) {
	k, err := c.call(ctx, http.MethodPost, path, nil, in, true)
	if err != nil {
		return nil, err
	}
	switch {
	case k.resp.StatusCode != http.StatusSwitchingProtocols:
		err = c.refusal(ctx, k.resp)
	case k.resp.Header.Get("Upgrade") != StreamProtocol:
		err = &Error{Code: CodeInternal, Message: "the daemon speaks another stream protocol", Hint: hintStatus}
	case !k.stop():
		err = c.failed(ctx, context.Cause(ctx))
	}
	if err != nil {
		k.close()
		return nil, err
	}
	s := &Stream{c: c, conn: k.conn, r: rest{br: k.br, conn: k.conn}}
	s.Conn = frame.NewConnOn(frame.NewReader(&s.r), k.conn)
	return s, nil
}

// Next is [frame.Conn.Next]; its error is an *[Error], of code unavailable, that
// wraps what was met: io.EOF where the stream ended between frames.
func (s *Stream) Next() (frame.Type, []byte, error) {
	t, p, err := s.Conn.Next()
	if err != nil {
		err = s.c.lost(err)
	}
	return t, p, err
}

// Pump is [frame.Conn.Pump]; where that returns [frame.ErrNoExit], this returns
// an *[Error] of code unavailable that wraps it.
func (s *Stream) Pump(to frame.Streams) (frame.ExitStatus, error) {
	st, err := s.Conn.Pump(to)
	if errors.Is(err, frame.ErrNoExit) {
		return st, &Error{
			Code: CodeUnavailable, Message: "the connection to the daemon was lost before the program ended",
			Hint: hintStatus, cause: err,
		}
	}
	return st, err
}

// Read reads of the bare stream of frames.
func (s *Stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// Write writes to the bare stream of frames.
func (s *Stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// Close ends the stream, also under the hands of who reads and writes it.
func (s *Stream) Close() error { return s.conn.Close() }
