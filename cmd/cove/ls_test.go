package main

import (
	"encoding/json"
	"slices"
	"testing"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

func TestFilter(t *testing.T) {
	all := []api.Sandbox{
		{Name: "a", State: lifecycle.Started, Labels: map[string]string{"team": "x", "n": "1"}},
		{Name: "b", State: lifecycle.Stopped, Labels: map[string]string{"team": "y"}},
		{Name: "c", State: lifecycle.Started},
	}
	for _, c := range []struct {
		labels []string
		state  string
		want   []string
	}{
		{nil, "", []string{"a", "b", "c"}},
		{nil, "started", []string{"a", "c"}},
		{[]string{"team"}, "", []string{"a", "b"}},
		{[]string{"team=x"}, "", []string{"a"}},
		{[]string{"team="}, "", nil},
		{[]string{"team=x", "n=1"}, "started", []string{"a"}},
		{[]string{"team=x", "n=2"}, "", nil},
		{[]string{"team"}, "stopped", []string{"b"}},
	} {
		f, err := newFilter(c.labels, c.state)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range all {
			if f.match(s) {
				got = append(got, s.Name)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("labels %q, state %q: %q, want %q", c.labels, c.state, got, c.want)
		}
	}
}

// Scripts read these keys; they are there whatever the sandbox is like.
func TestViewKeys(t *testing.T) {
	keys := func(v any) map[string]any {
		t.Helper()
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := keys(viewOf(api.Sandbox{Name: "a"}))
	for _, k := range []string{"id", "name", "state", "desired", "reason", "profile", "image", "labels", "created", "started", "stopped", "owner"} {
		if _, ok := m[k]; !ok {
			t.Errorf("ls --json has no %q: %v", k, m)
		}
	}
	if m["labels"] == nil || m["reason"] != nil || m["started"] != nil {
		t.Errorf("of a sandbox without any: labels %v, reason %v, started %v", m["labels"], m["reason"], m["started"])
	}
	m = keys(detailOf(api.Detail{Sandbox: api.Sandbox{Name: "a", Profile: "p"}}))
	for _, k := range []string{"id", "name", "labels", "spec", "running"} {
		if _, ok := m[k]; !ok {
			t.Errorf("inspect has no %q: %v", k, m)
		}
	}
	if m["profile"] != "p" {
		t.Errorf("profile is %v", m["profile"])
	}
}

func TestStateWord(t *testing.T) {
	user := &lifecycle.Reason{Kind: lifecycle.ReasonUser}
	for _, c := range []struct {
		s    api.Sandbox
		want string
	}{
		{api.Sandbox{State: lifecycle.Started}, "started"},
		{api.Sandbox{State: lifecycle.Started, Reason: user}, "started"},
		{api.Sandbox{State: lifecycle.Stopped, Reason: user}, "stopped (user)"},
		{api.Sandbox{State: lifecycle.Stopped, Reason: &lifecycle.Reason{Kind: lifecycle.ReasonExited, Code: 3}}, "stopped (exited(3))"},
		{api.Sandbox{State: lifecycle.Stopped, Reason: &lifecycle.Reason{}}, "stopped"},
	} {
		if got := stateWord(c.s); got != c.want {
			t.Errorf("%+v: %q, want %q", c.s, got, c.want)
		}
	}
}
