package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cove/runtime/lifecycle"
)

// Setup steps run in order, once: what failed is where the next start goes on.
func TestSetupSteps(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	p := h.profile("steps", `
extends = "shell"
setup = [
  "sleep 0.6; echo one >>/home/dev/ran; echo $USER $HOME $PWD",
  "sleep 0.6; echo two >>/home/dev/ran; n=$(grep -c two /home/dev/ran); echo attempt $n; [ -e ~/mended ]",
  "echo three >>/home/dev/ran",
]
`)
	tt := h.terminal(300, 24, "create", "-p", p, "-n", "s")
	tt.See("cove: setup 1/3: sleep 0.6; echo one")
	tt.See("cove: setup 2/3: sleep 0.6; echo two")
	tt.See("setup step 2/3 (sleep 0.6; echo two")
	tt.See("failed: exit status 1: attempt 1 (all it printed: cove logs s")
	if err := tt.Exit(); err == nil || err.Error() != "exit status 1" {
		t.Errorf("create ended with %v", err)
	}
	box := h.inspect("s")
	if box.State != lifecycle.Error || box.Reason == nil || !strings.Contains(box.Reason.Detail, "setup step 2/3") || box.Progress != "" {
		t.Errorf("it is %s, %v, %q", box.State, box.Reason, box.Progress)
	}
	log := filepath.Join(h.state, "sandboxes", box.ID, "setup.log")
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "\ndev /home/dev /workspace\ncove: setup step 2/3: ") || !strings.HasSuffix(string(text), "\nattempt 1\ncove: exit status 1: attempt 1\n") {
		t.Errorf("setup.log: %v\n%s", err, text)
	}
	if st, err := os.Stat(log); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("setup.log: %v, %v", st.Mode(), err)
	}

	// To mend what it fails on one gets in without.
	h.must("start", "--skip-setup", "s")
	if got := h.sh("s", "cat ~/ran; touch ~/mended"); got != "one\ntwo" {
		t.Errorf("ran, when skipped: %q", got)
	}
	h.must("stop", "s")

	again := h.terminal(150, 24, "start", "s")
	again.See("cove: setup 2/3: sleep 0.6; echo two")
	if err := again.Exit(); err != nil {
		t.Errorf("start ended with %v", err)
	}
	want := "one\ntwo\ntwo\nthree"
	if got := h.sh("s", "cat ~/ran"); got != want {
		t.Errorf("ran: %q, want %q", got, want)
	}
	h.must("restart", "s")
	if got := h.sh("s", "cat ~/ran"); got != want {
		t.Errorf("after a restart: %q, want %q", got, want)
	}
}

// What was to be thrown away is thrown away also where its setup fails.
func TestSetupFailsUnderRm(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	p := h.profile("broken", "extends = \"shell\"\nsetup = [\"echo why >&2; exit 3\"]\n")
	_, stderr, status := h.cove("run", "--rm", "-p", p, "--", "true")
	if status != 1 || !strings.Contains(stderr, "setup step 1/1") || !strings.Contains(stderr, "exit status 3: why (deleted, as --rm asks") || strings.Count(stderr, "setup step") != 1 {
		t.Errorf("status %d, %q", status, stderr)
	}
	if got := h.must("ls", "--json"); strings.TrimSpace(got) != "[]" {
		t.Errorf("left: %s", got)
	}
}

// An interrupted create breaks its setup off, and nothing is left of it.
func TestSetupInterrupted(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	p := h.profile("slow", "extends = \"shell\"\nsetup = [\"sleep 1000\"]\n")
	tt := h.terminal(100, 24, "create", "-p", p)
	tt.See("cove: setup 1/1: sleep 1000")
	tt.Send("\x03")
	tt.See("cove: create: interrupted")
	if err := tt.Exit(); err == nil || err.Error() != "exit status 130" {
		t.Errorf("create ended with %v", err)
	}
	nothingLeft := func(behind string) {
		t.Helper()
		settle(h)
		if n := len(h.list()); n != 0 {
			t.Errorf("%s leaves %d sandboxes", behind, n)
		}
		if out, _, code := h.cove("doctor", "--leaks"); code != 0 {
			t.Errorf("%s leaves %s", behind, out)
		}
	}
	nothingLeft("an interrupt")

	// Nor when it is the daemon that ends.
	tt = h.terminal(100, 24, "create", "-p", p)
	tt.See("cove: setup 1/1: sleep 1000")
	h.kill()
	if err := tt.Exit(); err == nil {
		t.Error("create succeeds although its daemon has ended")
	}
	h.must("daemon", "start")
	nothingLeft("the daemon's end")
}
