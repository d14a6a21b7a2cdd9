package api

import (
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// History is what became of a sandbox and what it used: GET
// /v1/sandboxes/{ref}/history; query since=DURATION, at most and by default the
// 24 hours that are kept. Both lists begin with the oldest.
type History struct {
	Changes []Change `json:"changes"`
	Samples []Sample `json:"samples"`
}

// Change is one change of a sandbox's state.
type Change struct {
	Time   time.Time           `json:"time"`
	State  lifecycle.State     `json:"state"`
	Op     lifecycle.Operation `json:"op,omitempty"`
	Reason *lifecycle.Reason   `json:"reason,omitempty"`
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
