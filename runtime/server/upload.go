package server

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"cove/runtime/api"
	"cove/runtime/frame"
)

// upload makes the connection a stream whose stdin work reads, whose stderr is what
// work writes to out, and whose stdout is what it comes to, as a line of JSON:
// Progress, with an error where it failed. The exit status is 0 where it did not. It
// ends with the client.
func (q *request) upload(work func(ctx context.Context, in io.Reader, out io.Writer) (api.Progress, error)) error {
	to, ctx, end, err := q.openStream(frame.Stderr)
	if err != nil {
		return q.notOpened(err)
	}
	defer end()
	body, feed := io.Pipe()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		err := receive(to, to.client, feed)
		feed.CloseWithError(err)
		end() // nobody waits any more for what it comes to
	}()
	last, err := work(ctx, body, to)
	status := frame.ExitStatus{}
	if err != nil {
		e, _ := wireError(err)
		last, status.Code = api.Progress{Error: e}, 1
	}
	_ = body.Close()
	q.failure = to.finish(last, status)
	end()
	<-fed
	return nil
}

// openStream makes the connection a stream, on which what is written to it is of that
// type. The context ends with the server; end ends it and the stream, and may be
// called more than once.
func (q *request) openStream(kind frame.Type) (_ *frames, _ context.Context, end func(), err error) {
	if q.s.under.streams.Err() != nil {
		return nil, nil, nil, errShutdown
	}
	client, err := q.upgrade()
	if err != nil {
		return nil, nil, nil, err
	}
	client.touch = func() {}
	ctx, cancel := context.WithCancel(context.WithoutCancel(q.r.Context()))
	over := func() {
		cancel()
		_ = client.Close()
	}
	stop := context.AfterFunc(q.s.under.streams, over)
	to := &frames{client: client, kind: kind}
	begin, err := json.Marshal(frame.StartedInfo{})
	if err == nil {
		err = to.send(frame.Append(nil, frame.Started, begin))
	}
	if err != nil {
		stop()
		over()
		return nil, nil, nil, err
	}
	return to, ctx, func() { stop(); over() }, nil
}

// notOpened is what an error of openStream is answered with, if it still can be.
func (q *request) notOpened(err error) error {
	if q.answered == http.StatusSwitchingProtocols {
		q.failure = err
		return nil
	}
	return err
}

// receive passes the stdin of a stream to w until its end, and reads on for as long as
// the client is there. Its error is why it ended.
func receive(to *frames, client io.Reader, w *io.PipeWriter) error {
	in := frame.NewReader(client)
	ack := make([]byte, 4)
	ended := false
	for {
		t, p, err := in.Next()
		if err != nil {
			return fmt.Errorf("the client is gone: %w", err)
		}
		if t != frame.Stdin || ended {
			continue
		}
		if len(p) == 0 {
			ended = true
			_ = w.Close()
			continue
		}
		// Where nobody reads any more the rest is thrown away, so that the
		// client gets to its exit status.
		_, _ = w.Write(p)
		binary.BigEndian.PutUint32(ack, uint32(len(p)))
		if err := to.send(frame.Append(nil, frame.Ack, ack)); err != nil {
			return fmt.Errorf("the client is gone: %w", err)
		}
	}
}

// frames writes frames of several goroutines to a client.
type frames struct {
	mu     sync.Mutex
	client *upgraded
	kind   frame.Type // of what is written
}

func (f *frames) send(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.client.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	_, err := f.client.Write(b)
	return err
}

// Write sends p as output.
func (f *frames) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), frame.Chunk)
		if err := f.send(frame.Append(nil, f.kind, rest[:n])); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// finish sends what it all came to.
func (f *frames) finish(last api.Progress, status frame.ExitStatus) error {
	line, err := json.Marshal(last)
	if err != nil {
		return err
	}
	exit, err := json.Marshal(status)
	if err != nil {
		return err
	}
	out := frame.Append(nil, frame.Stdout, append(line, '\n'))
	return f.send(frame.Append(out, frame.Exit, exit))
}
