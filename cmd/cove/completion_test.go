package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCompletion presses Tab behind every command that takes the name of a
// sandbox, and behind those that take more.
func TestCompletion(t *testing.T) {
	h := realHost(t)
	offers := func(line ...string) string {
		t.Helper()
		out := h.must(append([]string{cobra.ShellCompRequestCmd}, line...)...)
		var words []string
		for l := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(l), "\t")
			words = append(words, word)
		}
		return strings.Join(words[:len(words)-1], " ") // the last tells the shell what to do
	}
	// No daemon is started for it.
	if got := offers("exec", ""); got != "" || h.pid() != 0 {
		t.Errorf("without a daemon: %q, daemon %d", got, h.pid())
	}
	h.must("create", "-p", "shell", "-n", "web", "--label", "team=x")
	h.must("create", "-p", "shell", "-n", "work")
	for line, want := range map[string]string{
		"exec ": "web work", "attach ": "web work", "code ": "web work", "logs ": "web work", "pause ": "web work", "resume ": "web work",
		"rename ": "web work", "resize ": "web work", "resize web ": "", "resize web --cpu ": "", "label ": "web work", "start ": "web work", "stop ": "web work", "restart ": "web work", "rm ": "web work",
		"inspect ": "web work", "cp ": "web: work:", "cp x wo": "work:",
		"stop web ": "work", "pause we": "web", "exec web ": "", "exec web -- ": "", "logs web ": "", "rename web ": "",
		"label web ": "team= team-", "label web t": "team= team-", "cp web:": "", "logs web --since ": "",
	} {
		if got := offers(strings.Split(line, " ")...); got != want {
			t.Errorf("%q offers %q, want %q", line, got, want)
		}
	}
	// What the shell itself narrows by what was typed.
	for line, want := range map[string]string{"ls --state started,": "started,paused", "code web --lang ": "ruby"} {
		if got := offers(strings.Split(line, " ")...); !strings.Contains(got, want) {
			t.Errorf("%q offers %q without %q", line, got, want)
		}
	}
}
