package main

import (
	"strings"
	"testing"
)

// TestSetupIsKept: what setup steps make is there for the next sandbox of the
// profile, unless something of the caller's was visible to them.
func TestSetupIsKept(t *testing.T) {
	h := realHost(t)
	p := h.profile("kept", `
extends = "shell"
setup = ["head -c 16 /dev/urandom | base64 > ~/first; echo one", "cat ~/first > ~/second; sudo touch /usr/bin/newtool"]
`)
	look := func(name string) string {
		t.Helper()
		return h.must("exec", name, "--", "sh", "-c", "cat ~/first ~/second; ls /usr/bin/newtool; hostname; cat /etc/hostname; stat -c %U ~/first")
	}
	h.must("create", "-p", p, "-n", "a")
	first := look("a")
	if lines := strings.Fields(first); len(lines) != 6 || lines[0] != lines[1] || lines[3] != "a" || lines[4] != "a" || lines[5] != "dev" {
		t.Fatalf("in the first: %q", first)
	}
	if log := h.must("logs", "a"); !strings.Contains(log, "one") || !strings.Contains(log, "setup step 2/2") {
		t.Errorf("its log: %q", log)
	}
	h.must("create", "-p", p, "-n", "b")
	if got := look("b"); got != strings.ReplaceAll(first, "\na\n", "\nb\n") && strings.Fields(got)[0] != strings.Fields(first)[0] {
		t.Errorf("in the second: %q, in the first %q", got, first)
	}
	// A step behind them: they are not taken again.
	q := h.profile("more", "extends = \""+p+"\"\nsetup = [\"echo three > ~/third\"]\n")
	h.must("create", "-p", q, "-n", "c")
	if got := h.must("exec", "c", "--", "sh", "-c", "cat ~/first ~/third"); got != strings.Fields(first)[0]+"\nthree\n" {
		t.Errorf("with one more: %q", got)
	}
	// With something of the caller's they are.
	h.must("create", "-p", p, "-n", "d", "--mount", t.TempDir()+":/mnt:ro")
	if got := look("d"); strings.Fields(got)[0] == strings.Fields(first)[0] {
		t.Errorf("with a mount it has what others have: %q", got)
	}
	h.must("rm", "--now", "a", "b", "c", "d")
	h.must("image", "prune")
	h.leaveNoLayer()
}
