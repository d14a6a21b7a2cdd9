package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"cove/runtime/frame"
)

// ErrClient is wrapped by [Relay] when it was the client whose connection ended
// or who sent what it may not: the normal end of an attach that was detached.
var ErrClient = errors.New("the client is gone")

// Relay connects a client, whose stream is past the HTTP upgrade, to s until one
// of them ends, then closes both. It begins by sending the client Started, or
// Exit where the program could not be started.
//
// Frames are checked in both directions: types that the sender may not use, wrong
// sizes and malformed control payloads end the relay. Data passes as it is. Of
// PID 1's Exit only what it can know is kept; then finish, which may be nil,
// completes it with what the host knows, and the client gets the result. When
// PID 1 ends the stream without Exit the client gets Exit with [frame.ReasonGone].
//
// It returns the status that the client was sent. The error is nil when there is
// one, and wraps [ErrClient], [ErrProtocol] or the context's cause otherwise.
func Relay(ctx context.Context, client io.ReadWriteCloser, s *Stream, finish func(frame.ExitStatus) frame.ExitStatus) (frame.ExitStatus, error) {
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = s.Close()
	})
	r := &relay{client: client, s: s, finish: finish, clientErr: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.clientErr <- r.toGuest()
		// What waits for PID 1 ends by this, and the program is hung up.
		_ = s.Close()
	}()
	status, err := r.toClient()
	if errors.Is(err, ErrClient) {
		r.lastWords()
	}
	_ = s.Close()
	_ = client.Close()
	<-done
	if !stop() && err != nil {
		err = context.Cause(ctx)
	}
	return status, err
}

// guestWriteTimeout is how long PID 1 may take to read one frame.
const guestWriteTimeout = 10 * time.Second

// lastWordsTimeout is how long a client that takes no more may go on sending.
const lastWordsTimeout = time.Second

type relay struct {
	client io.ReadWriteCloser
	s      *Stream
	finish func(frame.ExitStatus) frame.ExitStatus
	// clientErr gets the error of the client's direction, before the
	// stream to PID 1 is closed for it.
	clientErr chan error
}

// toGuest passes the client's frames on until the client's stream ends.
func (r *relay) toGuest() error {
	in := frame.NewReader(r.client)
	for {
		t, p, err := in.Next()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrClient, err)
		}
		if err := checkClient(t, p); err != nil {
			return fmt.Errorf("%w: %w", ErrClient, err)
		}
		// PID 1 always reads: one that does not for so long is at fault, and
		// must not keep the client's connection with nobody watching it.
		_ = r.s.f.SetWriteDeadline(time.Now().Add(guestWriteTimeout))
		if _, err := r.s.f.Write(in.Raw()); err != nil {
			return r.drain(in)
		}
	}
}

// lastWords lets toGuest come to the end of the client's stream, which ends PID 1's:
// what a client that is gone wrote before it went still lies in the socket.
func (r *relay) lastWords() {
	late := time.AfterFunc(lastWordsTimeout, func() { _ = r.client.Close() })
	defer late.Stop()
	for {
		if _, _, err := r.s.r.Next(); err != nil {
			return
		}
	}
}

// drain reads on when PID 1 takes no more, so that a client that is writing
// gets to its Exit frame.
func (r *relay) drain(in *frame.Reader) error {
	for {
		if _, _, err := in.Next(); err != nil {
			return fmt.Errorf("%w: %w", ErrClient, err)
		}
	}
}

func checkClient(t frame.Type, p []byte) error {
	switch t {
	case frame.Stdin:
		if len(p) > frame.StdinWindow {
			return fmt.Errorf("%d bytes of stdin at once", len(p))
		}
		return nil
	case frame.Resize:
		if _, _, ok := frame.ParseSize(p); ok {
			return nil
		}
	case frame.Signal:
		if len(p) == 1 && p[0] >= 1 && p[0] <= 64 {
			return nil
		}
	}
	return fmt.Errorf("bad frame of type %d, %d bytes", t, len(p))
}

// toClient passes PID 1's frames on.
func (r *relay) toClient() (frame.ExitStatus, error) {
	if r.s.Failed != nil {
		return r.exit(*r.s.Failed)
	}
	if err := r.send(frame.Started, r.s.Started); err != nil {
		return frame.ExitStatus{}, err
	}
	for {
		t, p, err := r.s.r.Next()
		switch {
		case errors.Is(err, frame.ErrTooLarge):
			return frame.ExitStatus{}, fmt.Errorf("%w: %w", ErrProtocol, err)
		case err != nil:
			select {
			case err := <-r.clientErr:
				return frame.ExitStatus{}, err
			default:
				return r.exit(gone())
			}
		}
		switch t {
		case frame.Stdout, frame.Stderr:
		case frame.Ack:
			if len(p) != 4 {
				return frame.ExitStatus{}, fmt.Errorf("%w: ack of %d bytes", ErrProtocol, len(p))
			}
		case frame.Exit:
			e, err := parseExit(p)
			if err != nil {
				return frame.ExitStatus{}, err
			}
			return r.exit(e)
		default:
			return frame.ExitStatus{}, fmt.Errorf("%w: frame of type %d", ErrProtocol, t)
		}
		if _, err := r.client.Write(r.s.r.Raw()); err != nil {
			return frame.ExitStatus{}, fmt.Errorf("%w: %w", ErrClient, err)
		}
	}
}

// gone is the status of a stream that PID 1 did not end properly: what a shell
// reports of a program that was killed.
func gone() frame.ExitStatus {
	return frame.ExitStatus{Code: 137, Reason: frame.ReasonGone, Error: "the connection to the sandbox ended"}
}

func (r *relay) exit(e frame.ExitStatus) (frame.ExitStatus, error) {
	if r.finish != nil {
		e = r.finish(e)
	}
	return e, r.send(frame.Exit, e)
}

func (r *relay) send(t frame.Type, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	if _, err := r.client.Write(frame.Append(nil, t, p)); err != nil {
		return fmt.Errorf("%w: %w", ErrClient, err)
	}
	return nil
}
