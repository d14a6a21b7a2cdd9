package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/guest"
	"cove/runtime/sandbox"
)

// The size of a terminal whose client does not know its own.
const (
	defaultCols = 80
	defaultRows = 24
)

func (q *request) exec() error {
	var in api.ExecRequest
	if err := q.streamBody(&in); err != nil {
		return err
	}
	return q.stream(execRequest(in))
}

// execRequest is PID 1's request for an exec.
func execRequest(in api.ExecRequest) guest.Request {
	r := guest.Request{
		Kind: guest.Exec, Argv: in.Argv, Env: in.Env, Dir: in.Dir, User: in.User,
		Stdin: in.Stdin, TTY: in.TTY, Cols: in.Cols, Rows: in.Rows, Term: in.Term,
	}
	if in.Timeout != config.Never {
		r.Timeout = in.Timeout.Std()
	}
	return r
}

func (q *request) attach() error {
	var in api.AttachRequest
	if err := q.streamBody(&in); err != nil {
		return err
	}
	return q.stream(guest.Request{
		Kind: guest.Attach, TTY: true, Session: in.Session, Argv: in.Argv, Cols: in.Cols, Rows: in.Rows, Term: in.Term,
	})
}

func (q *request) copyFiles() error {
	var in api.FilesRequest
	if err := q.streamBody(&in); err != nil {
		return err
	}
	r := guest.Request{
		Kind: guest.Files, User: in.User, Stdin: in.Op != api.FilesGet,
		Files: &guest.FilesRequest{Op: guest.FilesOp(in.Op), Path: in.Path, Name: in.Name, Follow: in.Follow},
	}
	return q.streamTo(r, func(ctx context.Context) (*sandbox.Guest, error) {
		return q.s.opt.Manager.Files(ctx, q.caller, q.ref)
	})
}

// streamBody reads the body of a request that is to be upgraded.
func (q *request) streamBody(v any) error {
	if q.r.ProtoMajor != 1 || !hasToken(q.r.Header["Connection"], "upgrade") || !hasToken(q.r.Header["Upgrade"], api.StreamProtocol) {
		q.w.Header().Set("Upgrade", api.StreamProtocol)
		return &statusError{
			invalid("this path answers with a stream: ask for it with \"Connection: Upgrade\" and \"Upgrade: %s\"", api.StreamProtocol),
			http.StatusUpgradeRequired,
		}
	}
	return q.body(v)
}

// hasToken tells whether a list of tokens (RFC 9110, 5.6.1) holds one.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// stream opens the sandbox's side first, so that a refusal is an HTTP error,
// then makes the connection a stream and passes frames until one side ends.
func (q *request) stream(r guest.Request) error {
	return q.streamTo(r, func(ctx context.Context) (*sandbox.Guest, error) {
		use := config.ActivityExec
		if r.Kind == guest.Attach {
			use = config.ActivityTerminal
		}
		return q.s.opt.Manager.Guest(ctx, q.caller, q.ref, use)
	})
}

// streamTo is stream by the way that open finds into the sandbox.
func (q *request) streamTo(r guest.Request, open func(context.Context) (*sandbox.Guest, error)) error {
	if r.TTY && r.Cols == 0 && r.Rows == 0 {
		r.Cols, r.Rows = defaultCols, defaultRows
	}
	if err := r.Validate(); err != nil {
		return err
	}
	if q.s.under.streams.Err() != nil {
		return errShutdown
	}
	g, err := open(q.r.Context())
	if err != nil {
		return err
	}
	defer g.Close()
	r = forMain(r, g.Info.Spec)
	inside, err := g.Client.Open(q.r.Context(), r)
	if err != nil {
		return err
	}
	client, err := q.upgrade()
	if err != nil {
		_ = inside.Close()
		return err
	}
	client.touch = g.Touch
	_, q.failure = guest.Relay(q.s.under.streams, client, inside, g.Finish)
	return nil
}

// forMain gives the main session what the sandbox is for. Another session, and
// one whose client names a program, has what it always has.
func forMain(r guest.Request, spec config.Spec) guest.Request {
	main := r.Session == "" || r.Session == guest.DefaultSession
	if r.Kind != guest.Attach || !main || len(r.Argv) > 0 || len(spec.Command) == 0 {
		return r
	}
	r.Argv, r.Missing = spec.Command, "cove: "+config.MissingCommand(spec)
	return r
}

// upgrade makes the connection a stream of frames.
func (q *request) upgrade() (*upgraded, error) {
	conn, buf, err := q.rc.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take the connection over: %w", err)
	}
	q.answered = http.StatusSwitchingProtocols
	u := &upgraded{Conn: conn, r: conn, head: []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + api.StreamProtocol + "\r\n\r\n")}
	if n := buf.Reader.Buffered(); n > 0 {
		// A client that did not wait for the answer.
		u.r = io.MultiReader(io.LimitReader(buf.Reader, int64(n)), conn)
	}
	return u, nil
}

// upgraded is a connection past HTTP. The answer to the request goes out with the
// first frame, which follows at once: one packet, and one wake-up of the client.
type upgraded struct {
	net.Conn
	r     io.Reader
	head  []byte // not sent yet
	touch func() // something went through
}

func (u *upgraded) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if n > 0 {
		u.touch()
	}
	return n, err
}

func (u *upgraded) Write(p []byte) (int, error) {
	u.touch()
	if u.head == nil {
		return u.Conn.Write(p)
	}
	if err := u.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, err
	}
	head := len(u.head)
	n, err := u.Conn.Write(append(u.head, p...))
	u.head = nil
	if err == nil {
		err = u.SetWriteDeadline(time.Time{})
	}
	return max(n-head, 0), err
}
