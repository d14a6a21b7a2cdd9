package main

import (
	"strings"
	"testing"
	"time"
)

func TestWriteTable(t *testing.T) {
	var b strings.Builder
	err := writeTable(&b, []string{"NAME", "STATE", "X"}, [][]string{
		{"a", "started", "1"},
		{"日本-box", "stopped\x1b[31m", ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "" +
		"NAME      STATE        X\n" +
		"a         started      1\n" +
		"日本-box  stopped[31m  -\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		-time.Hour:           "now",
		999 * 1e6:            "now",
		time.Second:          "1s ago",
		59 * time.Second:     "59s ago",
		60 * time.Second:     "1m ago",
		time.Hour - 1:        "59m ago",
		47 * time.Hour:       "47h ago",
		49 * time.Hour:       "2d ago",
		24 * 400 * time.Hour: "400d ago",
	} {
		if got := ago(now, now.Add(-d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := ago(now, time.Time{}); got != "" {
		t.Errorf("of no time: %q", got)
	}
}
