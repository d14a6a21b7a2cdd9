//go:build vmtest

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cove/runtime/lifecycle"
)

// TestGuestUnit runs the daemon by its unit, in the boot with systemd: sandboxes
// are in the subtree that systemd hands over, or before v254 in one of their own,
// with their limits, and live on when the unit is restarted or stopped.
func TestGuestUnit(t *testing.T) {
	inGuest(t)
	if os.Getenv("VMTEST_AGAIN") == "" {
		askAgain(t)
		return
	}
	network, err := os.Open("/proc/1/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	bin := binDir(t)
	h := &host{t: t, bin: bin, state: "/var/lib/cove", run: "/run/cove", net: network}
	h.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	text, err := os.ReadFile("../../assets/systemd/cove.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := strings.ReplaceAll(string(text), "/usr/local/bin/cove", filepath.Join(bin, "cove"))
	if err := os.WriteFile("/run/systemd/system/cove.service", []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	systemctl := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
			t.Fatalf("systemctl %v: %v %s", args, err, out)
		}
	}
	systemctl("daemon-reload")
	systemctl("start", "cove.service")
	t.Cleanup(func() { systemctl("stop", "cove.service") })
	h.eventuallyServed()

	h.must("create", "-p", "shell", "-n", "u", "--memory", "64MiB", "--block-all")
	d := h.inspect("u")
	subtree, daemon := "/", "/system.slice/cove.service"
	if systemdVersion(t) >= 254 {
		subtree, daemon = daemon+"/", daemon+"/daemon"
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", d.Running.Pid))
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimPrefix(strings.TrimSpace(string(data)), "0::")
	if !strings.HasPrefix(own, subtree+"cove-") || filepath.Base(own) != d.ID {
		t.Fatalf("the sandbox is in %s", own)
	}
	group := filepath.Join("/sys/fs/cgroup", own)
	if got := groupFile(t, group, "memory.max"); got != "67108864" {
		t.Errorf("memory.max is %s", got)
	}
	if _, _, code := h.cove("exec", "u", "--", "tail", "/dev/zero"); code != 128+9 || groupCount(t, group, "memory.events", "oom_kill") < 1 {
		t.Errorf("what wants endless memory ends with %d", code)
	}
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", h.pid())); err != nil || strings.TrimSpace(string(data)) != "0::"+daemon {
		t.Errorf("the daemon is in %s, %v", data, err)
	}
	before := d.Running.Pid
	for _, what := range []string{"restart", "stop", "daemon-reload"} {
		if what == "daemon-reload" {
			systemctl(what)
			what = "restart"
		}
		systemctl(what, "cove.service")
		if what == "stop" {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", before)); err != nil {
				t.Errorf("stopping the unit ended the sandbox: %v", err)
			}
			systemctl("start", "cove.service")
		}
		h.eventuallyServed()
		settle(h)
		if d := h.inspect("u"); d.State != lifecycle.Started || d.Running == nil || d.Running.Pid != before {
			t.Errorf("after %s the sandbox is %s, %+v", what, d.State, d.Running)
		}
		if got := groupFile(t, group, "memory.max"); got != "67108864" {
			t.Errorf("after %s memory.max is %s", what, got)
		}
	}
	if got := h.must("exec", "u", "--", "echo", "alive"); got != "alive\n" {
		t.Errorf("it says %q", got)
	}
	h.must("rm", "--now", "u")
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
		t.Errorf("leaks:\n%s%s", out, stderr)
	}
}

// eventuallyServed waits until the daemon answers: its unit is started when the
// program is.
func (h *host) eventuallyServed() {
	h.t.Helper()
	until(h.t.(*testing.T), "a daemon that answers", func() bool { return h.pid() != 0 })
}

func systemdVersion(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("systemctl", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(string(out), "systemd %d", &n); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return n
}
