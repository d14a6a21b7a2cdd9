//go:build vmtest

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cove/runtime/api"
	"cove/runtime/cgroup"
	"cove/runtime/lifecycle"
)

// Tests that prove, in the test guest, what only a host with one cgroup v2 tree
// can show; see the package vmtest.

// guestHost is a cove of the test guest. Elsewhere it fails: skipped there, these
// tests would prove nothing and look as if they did.
func guestHost(t *testing.T) *host {
	t.Helper()
	inGuest(t)
	return realHost(t)
}

func inGuest(t *testing.T) {
	t.Helper()
	if os.Getenv("VMTEST") == "" {
		t.Fatal("this is a test for the guest (make test-vm)")
	}
}

// group is the directory of a sandbox's control group.
func (h *host) group(name string) string {
	h.t.Helper()
	var s api.DaemonStatus
	if err := json.Unmarshal([]byte(h.must("daemon", "status", "--json")), &s); err != nil {
		h.t.Fatal(err)
	}
	return filepath.Join("/sys/fs/cgroup", "cove-"+s.Inst, h.inspect(name).ID)
}

// groupFile reads a file of a control group.
func groupFile(t *testing.T, group, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(group, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// groupCount is one number of a file with a name and a number on each line.
func groupCount(t *testing.T, group, file, name string) int64 {
	t.Helper()
	for line := range strings.Lines(groupFile(t, group, file)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && key == name {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return 0
}

func TestGuestIsUnified(t *testing.T) {
	inGuest(t)
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
	if got := h.must("exec", "a", "--", "cat", "/home/dev/file"); got != "kept\n" {
		t.Errorf("the file reads %q", got)
	}
	if out, stderr, code := h.cove("doctor"); code != 0 {
		t.Errorf("doctor: %d\n%s%s", code, out, stderr)
	}
}
