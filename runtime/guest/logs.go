package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"cove/runtime/frame"
)

// LogKind is what a record of PID 1's journal tells.
type LogKind string

// The kinds of records.
const (
	LogStart  LogKind = "start"  // a program runs; Text is its command line
	LogStdout LogKind = "stdout" // it printed Text, not always a line
	LogStderr LogKind = "stderr"
	LogEnd    LogKind = "end" // it ended; Text says how
	LogNow    LogKind = "now" // what was kept is through, what comes is new
)

// LogRecord is one record of the journal in which PID 1 keeps the last that
// programs printed, 1 MiB of it, in memory alone.
type LogRecord struct {
	Time int64   `json:"time"` // microseconds since 1970
	ID   uint32  `json:"id"`   // of the program, from 1 on in the sandbox's life
	Kind LogKind `json:"kind"`
	Text []byte  `json:"text,omitempty"`
}

// maxLogLine is the size of a record's JSON: 64 KiB of text in base64, and the rest.
const maxLogLine = 128 << 10

// Logs calls each for the records of the journal, and with follow for those that
// come, until ctx or the sandbox ends; the latter is no error. What is kept of the
// text is as a program wrote it: bytes of any kind.
func (c *Client) Logs(ctx context.Context, follow bool, each func(LogRecord) error) error {
	s, err := c.Open(ctx, Request{Kind: Logs, Follow: follow})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = s.f.Close() })
	defer stop()
	if s.Failed != nil {
		return &RequestError{Message: s.Failed.Error}
	}
	r := &records{each: each}
	_, err = frame.NewConnOn(s.r, s.f).Pump(frame.Streams{Stdout: r})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.err != nil:
		return r.err
	case follow && errors.Is(err, frame.ErrNoExit):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// records takes the stream apart.
type records struct {
	each func(LogRecord) error
	rest []byte
	err  error
}

func (r *records) Write(p []byte) (int, error) {
	r.rest = append(r.rest, p...)
	for {
		line, rest, ok := bytes.Cut(r.rest, []byte("\n"))
		if !ok {
			if len(r.rest) > maxLogLine {
				r.err = fmt.Errorf("%w: a record of more than %d bytes", ErrProtocol, maxLogLine)
			}
			return len(p), r.err
		}
		var rec LogRecord
		if err := json.Unmarshal(line, &rec); err != nil {
			r.err = fmt.Errorf("%w: record: %w", ErrProtocol, err)
		} else {
			r.err = r.each(rec)
		}
		r.rest = append(r.rest[:0], rest...)
		if r.err != nil {
			return 0, r.err
		}
	}
}
