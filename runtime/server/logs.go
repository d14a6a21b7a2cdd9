package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cove/runtime/api"
	"cove/runtime/guest"
)

// logs streams what a sandbox's programs printed.
func (q *request) logs() error {
	v, err := query(q.r, "follow")
	if err != nil {
		return err
	}
	follow, err := flag(v, "follow", false)
	if err != nil {
		return err
	}
	// The stream ends with the client and with the server.
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	stop := context.AfterFunc(q.s.under.streams, cancel)
	defer stop()
	kept, g, err := q.s.opt.Manager.Logs(ctx, q.caller, q.ref)
	if err != nil {
		return err
	}
	q.startLines()
	for _, k := range kept {
		for line := range strings.Lines(strings.ToValidUTF8(string(k.Text), "\uFFFD")) {
			l := api.LogLine{Time: k.Written, Source: k.Source, Stream: api.LogStdout, Text: strings.TrimSuffix(line, "\n")}
			if q.failure = q.send(l); q.failure != nil {
				if g != nil {
					g.Close()
				}
				return nil
			}
		}
	}
	if g == nil {
		q.failure = q.sendLogPing()
		return nil
	}
	defer g.Close()
	if err = q.programLogs(ctx, g.Client, follow); err != nil && ctx.Err() == nil {
		// The answer has begun, so that this is how it can be told.
		err = errors.Join(err, q.send(api.LogLine{Time: time.Now().UTC(), Source: "cove", Stream: api.LogEnd, Text: err.Error()}))
	}
	q.failure = err
	return nil
}

func (q *request) sendLogPing() error {
	return q.send(api.LogLine{Time: time.Now().UTC(), Stream: api.LogPing})
}

// programLogs sends the lines of PID 1's journal.
func (q *request) programLogs(ctx context.Context, client *guest.Client, follow bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	records, ended := make(chan guest.LogRecord), make(chan struct{})
	var end error // once ended is closed
	go func() {
		defer close(ended)
		end = client.Logs(ctx, follow, func(r guest.LogRecord) error {
			select {
			case records <- r:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	join := newJoiner(q.send)
	quiet := time.NewTicker(api.PingInterval)
	defer quiet.Stop()
	for {
		var err error
		select {
		case r := <-records:
			if r.Kind == guest.LogNow {
				if !follow {
					err = join.flush()
				}
				err = errors.Join(err, q.sendLogPing())
			} else {
				err = join.add(r)
			}
			quiet.Reset(api.PingInterval)
		case <-quiet.C:
			err = q.sendLogPing()
		case <-ended:
			return errors.Join(join.flush(), end)
		}
		if err != nil {
			return err
		}
	}
}

const (
	// maxJoined is how many programs may have begun a line at a time, and
	// maxLine how long a line may get; both are the sandbox's to choose, so
	// what is more is sent as it is.
	maxJoined = 256
	maxLine   = 16 << 10
)

// joiner makes lines of what programs print in pieces.
type joiner struct {
	send  func(any) error
	begun map[begun]*api.LogLine
}

// begun is a stream of a program whose last line has no end yet.
type begun struct {
	id     uint32
	stream api.LogStream
}

func newJoiner(send func(any) error) *joiner {
	return &joiner{send: send, begun: map[begun]*api.LogLine{}}
}

func (j *joiner) add(r guest.LogRecord) error {
	at := time.UnixMicro(r.Time).UTC()
	switch {
	case at.Year() < 1970 || at.Year() > 9999: // more than JSON has words for
		at = time.Now().UTC()
	}
	source := fmt.Sprintf("exec-%d", r.ID)
	switch r.Kind {
	case guest.LogStdout, guest.LogStderr:
		return j.pieces(begun{r.ID, api.LogStream(r.Kind)}, at, source, r.Text)
	case guest.LogStart, guest.LogEnd:
		for _, s := range []api.LogStream{api.LogStdout, api.LogStderr} {
			if err := j.finish(begun{r.ID, s}); err != nil {
				return err
			}
		}
		return j.send(api.LogLine{Time: at, Source: source, Stream: api.LogStream(r.Kind), Text: valid(r.Text)})
	case guest.LogNow: // its place is between programs' records, not among them
	}
	return fmt.Errorf("%w: a record of kind %.20q", guest.ErrProtocol, string(r.Kind))
}

func (j *joiner) pieces(from begun, at time.Time, source string, text []byte) error {
	for len(text) > 0 {
		part, rest, whole := bytes.Cut(text, []byte("\n"))
		if room := maxLine - len(j.text(from)); len(part) > room {
			part, rest, whole = text[:room], text[room:], true
		}
		text = rest
		if whole && j.begun[from] == nil {
			if err := j.send(api.LogLine{Time: at, Source: source, Stream: from.stream, Text: valid(part)}); err != nil {
				return err
			}
			continue
		}
		if j.begun[from] == nil {
			if len(j.begun) == maxJoined {
				if err := j.flush(); err != nil {
					return err
				}
			}
			j.begun[from] = &api.LogLine{Time: at, Source: source, Stream: from.stream}
		}
		j.begun[from].Text += string(part)
		if whole {
			if err := j.finish(from); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *joiner) text(from begun) string {
	if l := j.begun[from]; l != nil {
		return l.Text
	}
	return ""
}

// finish sends a line that has no end.
func (j *joiner) finish(from begun) error {
	l := j.begun[from]
	if l == nil {
		return nil
	}
	delete(j.begun, from)
	l.Text = valid([]byte(l.Text))
	return j.send(*l)
}

func (j *joiner) flush() error {
	var err error
	for from := range j.begun {
		err = errors.Join(err, j.finish(from))
	}
	return err
}

func valid(text []byte) string { return strings.ToValidUTF8(string(text), "\uFFFD") }
