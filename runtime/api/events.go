package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// PingInterval is how often the daemon says on a stream of events that it is
// there when nothing else is to be said.
const PingInterval = 5 * time.Second

// silence is how long a stream of events may say nothing before the daemon
// counts as gone: it may miss one ping and be late for the next.
const silence = 2*PingInterval + PingInterval/2

// Events is a stream of events. Its owner reads it in one goroutine and closes it.
type Events struct {
	c      *Client
	ctx    context.Context
	k      *call
	dec    *json.Decoder
	follow bool
}

// Events opens the stream of events after since, or, when since is nil or no
// longer known to the daemon, a snapshot and the events after it. With follow it
// goes on until ctx ends or Close is called; without, it ends after what is
// known now. Codes: invalid, unavailable. Stable.
func (c *Client) Events(ctx context.Context, since *Cursor, follow bool) (*Events, error) {
	q := url.Values{}
	if since != nil {
		q.Set("since", since.String())
	}
	if follow {
		q.Set("follow", "1")
	} else {
		q.Set("follow", "0")
	}
	k, err := c.call(ctx, http.MethodGet, "/events", q, nil, false)
	if err != nil {
		return nil, err
	}
	if k.resp.StatusCode != http.StatusOK {
		defer k.close()
		return nil, c.refusal(ctx, k.resp)
	}
	body := &limitedBody{ctx: ctx, conn: k.conn, body: k.resp.Body, limit: c.quiet}
	return &Events{c: c, ctx: ctx, k: k, dec: json.NewDecoder(body), follow: follow}, nil
}

// Next waits for the next event; pings are events too. It returns io.EOF at the
// end of a stream that does not follow, the context's error when that has ended,
// and an *[Error] of code unavailable when the daemon went away or has said
// nothing for longer than it may. A client goes on from the last cursor it saw:
// that of any event but a ping.
func (e *Events) Next() (Event, error) {
	var ev Event
	err := e.dec.Decode(&ev)
	switch {
	case err == nil:
		return ev, nil
	case e.ctx.Err() != nil:
		return Event{}, context.Cause(e.ctx)
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !e.follow:
		return Event{}, io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Event{}, &Error{
			Code: CodeUnavailable, Message: fmt.Sprintf("the daemon has said nothing for %v", e.c.quiet),
			Hint: hintStatus, cause: err,
		}
	case errors.Is(err, io.EOF):
		return Event{}, &Error{Code: CodeUnavailable, Message: "the daemon ended the stream of events", Hint: hintStatus, cause: err}
	}
	return Event{}, e.c.lost(err)
}

// Close ends the stream; a Next that waits returns.
func (e *Events) Close() error {
	e.k.close()
	return nil
}

// limitedBody is the body of an answer of which each read has a time limit.
type limitedBody struct {
	ctx   context.Context
	conn  net.Conn
	body  io.Reader
	limit time.Duration
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(l.limit)); err != nil {
		return 0, err
	}
	// The end of the context sets a deadline too, which this one may just
	// have replaced.
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	return l.body.Read(p)
}
