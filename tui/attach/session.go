// Package attach joins a person's terminal to a terminal session of a
// sandbox: raw bytes both ways, the whole screen, until the session ends or
// the detach key is pressed. The TUI and the command line share it.
//
// The terminal is given back as it was on every way out. What the sandbox
// writes passes a filter, because it may be hostile and a terminal obeys what
// it is shown.
package attach

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"cove/runtime/frame"
)

// Session is a terminal session that has been joined and waits for
// [Session.Run] to show it. It must be closed, which Run does.
type Session struct {
	// Info is what the other side said of the session.
	Info frame.StartedInfo

	conn   io.ReadWriteCloser
	buf    *bufio.Reader
	frames *frame.Reader
}

// ErrEnded is wrapped by the error of [Join] when the connection ended before
// the session was there.
var ErrEnded = errors.New("the connection ended before the session began")

// Join takes over conn, a stream of frames as api.Client.Attach opens it, and
// waits until the other side says that the session is there. On an error conn
// is closed. It does not touch the terminal, so whoever calls it can still
// show an error in their own way; do it before a tea.Exec, not in it.
func Join(ctx context.Context, conn io.ReadWriteCloser) (*Session, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	s := &Session{conn: conn, buf: bufio.NewReaderSize(conn, 64<<10)}
	s.frames = frame.NewReader(s.buf)
	err := s.wait()
	if err == nil && !stop() { // the context ended just now, and conn with it
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("join the session: %w", err)
	}
	return s, nil
}

func (s *Session) wait() error {
	for {
		t, p, err := s.frames.Next()
		switch {
		case errors.Is(err, io.EOF):
			return ErrEnded
		case err != nil:
			return err
		}
		switch t {
		case frame.Started:
			if err := json.Unmarshal(p, &s.Info); err != nil {
				return fmt.Errorf("the daemon's answer: %w", err)
			}
			return nil
		case frame.Exit:
			var st frame.ExitStatus
			if err := json.Unmarshal(p, &st); err != nil {
				return fmt.Errorf("the daemon's answer: %w", err)
			}
			if st.Error != "" {
				return errors.New(st.Error)
			}
			return fmt.Errorf("the session ended at once, with status %d", st.Code)
		default:
			return fmt.Errorf("the daemon sent a frame of type %d before the session began", t)
		}
	}
}

// Close ends the connection; the session and its programs run on.
func (s *Session) Close() error { return s.conn.Close() }

// resize is the payload of a Resize frame.
func resize(cols, rows int) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(min(max(cols, 1), 0xffff)))
	return binary.BigEndian.AppendUint16(b, uint16(min(max(rows, 1), 0xffff)))
}
