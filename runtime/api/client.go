package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// idleTimeout is how long an unused connection is kept for the next request;
// shorter than the daemon keeps it, so that none is reused as it closes.
const idleTimeout = 30 * time.Second

// Client is a client of one daemon. It may be used by many goroutines at once.
//
// Every error is an *[Error], or wraps one, or is the context's: what the daemon
// refused has the daemon's code, a daemon that does not answer or goes away
// before it has answered is [CodeUnavailable]. A request is sent once: nothing
// is tried again, since what was lost on the way back may have been done.
//
// A ref is a sandbox's name, its id, or a prefix of the id that fits no other.
//
// Every method is stable: /v1 may get new methods and new fields, and keeps
// what it has.
type Client struct {
	// Socket is the path of the daemon's socket, of any length.
	Socket string

	http  *http.Client
	quiet time.Duration // silence, but in tests
}

// New returns a Client of the daemon that listens on the socket at path. It
// connects at the first request.
func New(socket string) *Client {
	c := &Client{Socket: socket, quiet: silence}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     idleTimeout,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close closes the connections that wait for the next request. The Client can
// still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status tells about the daemon. Stable.
func (c *Client) Status(ctx context.Context) (DaemonStatus, error) {
	var s DaemonStatus
	return s, c.do(ctx, http.MethodGet, "/version", nil, nil, &s)
}

// List returns the sandboxes that the caller may see, by name. Stable.
func (c *Client) List(ctx context.Context, o ListOptions) ([]Sandbox, error) {
	q := url.Values{}
	for k, v := range o.Labels {
		q.Add("label", k+"="+v)
	}
	for _, k := range o.Having {
		q.Add("label", k)
	}
	for _, s := range o.States {
		q.Add("state", string(s))
	}
	slices.Sort(q["label"])
	var list []Sandbox
	return list, c.do(ctx, http.MethodGet, "/sandboxes", q, nil, &list)
}

// Get returns one sandbox with its resolved spec. Stable.
func (c *Client) Get(ctx context.Context, ref string) (Detail, error) {
	var d Detail
	return d, c.of(ctx, http.MethodGet, ref, "", nil, nil, &d)
}

// Create makes a sandbox and starts it; it returns when the sandbox runs. When
// ctx ends before, the daemon may still finish: ask with [Client.Get], or
// [Client.Delete], which cancels. Codes: invalid, unsupported, exists,
// exhausted, canceled. Stable.
func (c *Client) Create(ctx context.Context, r CreateRequest) (Sandbox, error) {
	var s Sandbox
	if len(r.Dirs) == 0 {
		return s, c.do(ctx, http.MethodPost, "/sandboxes", nil, r, &s)
	}
	// Only the first request of a connection may bring open files along.
	k, err := c.call(ctx, http.MethodPost, "/sandboxes", nil, r, false, r.Dirs...)
	if err != nil {
		return s, err
	}
	defer k.close()
	if k.resp.StatusCode/100 != 2 {
		return s, c.refusal(ctx, k.resp)
	}
	if err := json.NewDecoder(k.resp.Body).Decode(&s); err != nil {
		return s, c.failed(ctx, fmt.Errorf("read the daemon's answer: %w", err))
	}
	return s, nil
}

// Start starts a sandbox and returns when it runs; one that runs already is as
// it is. Codes: not_found, conflict, invalid (a missing secret). Stable.
func (c *Client) Start(ctx context.Context, ref string, r StartRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "start", nil, r, &s)
}

// Stop stops a sandbox and returns when it has; one that is stopped is as it
// is. Codes: not_found, conflict. Stable.
func (c *Client) Stop(ctx context.Context, ref string, r StopRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "stop", nil, r, &s)
}

// Restart stops a sandbox where it runs, and starts it. Codes as Stop and
// Start. Stable.
func (c *Client) Restart(ctx context.Context, ref string, r StartRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "restart", nil, r, &s)
}

// Delete deletes a sandbox in whatever state it is, cancelling what is under
// way, and returns the last that was known of it. Unless now is set it is kept
// for a while, see [Client.Undo]. Codes: not_found. Stable.
func (c *Client) Delete(ctx context.Context, ref string, now bool) (Sandbox, error) {
	var q url.Values
	if now {
		q = url.Values{"now": {"1"}}
	}
	var s Sandbox
	return s, c.of(ctx, http.MethodDelete, ref, "", q, nil, &s)
}

// Sessions lists the terminal sessions of a sandbox; none where it does not
// run. Codes: not_found, unavailable. Stable.
func (c *Client) Sessions(ctx context.Context, ref string) ([]Session, error) {
	var list []Session
	return list, c.of(ctx, http.MethodGet, ref, "sessions", nil, nil, &list)
}

// Checks has the daemon try what this machine can do.
func (c *Client) Checks(ctx context.Context) ([]Check, error) {
	var list []Check
	return list, c.do(ctx, http.MethodGet, "/checks", nil, nil, &list)
}

// Leaks lists what the daemon has taken and no sandbox accounts for. For root
// only: forbidden to others. Stable.
func (c *Client) Leaks(ctx context.Context) ([]Leak, error) {
	var list []Leak
	return list, c.do(ctx, http.MethodGet, "/leaks", nil, nil, &list)
}

// of is [Client.do] on one sandbox.
func (c *Client) of(ctx context.Context, method, ref, action string, q url.Values, in, out any) error {
	path, err := sandboxPath(ref, action)
	if err != nil {
		return err
	}
	return c.do(ctx, method, path, q, in, out)
}

func sandboxPath(ref, action string) (string, error) {
	if ref == "" {
		return "", &Error{Code: CodeInvalid, Message: "no sandbox was named"}
	}
	path := "/sandboxes/" + url.PathEscape(ref)
	if action != "" {
		path += "/" + action
	}
	return path, nil
}

// do makes one request and decodes its answer into out.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target(path, q), body)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.failed(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		return c.refusal(ctx, resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.failed(ctx, fmt.Errorf("read the daemon's answer: %w", err))
	}
	// Read to the end, or the connection cannot be used again.
	_, _ = io.Copy(io.Discard, resp.Body)
	return nil
}

// target is the URL of a path below /v1. The host is only a name: the daemon
// knows its callers by the socket.
func target(path string, q url.Values) string {
	t := "http://cove/" + Version + path
	if len(q) > 0 {
		t += "?" + q.Encode()
	}
	return t
}

// refusal reads the error that resp carries.
func (c *Client) refusal(ctx context.Context, resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody))
	if err != nil {
		return c.failed(ctx, err)
	}
	e := &Error{}
	if json.Unmarshal(b, e) == nil && e.Code != "" {
		return e
	}
	// Not of our server's making: net/http answers some bad requests itself.
	return &Error{Code: CodeInternal, Message: "the daemon answered " + resp.Status + ": " + strings.TrimSpace(string(b[:min(len(b), 200)]))}
}

// failed says why there is no answer.
func (c *Client) failed(ctx context.Context, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e): // dial has said it
		return e
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Error{
			Code: CodeUnavailable, Message: "the daemon did not answer in time",
			Hint: hintStatus, cause: context.Cause(ctx),
		}
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the made-up URL
	}
	return c.lost(err)
}

// lost is the error of a connection that broke off.
func (c *Client) lost(err error) error {
	return &Error{
		Code: CodeUnavailable, Message: "the connection to the daemon was lost: " + cause(err).Error(),
		Hint: hintStatus, cause: err,
	}
}

// cause is what the system said: the addresses of a unix socket's two ends tell
// nobody anything, and neither does the end of a stream by its name.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ended before it had answered")
	}
	return err
}
