package main

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// The table has columns for disks and for what comes next where there is any, and
// says why somebody stands still.
func TestLsOfLimits(t *testing.T) {
	s := newStandIn(t)
	now := time.Now().UTC()
	boxes := []api.Sandbox{
		{ID: "aaaaaaaaaaaa", Name: "a", State: lifecycle.Started, Image: "host", Created: now, Owner: os.Geteuid(), Held: "the host's disk is nearly full"},
		{ID: "bbbbbbbbbbbb", Name: "b", State: lifecycle.Stopped, Image: "host", Created: now, Owner: os.Geteuid(), Held: "that is over",
			Due: &api.Due{Action: lifecycle.OpDelete, Key: "auto_delete", At: now.Add(90*time.Minute + 30*time.Second)}},
		{ID: "cccccccccccc", Name: "c", State: lifecycle.Started, Image: "host", Created: now, Owner: os.Geteuid(),
			Due: &api.Due{Action: lifecycle.OpStop, Key: "auto_stop", Busy: []string{"cpu"}}},
	}
	stats := api.StatsReport{Time: now, Sandboxes: []api.Stats{
		{ID: "aaaaaaaaaaaa", Name: "a", Disk: 62 << 20, DiskLimit: 64 << 20}, {ID: "cccccccccccc", Name: "c", Missing: []string{"disk"}},
	}}
	s.mux.HandleFunc("GET /v1/sandboxes", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, boxes) })
	s.mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, stats) })
	out, stderr, status := s.cove(nil, "ls")
	want := "NAME  STATE          PROFILE  IMAGE  CREATED  DISK     NEXT\n" +
		"a     started, held  -        host   now      62M/64M  -\n" +
		"b     stopped        -        host   now      -        delete 1h30m\n" +
		"c     started        -        host   now      -        -\n"
	if out != want || status != 0 || stderr != "cove: a stands still: the host's disk is nearly full\n" {
		t.Errorf("status %d, %q\n%swant\n%s", status, stderr, out, want)
	}
	stats.Sandboxes, boxes = nil, boxes[2:]
	out, stderr, _ = s.cove(nil, "ls")
	if want := "NAME  STATE    PROFILE  IMAGE  CREATED\nc     started  -        host   now\n"; out != want || stderr != "" {
		t.Errorf("%q\n%swant\n%s", stderr, out, want)
	}
	asked := s.count("GET /v1/stats")
	boxes = nil
	for i := range disksMost + 1 {
		boxes = append(boxes, api.Sandbox{ID: fmt.Sprintf("%012x", i), Name: fmt.Sprint("a", i), State: lifecycle.Started, Created: now, Owner: os.Geteuid()})
	}
	if _, _, status := s.cove(nil, "ls"); status != 0 || s.count("GET /v1/stats") != asked {
		t.Errorf("status %d; a long list waits for statistics", status)
	}
	boxes = boxes[1:]
	if _, _, status := s.cove(nil, "ls"); status != 0 || s.count("GET /v1/stats") != asked+1 {
		t.Errorf("status %d; %d questions", status, s.count("GET /v1/stats")-asked)
	}
}

// count is how often a stand-in was asked for something.
func (s *standIn) count(want string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		if c == want {
			n++
		}
	}
	return n
}
