package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"cove/runtime/frame"
)

// Timeouts of the daemon's side, where the context sets none that is shorter.
const (
	helloTimeout = 5 * time.Second  // PID 1 always answers at once, unless frozen
	replyTimeout = 10 * time.Second // a Reply
	startTimeout = 30 * time.Second // Started: the program's file may be slow to read
)

var (
	// ErrUnavailable is wrapped when PID 1 cannot be reached or does not
	// answer in time: the sandbox does not run, is frozen, or is broken.
	ErrUnavailable = errors.New("the sandbox does not answer")
	// ErrVersion is wrapped when PID 1 speaks a version of the protocol
	// that this build does not.
	ErrVersion = errors.New("the sandbox speaks another version of the protocol")
	// ErrProtocol is wrapped when PID 1 sends what the protocol does not allow.
	ErrProtocol = errors.New("the sandbox broke the protocol")
)

// RequestError is PID 1's refusal of a request, in its words (bounded, and free
// of control characters).
type RequestError struct{ Message string }

func (e *RequestError) Error() string { return e.Message }

// Client is the daemon's client of one sandbox's PID 1. It holds no connection:
// each call makes its own. It may be used by many goroutines at once.
type Client struct{ path string }

// NewClient returns a Client of the PID 1 that listens on the socket at path,
// of any length.
func NewClient(path string) *Client { return &Client{path: path} }

// Ping returns PID 1's Hello when it answers.
func (c *Client) Ping(ctx context.Context) (Hello, error) {
	hello, _, err := c.ask(ctx, Request{Kind: Ping}, replyTimeout)
	return hello, err
}

// Configure tells PID 1 the defaults of later requests; r.Kind is set here.
// A *[RequestError] says what PID 1 could not do.
func (c *Client) Configure(ctx context.Context, r Request) error {
	r.Kind = Configure
	_, _, err := c.ask(ctx, r, replyTimeout)
	return err
}

// Sessions lists the terminal sessions, at most [MaxSessions].
func (c *Client) Sessions(ctx context.Context) ([]SessionInfo, error) {
	_, reply, err := c.ask(ctx, Request{Kind: Sessions}, replyTimeout)
	return cleanSessions(reply.Sessions), err
}

// Shutdown asks all programs to end, has those killed that still run after
// timeout, and returns when PID 1 says that nothing is left; PID 1 then exits.
func (c *Client) Shutdown(ctx context.Context, timeout time.Duration) error {
	_, _, err := c.ask(ctx, Request{Kind: Shutdown, Timeout: timeout}, timeout+replyTimeout)
	return err
}

// ask makes one request that is answered with a Reply.
func (c *Client) ask(ctx context.Context, r Request, limit time.Duration) (Hello, Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := c.connect(ctx, r)
	if err != nil {
		return Hello{}, Reply{}, err
	}
	defer conn.close()
	var reply Reply
	t, p, err := conn.next(ctx)
	switch {
	case err != nil:
		return Hello{}, Reply{}, err
	case t != frame.Reply:
		return Hello{}, Reply{}, fmt.Errorf("%w: frame of type %d in place of a reply", ErrProtocol, t)
	}
	if err := json.Unmarshal(p, &reply); err != nil {
		return Hello{}, Reply{}, fmt.Errorf("%w: reply: %w", ErrProtocol, err)
	}
	if reply.Error != "" {
		return Hello{}, Reply{}, &RequestError{Message: clean(reply.Error, maxText)}
	}
	return conn.hello, reply, nil
}

// conn is a connection on which Hello was read and the request was sent.
type conn struct {
	f     *os.File
	r     *frame.Reader
	hello Hello
	stop  func() bool // undoes the watch of the context
}

// connect dials, sends r and checks the Hello. Until release or close is
// called, the end of ctx ends reads and writes.
//
// The request goes out before the Hello has come, in this build's version: it
// spares each exec a turn. A guest of the version before refuses such a request
// without having done anything, and gets it again in its own.
func (c *Client) connect(ctx context.Context, r Request) (*conn, error) {
	k, err := c.attempt(ctx, r, ProtocolVersion)
	if err != nil || k.hello.Version == ProtocolVersion {
		return k, err
	}
	k.close()
	return c.attempt(ctx, r, k.hello.Version)
}

func (c *Client) attempt(ctx context.Context, r Request, version int) (_ *conn, err error) {
	r.Version = version
	if (r.Kind == Files || r.Kind == Code || r.Kind == Logs) && version < 2 {
		return nil, fmt.Errorf("%w: it was started by an older cove, which could not do this; restart it", ErrVersion)
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	if len(body) > MaxRequest {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(body), MaxRequest)
	}
	f, err := dial(ctx, c.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	k := &conn{f: f, r: frame.NewReader(f)}
	k.stop = context.AfterFunc(ctx, func() { _ = f.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	_, sent := f.Write(frame.Append(nil, frame.Request, body))
	// What it said tells more than that it no longer listens.
	if err := k.readHello(ctx); err != nil {
		return nil, err
	}
	if sent != nil {
		return nil, k.failed(ctx, sent)
	}
	return k, nil
}

func (k *conn) readHello(ctx context.Context) error {
	hctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	stop := context.AfterFunc(hctx, func() { _ = k.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	t, p, err := k.next(hctx)
	if err != nil {
		return err
	}
	if t != frame.Hello || json.Unmarshal(p, &k.hello) != nil {
		return fmt.Errorf("%w: no hello", ErrProtocol)
	}
	k.hello.Boot = clean(k.hello.Boot, MaxName)
	if v := k.hello.Version; v != ProtocolVersion && (v != ProtocolVersion-1 || v < 1) {
		return fmt.Errorf("%w: %d, this build speaks %d", ErrVersion, v, ProtocolVersion)
	}
	return nil
}

func (k *conn) next(ctx context.Context) (frame.Type, []byte, error) {
	t, p, err := k.r.Next()
	if err != nil {
		return 0, nil, k.failed(ctx, err)
	}
	return t, p, nil
}

// propagation bounds how long an ended context may take to be seen as ended.
const propagation = time.Second

// failed says why reading or writing did not work.
func (k *conn) failed(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Only the end of a context sets a deadline, and those that wait for one
		// learn of it in any order: this one may not have yet.
		select {
		case <-ctx.Done():
		case <-time.After(propagation):
		}
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	case errors.Is(err, frame.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it closed the connection", ErrUnavailable)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// release lets the connection outlive the context it was made with. It reports
// false when the context has ended it already.
func (k *conn) release() bool { return k.stop() }

func (k *conn) close() {
	k.stop()
	_ = k.f.Close()
}
