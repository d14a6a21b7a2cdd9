package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLxcfs has what free and lscpu read be the sandbox's where lxcfs serves it,
// and sandboxes start when it has died. It runs in a mount namespace of its own,
// and needs lxcfs installed, not running.
func TestLxcfs(t *testing.T) {
	h := realHost(t)
	program, err := exec.LookPath("lxcfs")
	if err != nil {
		t.Skip("lxcfs is not installed")
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/lxcfs && exec "$1" -f -p /var/lib/lxcfs.pid /var/lib/lxcfs`, "sh", program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", cmd.Process.Pid))
		if err == nil && strings.Contains(string(data), "fuse.lxcfs") {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Skipf("lxcfs does not run here: %v", err)
		}
	}
	if h.mounts, err = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	// The host's own clean-up runs before this, and needs the namespace.
	t.Cleanup(func() {
		h.leave()
		_ = h.mounts.Close()
		h.mounts = nil
	})
	total := func(name string) string {
		t.Helper()
		fields := strings.Fields(h.must("exec", name, "--", "sh", "-c", "grep MemTotal /proc/meminfo; grep -c ^processor /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat; cat /proc/uptime /proc/swaps /proc/loadavg >/dev/null && echo read"))
		if len(fields) != 6 || fields[5] != "read" {
			t.Fatalf("inside %s: %q", name, fields)
		}
		return fields[1] + " " + fields[3] + " " + fields[4]
	}
	h.must("create", "-p", "shell", "-n", "a", "--memory", "128MiB", "--cpu", "1", "--block-all")
	if got := total("a"); got != "131072 1 1" {
		t.Errorf("kilobytes of memory, processors, and processors in stat: %s", got)
	}
	if out, _, _ := h.cove("doctor"); !strings.Contains(out, "free and /proc/meminfo tell the limits") {
		t.Errorf("doctor says\n%s", out)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	h.must("create", "-p", "shell", "-n", "b", "--memory", "128MiB", "--block-all")
	if got := total("b"); strings.HasPrefix(got, "131072 ") {
		t.Errorf("of a dead server: %s", got)
	}
	if got := h.must("exec", "a", "--", "echo", "alive"); got != "alive\n" {
		t.Errorf("the other says %q", got)
	}
	if out, _, _ := h.cove("doctor"); !strings.Contains(out, "lxcfs") || !strings.Contains(out, "cannot be read") {
		t.Errorf("doctor says of a dead server\n%s", out)
	}
}
