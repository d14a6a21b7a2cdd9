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

// lines is an answer that goes on: JSON values of one type, one a line.
type lines[T any] struct {
	c      *Client
	ctx    context.Context
	k      *call
	dec    *json.Decoder
	follow bool
}

// follow opens the stream of path. With endless its end is an error.
func follow[T any](ctx context.Context, c *Client, path string, q url.Values, endless bool) (*lines[T], error) {
	return answers[T](ctx, c, http.MethodGet, path, q, nil, endless)
}

// answers is follow of any request.
func answers[T any](ctx context.Context, c *Client, method, path string, q url.Values, in any, endless bool) (*lines[T], error) {
	k, err := c.call(ctx, method, path, q, in, false)
	if err != nil {
		return nil, err
	}
	if k.resp.StatusCode != http.StatusOK {
		defer k.close()
		return nil, c.refusal(ctx, k.resp)
	}
	body := &limitedBody{ctx: ctx, conn: k.conn, body: k.resp.Body, limit: c.quiet}
	return &lines[T]{c: c, ctx: ctx, k: k, dec: json.NewDecoder(body), follow: endless}, nil
}

// Next waits for the next value. It returns io.EOF at the end of a stream that
// does not follow, the context's error when that has ended, and an *[Error] of
// code unavailable when the daemon went away or has said nothing for longer
// than it may.
func (l *lines[T]) Next() (T, error) {
	var v, none T
	err := l.dec.Decode(&v)
	switch {
	case err == nil:
		return v, nil
	case l.ctx.Err() != nil:
		return none, context.Cause(l.ctx)
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !l.follow:
		return none, io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return none, &Error{
			Code: CodeUnavailable, Message: fmt.Sprintf("the daemon has said nothing for %v", l.c.quiet),
			Hint: hintStatus, cause: err,
		}
	case errors.Is(err, io.EOF):
		return none, &Error{Code: CodeUnavailable, Message: "the daemon ended the stream", Hint: hintStatus, cause: err}
	}
	return none, l.c.lost(err)
}

// Close ends the stream; a Next that waits returns.
func (l *lines[T]) Close() error {
	l.k.close()
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
