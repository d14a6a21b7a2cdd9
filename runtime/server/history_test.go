package server

import (
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/runtime/sandbox"
)

func TestHistory(t *testing.T) {
	h := newHost(t)
	h.info("mine", owner)
	c := h.as(owner)
	for asked, since := range map[time.Duration]time.Duration{0: sandbox.HistorySpan, time.Hour: time.Hour, 90 * time.Millisecond: 90 * time.Millisecond} {
		at := time.Unix(1e9, 0).UTC().Add(-since)
		got, err := c.History(t.Context(), "mine", asked)
		noError(t, err)
		equal(t, api.History{
			Changes: []api.Change{
				{Time: at, State: lifecycle.Started, Op: lifecycle.OpStart, Held: "full"},
				{Time: at, State: lifecycle.Stopped, Reason: &lifecycle.Reason{Kind: lifecycle.ReasonOOM}},
			},
			Samples: []api.Sample{{Time: at, Span: config.Duration(10 * time.Second), CPU: 1.5, GPU: 0.5, Memory: 1, Disk: 2, Pids: 3}},
		}, got)
	}
	equal(t, sandbox.HistorySpan, api.HistorySpan)
	for _, bad := range []string{"since=5", "since=never", "since=", "since=-1s", "until=1s"} {
		equal(t, 400, h.ask(owner, "GET", "/v1/sandboxes/mine/history?"+bad, "").status)
	}
	equal(t, 404, h.ask(other, "GET", "/v1/sandboxes/mine/history", "").status)
}
