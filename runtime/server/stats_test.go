package server

import (
	"errors"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/runtime/sandbox"
)

func TestStats(t *testing.T) {
	h := newHost(t)
	mine := h.info("mine", owner)
	h.info("foreign", other)
	h.m.put(h.infoIn("still", owner, lifecycle.Stopped))
	want := api.StatsReport{Time: time.Unix(7, 0).UTC(), Sandboxes: []api.Stats{{
		ID: mine.ID, Name: "mine", CPU: 1.5, CPUTotal: 2.5, CPULimit: 2, Memory: 10, MemoryPeak: 11, MemoryLimit: 12, Swap: 13, Pids: 14, PidsLimit: 15,
		NetRx: 3, NetTx: 4, NetRxRate: 5, NetTxRate: 6, IORead: 21, IOWrite: 22, IOReadRate: 23, IOWriteRate: 24,
		CPUPressure: 0.25, MemoryPressure: 0.5, IOPressure: 0.75, CPUThrottled: 26, OOMKills: 27, Active: time.Unix(6, 0).UTC(),
	}}}
	c := h.as(owner)
	r, err := c.Stats(t.Context())
	noError(t, err)
	equal(t, want, r)
	stream, err := c.FollowStats(t.Context())
	noError(t, err)
	defer func() { _ = stream.Close() }()
	for range 2 {
		r, err := stream.Next()
		noError(t, err)
		equal(t, want, r)
	}
	// No sandbox is an empty list, not null.
	equal(t, `{"time":"1970-01-01T00:00:07Z","sandboxes":[]}`+"\n", h.ask(outsiderIn(h), "GET", "/v1/stats", "").body)
	// The daemon's end ends the stream, as an error: a stream that follows
	// has no end of its own.
	noError(t, h.stop())
	_, err = stream.Next()
	errorIs(t, err, api.ErrUnavailable)
}

// outsiderIn is a caller who may use the daemon and has no sandbox.
func outsiderIn(h *host) int {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	delete(h.m.boxes, "foreign")
	return other
}

func TestStatsRefused(t *testing.T) {
	h := newHost(t)
	equal(t, 400, h.ask(owner, "GET", "/v1/stats?since=1", "").status)
	equal(t, 400, h.ask(owner, "GET", "/v1/stats?follow=2", "").status)
	equal(t, 403, h.ask(outsider, "GET", "/v1/stats", "").status)
	h.m.err = sandbox.ErrUnavailable
	equal(t, 503, h.ask(owner, "GET", "/v1/stats", "").status)
	equal(t, 503, h.ask(owner, "GET", "/v1/stats?follow=1", "").status)
	h.m.err = errors.New("boom")
	equal(t, 500, h.ask(owner, "GET", "/v1/stats", "").status)
}

func TestStatsMissing(t *testing.T) {
	equal(t, []string{"cpu", "cpu_total", "swap", "cpu", "net_rx_rate", "net_tx_rate", "io_read_rate", "io_write_rate"}, missing([]string{"cpu", "swap", sandbox.MissingRates}))
}
