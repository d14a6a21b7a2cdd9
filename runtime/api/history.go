package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// HistorySpan is how long a sandbox's history is kept.
const HistorySpan = 24 * time.Hour

// History is what became of a sandbox and what it used: GET
// /v1/sandboxes/{ref}/history; query since=DURATION, at most and by default
// [HistorySpan]. Both lists begin with the oldest.
type History struct {
	// Changes begin with the one that was in force when the time began. Of a
	// sandbox that changes without end the newest 500 or so are kept.
	Changes []Change `json:"changes"`
	// Samples are of ten seconds, or up to a minute while the sandbox does
	// nothing, for the last hour, and of a minute or more before. There are none
	// for the time in which nothing of it ran. The last minute may be missing
	// where the daemon was killed.
	Samples []Sample `json:"samples"`
}

// Change is one change of a sandbox's state, or of why it is held.
type Change struct {
	Time   time.Time           `json:"time"`
	State  lifecycle.State     `json:"state"`
	Op     lifecycle.Operation `json:"op,omitempty"`
	Reason *lifecycle.Reason   `json:"reason,omitempty"`
	// Held is as in [Sandbox].
	Held string `json:"held,omitempty"`
}

// Sample is what a sandbox used during a span of time. Sizes are in bytes.
type Sample struct {
	// Time is the span's end.
	Time time.Time       `json:"time"`
	Span config.Duration `json:"span"`
	// CPU is in cores on average, GPU the part of the time (0 to 1) in which
	// its devices were busy, all together; the others are the most there was.
	CPU    float64 `json:"cpu"`
	GPU    float64 `json:"gpu"`
	Memory int64   `json:"memory"`
	Disk   int64   `json:"disk"`
	Pids   int64   `json:"pids"`
}

// History tells what became of a sandbox during the last since and what it used;
// 0 is all that is kept, and so is more than that. Codes: not_found. Stable.
func (c *Client) History(ctx context.Context, ref string, since time.Duration) (History, error) {
	var q url.Values
	if since > 0 {
		q = url.Values{"since": {config.Duration(since).String()}}
	}
	var h History
	return h, c.of(ctx, http.MethodGet, ref, "history", q, nil, &h)
}
