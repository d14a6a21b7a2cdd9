package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"cove/runtime/frame"
)

// Stream is an exec or attach that PID 1 has answered. Its owner relays or pumps
// it, once, and closes it; closing it early hangs the program up or detaches
// from the session.
type Stream struct {
	// Started is what PID 1 said of the program or session; zero when Failed is set.
	Started frame.StartedInfo
	// Failed is set when the program could not be started: code 126 or 127
	// and an Error for a person.
	Failed *frame.ExitStatus

	f *os.File
	r *frame.Reader
}

// Open asks for an exec, a copy or an attach and returns when the program runs, or could
// not be started. ctx bounds the opening only. Errors wrap [ErrInvalid],
// [ErrUnavailable], [ErrVersion] or [ErrProtocol].
func (c *Client) Open(ctx context.Context, r Request) (*Stream, error) {
	if r.Kind != Exec && r.Kind != Code && r.Kind != Files && r.Kind != Logs && r.Kind != Attach {
		return nil, fmt.Errorf("%w: %q gives no stream", ErrInvalid, r.Kind)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	k, err := c.connect(ctx, r)
	if err != nil {
		return nil, err
	}
	s := &Stream{f: k.f, r: k.r}
	if err := s.readStart(ctx, k); err != nil {
		k.close()
		return nil, err
	}
	if !k.release() {
		k.close()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	return s, nil
}

func (s *Stream) readStart(ctx context.Context, k *conn) error {
	t, p, err := k.next(ctx)
	if err != nil {
		return err
	}
	switch t {
	case frame.Started:
		if err := json.Unmarshal(p, &s.Started); err != nil {
			return fmt.Errorf("%w: start: %w", ErrProtocol, err)
		}
		s.Started = cleanStarted(s.Started)
	case frame.Exit:
		e, err := parseExit(p)
		if err != nil {
			return err
		}
		s.Failed = &e
	default:
		return fmt.Errorf("%w: frame of type %d in place of a start", ErrProtocol, t)
	}
	return nil
}

// Close ends the stream; a program that still runs is hung up, a session is
// detached from.
func (s *Stream) Close() error { return s.f.Close() }

// Run executes a program and waits for its end; r.Kind and r.Stdin are set
// here. Each stream may be nil. The end of ctx hangs the program up and returns
// ctx's error. A program that cannot be started is no error: the status has
// code 126 or 127 and an Error. A stdin that blocks is the caller's to unblock
// when Run has returned.
func (c *Client) Run(ctx context.Context, r Request, stdin io.Reader, stdout, stderr io.Writer) (frame.ExitStatus, error) {
	r.Kind = Exec
	return c.run(ctx, r, stdin, stdout, stderr)
}

// Copy carries out a Files request and waits for its end, as Run does: what it says
// of it is a files.Summary on stderr.
func (c *Client) Copy(ctx context.Context, r Request, stdin io.Reader, stdout, stderr io.Writer) (frame.ExitStatus, error) {
	r.Kind = Files
	return c.run(ctx, r, stdin, stdout, stderr)
}

func (c *Client) run(ctx context.Context, r Request, stdin io.Reader, stdout, stderr io.Writer) (frame.ExitStatus, error) {
	r.Stdin = stdin != nil
	s, err := c.Open(ctx, r)
	if err != nil {
		return frame.ExitStatus{}, err
	}
	if s.Failed != nil {
		return *s.Failed, s.Close()
	}
	stop := context.AfterFunc(ctx, func() { _ = s.f.Close() })
	status, err := frame.NewConnOn(s.r, s.f).Pump(frame.Streams{Stdin: stdin, Stdout: stdout, Stderr: stderr})
	if !stop() {
		return frame.ExitStatus{}, context.Cause(ctx)
	}
	_ = s.f.Close()
	switch {
	case errors.Is(err, frame.ErrNoExit):
		return frame.ExitStatus{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		return frame.ExitStatus{}, err
	}
	return cleanExit(status), nil
}

func parseExit(p []byte) (frame.ExitStatus, error) {
	var e frame.ExitStatus
	if err := json.Unmarshal(p, &e); err != nil {
		return e, fmt.Errorf("%w: exit status: %w", ErrProtocol, err)
	}
	return cleanExit(e), nil
}
