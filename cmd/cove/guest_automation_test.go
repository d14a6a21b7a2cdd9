//go:build vmtest

package main

import (
	"testing"

	"cove/runtime/lifecycle"
)

// TestGuestAutomation: processor time is counted, and what is idle frozen, by one
// cgroup v2 tree.
func TestGuestAutomation(t *testing.T) {
	h := guestHost(t)
	h.must("create", "-p", "shell", "-n", "busy", "--auto-stop", "10s")
	h.line("busy", "(while :; do :; done) > /dev/null 2>&1 & kill -0 $!")
	h.must("create", "-p", "shell", "-n", "idle", "--auto-pause", "5s", "--auto-stop", "10s")
	h.eventually("a pause", func() bool { return stateOf(h, "idle") == lifecycle.Paused })
	if got := groupFile(t, h.group("idle"), "cgroup.freeze"); got != "1" {
		t.Errorf("cgroup.freeze of one that is paused: %s", got)
	}
	h.ended(lifecycle.ReasonIdle, "idle")
	h.runs("busy")
	if d := h.inspect("busy"); d.Due == nil || len(d.Due.Busy) == 0 || d.Due.Busy[0] != "cpu" {
		t.Errorf("one that works: %s (%v), due %+v", d.State, d.Reason, d.Due)
	}
}
