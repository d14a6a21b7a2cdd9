//go:build vmtest

package main

import (
	"os"
	"strings"
	"testing"

	"cove/runtime/cgroup"
	"cove/runtime/lifecycle"
)

// guestHost is a cove of the test guest, where control groups are one v2 tree with
// every controller. Elsewhere its tests fail: they prove what only a guest can.
func guestHost(t *testing.T) *host {
	t.Helper()
	if os.Getenv("VMTEST") == "" {
		t.Fatal("this is a test for the guest (make test-vm)")
	}
	return realHost(t)
}

func TestGuestIsUnified(t *testing.T) {
	l, err := cgroup.Detect()
	if err != nil || l.Mode != cgroup.Unified {
		t.Fatalf("the guest's control groups are %q, %v", l.Mode, err)
	}
	have := " " + strings.Join(l.Hierarchies[0].Controllers, " ") + " "
	for _, c := range []string{"cpu", "cpuset", "io", "memory", "pids"} {
		if !strings.Contains(have, " "+c+" ") {
			t.Errorf("the guest lacks %s: %s", c, have)
		}
	}
}

func TestGuestSandbox(t *testing.T) {
	h := guestHost(t)
	h.must("create", "-p", "shell", "-n", "a")
	if got := h.must("exec", "a", "--", "sh", "-c", "echo kept > ~/file; id -un; cat /proc/self/cgroup"); got != "dev\n0::/\n" {
		t.Errorf("inside it says %q", got)
	}
	h.must("stop", "a")
	if d := h.inspect("a"); d.State != lifecycle.Stopped {
		t.Errorf("after stop: %s", d.State)
	}
	h.must("start", "a")
	if got := h.must("exec", "a", "--", "sh", "-c", "cat ~/file"); got != "kept\n" {
		t.Errorf("the file reads %q", got)
	}
	if out, stderr, code := h.cove("doctor"); code != 0 {
		t.Errorf("doctor: %d\n%s%s", code, out, stderr)
	}
}
