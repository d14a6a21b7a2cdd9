package main

import (
	"strings"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// somePast is a sandbox that worked an hour ago, was stopped by the kernel for
// memory, and has done nothing but run since half an hour.
func somePast(now time.Time) api.History {
	var h api.History
	span := config.Duration(time.Minute)
	for at := now.Add(-65 * time.Minute); at.Before(now); at = at.Add(time.Minute) {
		switch since := now.Sub(at); {
		case since > 45*time.Minute:
			h.Samples = append(h.Samples, api.Sample{Time: at, Span: span, CPU: 1.5, GPU: 0.25, Memory: 1 << 30, Disk: 5 << 20, Pids: 9})
		case since < 30*time.Minute:
			h.Samples = append(h.Samples, api.Sample{Time: at, Span: span, Memory: 1 << 20, Pids: 1})
		}
	}
	at := func(d time.Duration) time.Time { return now.Add(-d) }
	h.Changes = []api.Change{
		{Time: at(70 * time.Minute), State: lifecycle.Started},
		{Time: at(45 * time.Minute), State: lifecycle.Stopping, Op: lifecycle.OpStop},
		{Time: at(45 * time.Minute), State: lifecycle.Stopped, Op: lifecycle.OpStop, Reason: &lifecycle.Reason{Kind: lifecycle.ReasonOOM}},
		{Time: at(30 * time.Minute), State: lifecycle.Starting, Op: lifecycle.OpStart},
		{Time: at(30 * time.Minute), State: lifecycle.Started, Op: lifecycle.OpStart},
		{Time: at(10 * time.Minute), State: lifecycle.Started, Held: "the disk is full"},
		{Time: at(2 * time.Minute), State: lifecycle.Resizing, Op: lifecycle.OpResize},
		{Time: at(2 * time.Minute), State: lifecycle.Started, Op: lifecycle.OpResize},
	}
	return h
}

func TestStatsRows(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)
	worked := somePast(now)
	print := func(header []string, rows [][]string) string {
		var out strings.Builder
		if err := writeTable(&out, header, rows); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	got := print(pastRows(pastView{"aaaaaaaaaaaa", "a", worked}, now, time.Hour))
	for _, line := range []string{
		"TIME   CPU%   MEMORY  DISK  GPU%  PIDS  CHANGES\n", "\n11:00  150.0  1G      5M    25.0  9     -\n",
		"\n11:14  -      -       -     -     -     stopped (oom)\n11:30  0.0    1M      -     -     1     started\n", "\n11:50  0.0    1M      -     -     1     held\n", "\n11:58  0.0    1M      -     -     1     resize\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	if n := strings.Count(got, "\n"); n < 20 || n > 1+sinceRows+1 {
		t.Errorf("%d lines:\n%s", n, got)
	}
}
