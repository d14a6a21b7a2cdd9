package api

import (
	"context"
	"net/url"
	"time"
)

// LogStream says what a [LogLine] is.
type LogStream string

// The streams of a log.
const (
	LogStart  LogStream = "start"  // a program runs: Text is its command line
	LogStdout LogStream = "stdout" // a line of its output
	LogStderr LogStream = "stderr"
	LogEnd    LogStream = "end" // it ended: Text says how
	// LogPing has no text. The first says that what was kept is through; with
	// follow one comes every few seconds, so that a quiet sandbox can be told
	// from a dead daemon.
	LogPing LogStream = "ping"
)

// LogLine is one line of GET /v1/sandboxes/{ref}/logs (NDJSON). Text is what a
// sandbox said: of any content, but for bytes that are no UTF-8.
type LogLine struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source,omitempty"` // "setup", "exec-" and a number; "cove" of a log that broke off
	Stream LogStream `json:"stream"`
	Text   string    `json:"text"`
}

// LogLines is a stream of log lines. Its owner reads it in one goroutine and
// closes it.
type LogLines struct{ *lines[LogLine] }

// Logs opens what a sandbox's programs printed: what its setup steps did, and,
// where it is started, the last that programs run by exec and code did, as far as
// its PID 1 has kept it in memory; with follow also what comes, until the sandbox
// stops. Next returns io.EOF at the end. Codes: not_found, unavailable. Stable.
func (c *Client) Logs(ctx context.Context, ref string, goOn bool) (LogLines, error) {
	path, err := sandboxPath(ref, "logs")
	if err != nil {
		return LogLines{}, err
	}
	q := url.Values{}
	if goOn {
		q.Set("follow", "1")
	}
	l, err := follow[LogLine](ctx, c, path, q, false)
	return LogLines{l}, err
}
