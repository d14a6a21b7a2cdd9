package server

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"time"

	"cove/runtime/api"
	"cove/runtime/sandbox"
)

// changesPatience is how long the client may take to take a piece of the stream: a
// stopped sandbox is occupied meanwhile.
const changesPatience = 10 * time.Minute

// changes streams what a sandbox has changed.
func (q *request) changes() error {
	v, err := query(q.r, "target", "path", "root", "list")
	if err != nil {
		return err
	}
	if len(v["target"]) != 1 {
		return invalid("query parameter \"target\" is needed, once")
	}
	r := sandbox.ChangesRequest{Target: v.Get("target"), Paths: v["path"]}
	if r.Root, err = flag(v, "root", false); err != nil {
		return err
	}
	if r.List, err = flag(v, "list", false); err != nil {
		return err
	}
	// The stream ends with the client and with the server.
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	stop := context.AfterFunc(q.s.under.streams, func() {
		cancel()
		_ = q.rc.SetWriteDeadline(time.Unix(1, 0))
	})
	defer stop()
	var out *bufio.Writer
	err = q.s.opt.Manager.Changes(ctx, q.caller, q.ref, r, func() io.Writer {
		q.w.Header().Set("Content-Type", "application/x-tar")
		q.answered = http.StatusOK
		q.w.WriteHeader(http.StatusOK)
		out = bufio.NewWriterSize(patient{q, ctx}, 256<<10)
		return out
	})
	if out == nil {
		return err
	}
	// The answer has begun, and says itself how it ended.
	q.failure = err
	if err := out.Flush(); q.failure == nil {
		q.failure = err
	}
	return nil
}

// patient writes to a client that has some time for each piece.
type patient struct {
	q   *request
	ctx context.Context //nolint:containedctx // of the one request
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, context.Cause(p.ctx)
	}
	_ = p.q.rc.SetWriteDeadline(time.Now().Add(changesPatience))
	return p.q.w.Write(b)
}

func (q *request) applied() error {
	var in api.AppliedRequest
	if err := q.body(&in); err != nil {
		return err
	}
	if err := q.s.opt.Manager.Applied(q.caller, q.ref, in.Target, in.Changes); err != nil {
		return err
	}
	return q.reply(http.StatusOK, struct{}{})
}

func (q *request) discard() error {
	var in api.DiscardRequest
	if err := q.body(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Discard(q.r.Context(), q.caller, q.ref, in.Target, in.Paths)
	return q.changed(http.StatusOK, i, err)
}
