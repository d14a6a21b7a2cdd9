package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"cove/runtime/lifecycle"
)

// TestPause freezes a sandbox with a terminal and a program that counts, through
// every operation that meets a paused one.
func TestPause(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "p")
	tt := h.attach("p", 80, 24)
	tt.Send("i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done & clear; echo $((40+2))\r")
	tt.See("42")
	pid := h.inspect("p").Running.Pid
	until(t, "the first count", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/root/tmp/count", pid))
		return err == nil
	})
	count := func() string {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/tmp/count", pid))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	expect := func(want lifecycle.State) {
		t.Helper()
		d := h.inspect("p")
		if d.State != want || d.Desired != want || d.Op != "" {
			t.Errorf("it is %s, desired %s, under way %q; want %s", d.State, d.Desired, d.Op, want)
		}
	}
	still := func() {
		t.Helper()
		expect(lifecycle.Paused)
		before := count()
		h.must("ls")
		if now := count(); now != before {
			t.Errorf("a paused sandbox goes on counting: %s, %s", before, now)
		}
	}
	h.must("pause", "p")
	still()
	h.must("pause", "p")
	if got := h.must("ls", "--state", "paused"); !strings.Contains(got, "p ") {
		t.Errorf("ls --state paused: %q", got)
	}
	h.refuse(1, []string{"paused", "cove resume p"}, "exec", "p", "--", "true")
	h.refuse(1, []string{"paused", "cove resume p"}, "start", "p")
	if got := h.must("inspect", "p"); strings.Contains(got, `"clients"`) {
		t.Errorf("a paused sandbox lists sessions: %s", got)
	}
	// What is typed meanwhile is not lost.
	tt.Send("echo typed-$((6*7))\r")
	h.must("resume", "p")
	expect(lifecycle.Started)
	h.must("resume", "p")
	tt.See("typed-42")
	tt.Send("echo still-$((50-1))\r")
	tt.See("still-49")

	// A daemon killed in between finds it paused, and does not wait for it.
	h.must("pause", "p")
	h.kill()
	_ = tt.Exit()
	h.must("daemon", "start")
	still()
	h.must("resume", "p")
	if got := h.must("exec", "p", "--", "echo", "hello"); got != "hello\n" {
		t.Errorf("after resume: %q", got)
	}

	// Politely: what runs inside gets the time to end.
	h.must("exec", "p", "--", "sh", "-c", "(trap 'echo ended > ~/trap; exit' TERM; sleep 1000 & wait) > /dev/null 2>&1 &")
	for _, c := range [][]string{{"stop"}, {"stop", "--force"}} {
		h.must("pause", "p")
		h.must(append(c, "p")...)
		if d := h.inspect("p"); d.State != lifecycle.Stopped || d.Reason.Kind != lifecycle.ReasonUser {
			t.Errorf("after %v of a paused one: %s, %v", c, d.State, d.Reason)
		}
		h.must("start", "p")
	}
	if got := h.must("exec", "p", "--", "cat", "/home/dev/trap"); got != "ended\n" {
		t.Errorf("its program was not asked to end: %q", got)
	}
	h.must("pause", "p")
	h.must("restart", "p")
	expect(lifecycle.Started)

	// What ends in the freezer ends.
	h.must("pause", "p")
	pid = h.inspect("p").Running.Pid
	if err := killPid(pid); err != nil {
		t.Fatal(err)
	}
	h.cove("resume", "p") // where the freezer holds a signal back, it comes now
	h.eventually("its end", func() bool { return stateOf(h, "p") == lifecycle.Stopped })
	h.must("start", "p")
	h.must("pause", "p")
	h.must("rm", "p")

	// A stopped one cannot be paused.
	h.must("create", "-p", "shell", "-n", "p")
	h.must("stop", "p")
	h.refuse(1, []string{"pause needs a sandbox that is started", "stopped"}, "pause", "p")
	h.refuse(1, []string{"resume needs a sandbox that is paused"}, "resume", "p")
}

// TestPausedAtReboot: what was paused is gone with the machine's memory.
func TestPausedAtReboot(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "p")
	h.must("pause", "p")
	h.reboot("p")
	if d := h.inspect("p"); d.State != lifecycle.Stopped || d.Desired != lifecycle.Stopped || d.Reason == nil || d.Reason.Kind != lifecycle.ReasonReboot {
		t.Errorf("after a reboot: %s, desired %s, reason %v", d.State, d.Desired, d.Reason)
	}
}

// thaw takes a process's group out of the freezer in the daemon's place.
func (h *host) thaw(pid int) {
	h.t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, file := range []string{"/sys/fs/cgroup" + f[2] + "/cgroup.freeze", "/sys/fs/cgroup/unified" + f[2] + "/cgroup.freeze"} {
			if f[1] == "" {
				_ = writeExisting(file, "0")
			}
		}
		if f[1] == "freezer" {
			_ = writeExisting("/sys/fs/cgroup/freezer"+f[2]+"/freezer.state", "THAWED")
		}
	}
}

func writeExisting(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer closeQuietly(f)
	_, err = f.WriteString(text)
	return err
}

func TestRename(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "old", "--label", "team=blue")
	h.must("create", "-p", "shell", "-n", "other")
	h.must("rename", "old", "new")
	h.refuse(1, []string{"old", "no such sandbox"}, "inspect", "old")
	h.refuse(1, []string{"other", "taken"}, "rename", "new", "other")
	h.refuse(1, []string{"none"}, "rename", "none", "x")
	h.refuse(2, nil, "rename", "new", "Bad Name")
	h.must("rename", "new", "new")
	host := func() string {
		t.Helper()
		return h.must("exec", "new", "--", "sh", "-c", "hostname; cat /etc/hostname; tail -n1 /etc/hosts; echo $COVE_SANDBOX")
	}
	if got := host(); got != "old\nold\n127.0.1.1\told\nold\n" {
		t.Errorf("while it runs the host name is %q", got)
	}
	h.must("restart", "new")
	if got := host(); got != "new\nnew\n127.0.1.1\tnew\nnew\n" {
		t.Errorf("after its next start the host name is %q", got)
	}
	h.must("create", "-p", "shell", "-n", "old") // its old name is free
	h.kill()
	h.must("daemon", "start")
	if got := host(); !strings.HasPrefix(got, "new\n") {
		t.Errorf("a new daemon finds %q", got)
	}
	// In every state.
	h.must("pause", "new")
	h.must("rename", "new", "frozen")
	h.must("stop", "frozen")
	h.must("rename", "frozen", "new")
	h.must("start", "new")
	if got := host(); got != "new\nnew\n127.0.1.1\tnew\nnew\n" {
		t.Errorf("renamed there and back: %q", got)
	}
}

func TestLabels(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "a", "--label", "team=blue")
	h.must("create", "-p", "shell", "-n", "b")
	h.must("label", "a", "ready=", "n=1", "note=two words, and = signs")
	h.must("label", "a", "n=2", "none-")
	if got := h.must("label", "a"); got != "n=2\nnote=two words, and = signs\nready=\nteam=blue\n" {
		t.Errorf("label a: %q", got)
	}
	if got := h.must("label", "b"); got != "" {
		t.Errorf("label b: %q", got)
	}
	h.must("label", "b", "team=red")
	for filter, want := range map[string]string{
		"--label=team": "a b", "--label=team=blue": "a", "--label=team,n": "a", "--label=ready=": "a", "--label=nothing": "",
		`--label=note=two words\, and = signs`: "a", "--state=started": "a b", "--state=stopped,paused": "", "--state=stopped,started": "a b",
	} {
		var names []string
		var list []struct{ Name string }
		if err := json.Unmarshal([]byte(h.must("ls", "--json", filter)), &list); err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("ls %s: %q, want %q", filter, got, want)
		}
	}
	h.must("stop", "a")
	h.must("label", "a", "team-", "n=3")
	h.kill()
	h.must("daemon", "start")
	h.must("start", "a")
	if got := h.must("label", "a", "--json"); !strings.Contains(got, `"n": "3"`) || strings.Contains(got, "team") {
		t.Errorf("after a killed daemon and a start: %s", got)
	}
	h.refuse(2, []string{"at most 256"}, "label", "a", "k="+strings.Repeat("x", 1000))
	h.refuse(2, nil, "label", "a", "k")
	h.refuse(2, nil, "label", "a", "k=1", "k-")
}
