package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"cove/runtime/api"
	"cove/runtime/sandbox"
)

// eventTimeout is how long a client may take to take one event once its buffer
// is full. It is then dropped, and goes on from its cursor when it comes back.
const eventTimeout = 10 * time.Second

// events streams what changes: a snapshot where the cursor is not known, then
// every event.
func (q *request) events() error {
	v, err := query(q.r, "since", "follow")
	if err != nil {
		return err
	}
	follow, err := flag(v, "follow", true)
	if err != nil {
		return err
	}
	since, err := parseSince(v["since"])
	if err != nil {
		return err
	}
	// The subscription ends with the client and with the server.
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	stop := context.AfterFunc(q.s.under.streams, cancel)
	defer stop()
	sub, err := q.s.opt.Manager.Subscribe(ctx, q.caller, since)
	if err != nil {
		return err
	}
	q.startLines()
	if !follow {
		q.failure = q.sendKnown(sub)
		return nil
	}
	q.failure = q.follow(ctx, sub)
	return nil
}

// startLines begins an answer of JSON values, one a line, that goes on.
func (q *request) startLines() {
	q.w.Header().Set("Content-Type", "application/x-ndjson")
	q.answered = http.StatusOK
	q.w.WriteHeader(http.StatusOK)
}

func parseSince(values []string) (*sandbox.Cursor, error) {
	switch len(values) {
	case 0:
		return nil, nil
	case 1:
		c, err := api.ParseCursor(values[0])
		if err != nil {
			return nil, invalid("query parameter \"since\": %v", err)
		}
		return &sandbox.Cursor{Epoch: c.Epoch, Seq: c.Seq}, nil
	}
	return nil, invalid("query parameter \"since\" is given %d times", len(values))
}

// begin sends the snapshot of a subscription that has one.
func (q *request) begin(sub *sandbox.Subscription) error {
	if !sub.Fresh {
		return nil
	}
	return q.send(api.Event{
		Type: api.EventSnapshot, Cursor: api.Cursor{Epoch: sub.At.Epoch, Seq: sub.At.Seq},
		Time: time.Now().UTC(), Sandboxes: toSandboxes(sub.Snapshot),
	})
}

// sendKnown sends what had happened when the subscription was made: that is in
// its channel already.
func (q *request) sendKnown(sub *sandbox.Subscription) error {
	if err := q.begin(sub); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-sub.Events:
			if !ok {
				return sub.Err()
			}
			if err := q.send(toEvent(e)); err != nil {
				return err
			}
		default:
			return q.rc.Flush()
		}
	}
}

func (q *request) follow(ctx context.Context, sub *sandbox.Subscription) error {
	if err := q.begin(sub); err != nil {
		return err
	}
	if !sub.Fresh && len(sub.Events) == 0 {
		// Nothing was missed: the client should know at once that it is up to date.
		if err := q.ping(); err != nil {
			return err
		}
	}
	quiet := time.NewTicker(api.PingInterval)
	defer quiet.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-sub.Events:
			if !ok {
				return sub.Err()
			}
			err = q.send(toEvent(e))
			quiet.Reset(api.PingInterval)
		case <-quiet.C:
			err = q.ping()
		}
		if err != nil {
			return err
		}
	}
}

func (q *request) ping() error {
	return q.send(api.Event{Type: api.EventPing, Time: time.Now().UTC()})
}

// send sends one line, and waits for the client to take it when it is behind.
func (q *request) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	if err := q.rc.SetWriteDeadline(time.Now().Add(q.s.eventTimeout)); err != nil {
		return fmt.Errorf("limit the time of a line: %w", err)
	}
	if _, err := q.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("send a line: %w", err)
	}
	if err := q.rc.Flush(); err != nil {
		return fmt.Errorf("send a line: %w", err)
	}
	return nil
}
