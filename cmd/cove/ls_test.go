package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

func TestListFilter(t *testing.T) {
	all := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for _, c := range []struct {
		labels, states []string
		want           api.ListOptions
		bad            string
	}{
		{want: api.ListOptions{Labels: all()}},
		{states: []string{"started", "paused"}, want: api.ListOptions{Labels: all(), States: []lifecycle.State{"started", "paused"}}},
		{labels: []string{"team"}, want: api.ListOptions{Labels: all(), Having: []string{"team"}}},
		{labels: []string{"team=x", "n=1"}, want: api.ListOptions{Labels: all("team", "x", "n", "1")}},
		{labels: []string{`team=x,n,a=b\,c=d`}, want: api.ListOptions{Labels: all("team", "x", "a", "b,c=d"), Having: []string{"n"}}},
		{labels: []string{"team="}, want: api.ListOptions{Labels: all("team", "")}},
		{labels: []string{"team=x", "team=x"}, want: api.ListOptions{Labels: all("team", "x")}},
		{labels: []string{"team=x", "team=y"}, bad: "two values"},
		{labels: []string{"=x"}, bad: "K=V or K"},
		{labels: []string{"a,,b"}, bad: "K=V or K"},
		{labels: []string{""}, bad: "K=V or K"},
		{states: []string{"startd"}, bad: `did you mean "started"`},
		{states: []string{"zzzzzzz"}, bad: "there are: creating"},
	} {
		got, err := listFilter(c.labels, c.states)
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) || statusOf(err) != statusUsage {
				t.Errorf("labels %q, states %q: %v, want %q", c.labels, c.states, err, c.bad)
			}
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("labels %q, states %q: %v %s", c.labels, c.states, err, d)
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
