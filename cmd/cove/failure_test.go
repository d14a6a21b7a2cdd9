package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

func TestComplain(t *testing.T) {
	two := &config.ProfileError{Problems: []config.Problem{{File: "a.toml", Line: 3, Key: "x", Message: "bad"}, {Message: "worse"}}}
	for _, c := range []struct {
		name   string
		err    error
		want   string
		status int
	}{
		{"nothing", nil, "", 0},
		{"plain", errors.New("it broke"), "cove: rm: it broke\n", 1},
		{"usage", usagef("no %s", "such flag"), "cove: rm: no such flag\n", 2},
		{"wrapped usage", fmt.Errorf("deep: %w", usagef("wrong")), "cove: rm: deep: wrong\n", 2},
		{"hint", hint(errors.New("why"), "do %s", "this"), "cove: rm: why (do this)\n", 1},
		{"one hint only", hint(hint(errors.New("why"), "first"), "second"), "cove: rm: why (first)\n", 1},
		{"the daemon's hint", hint(&api.Error{Code: api.CodeConflict, Message: "busy", Hint: "wait"}, "other"), "cove: rm: busy (wait)\n", 1},
		{"invalid", &api.Error{Code: api.CodeInvalid, Message: "no"}, "cove: rm: no\n", 2},
		{"unsupported", fmt.Errorf("a: %w", &api.Error{Code: api.CodeUnsupported, Message: "no"}), "cove: rm: a: no\n", 2},
		{"profile", two, "cove: rm: a.toml:3: x: bad (and 1 more; cove profile check tells all of a profile)\n", 2},
		{"no profile", &config.NoProfileError{Name: "pyhton", Nearest: "python"}, "cove: rm: there is no profile \"pyhton\"; did you mean \"python\"?\n", 2},
		{"silent", &exitError{status: 42}, "", 42},
		{"status with words", &exitError{124, errors.New("too late")}, "cove: rm: too late\n", 124},
		{"interrupted", context.Canceled, "cove: rm: interrupted\n", 130},
		{"many lines", errors.New("a\n\tb\r\nc\n"), "cove: rm: a b c\n", 1},
		{"escapes", errors.New("a\x1b[2Jb\u009bc\u202ed"), "cove: rm: a[2Jbcd\n", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			complain(&b, "rm", c.err)
			if b.String() != c.want {
				t.Errorf("complain writes %q, want %q", b.String(), c.want)
			}
			if got := statusOf(c.err); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		name string
		want string
	}{
		{nil, "a", ""},
		{&api.Error{Code: api.CodeNotFound, Message: "no such sandbox"}, "a", "a: no such sandbox (see: cove ls)"},
		{&api.Error{Code: api.CodeNotFound, Message: `no sandbox "a"`}, "a", `no sandbox "a" (see: cove ls)`},
		{&api.Error{Code: api.CodeExists, Message: "the name is taken: a"}, "a", "the name is taken: a (choose another name with -n, or remove that one if it is yours: cove rm a)"},
		{&api.Error{Code: api.CodeConflict, Message: "a: exec needs a sandbox that is started", State: lifecycle.Stopped}, "a", "a: exec needs a sandbox that is started (start it with: cove start a)"},
		{&api.Error{Code: api.CodeConflict, Message: "a: exec needs a sandbox that is started", State: lifecycle.Error}, "a", "a: exec needs a sandbox that is started (what went wrong: cove inspect a; to try again: cove start a)"},
		{&api.Error{Code: api.CodeConflict, Message: "a: its ttl is over; cove automation a --ttl never lets it start again", State: lifecycle.Stopped}, "a", "a: its ttl is over; cove automation a --ttl never lets it start again"},
		{&api.Error{Code: api.CodeConflict, Message: "busy", Op: lifecycle.OpStop, State: lifecycle.Stopping}, "a", "a: busy (try again when stop is done)"},
		{&api.Error{Code: api.CodeInternal, Message: "oops", Hint: "look there"}, "", "oops (look there)"},
		{errors.New("plain"), "a", "a: plain"},
	} {
		got := ""
		if err := explain(c.err, c.name); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("explain(%v, %q) = %q, want %q", c.err, c.name, got, c.want)
		}
		if !errors.Is(explain(c.err, c.name), c.err) {
			t.Errorf("explain(%v) loses it", c.err)
		}
	}
}

func FuzzOneLine(f *testing.F) {
	for _, s := range []string{"", "a\nb", "\x1b]0;title\x07", "\u202e", "é\x85x", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range oneLine(s) {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= '\u202a' && r <= '\u202e' {
				t.Fatalf("oneLine(%q) keeps %#x", s, r)
			}
		}
	})
}
