//go:build vmtest

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cove/runtime/lifecycle"
)

// TestGuestReboot runs in two boots of the guest with one disk: the first makes
// sandboxes and is switched off with them; in the second, with nothing in /run,
// each is found, and starts with its files.
func TestGuestReboot(t *testing.T) {
	inGuest(t)
	h := hostAt(t, binDir(t), filepath.Join(os.Getenv("VMTEST_SCRATCH"), "reboot"), filepath.Join(os.Getenv("VMTEST_SCRATCH"), "reboot/state"))
	h.run = "/run/cove-reboot"
	h.env = append(h.env, "COVE_RUN_DIR="+h.run)
	if os.Getenv("VMTEST_AGAIN") == "" {
		beforeReboot(t, h)
	} else {
		afterReboot(t, h)
	}
}

// left are the sandboxes of both boots: what the second finds of each.
func left() map[string]lifecycle.ReasonKind {
	return map[string]lifecycle.ReasonKind{"running": lifecycle.ReasonReboot, "paused": lifecycle.ReasonReboot, "stopped": lifecycle.ReasonUser}
}

func beforeReboot(t *testing.T, h *host) {
	base := filepath.Dir(h.state)
	if err := os.MkdirAll(base, 0o711); err != nil {
		t.Fatal(err)
	}
	for name := range left() {
		args := []string{"create", "-p", "shell", "-n", name}
		if name != "paused" {
			args = append(args, "--disk", "64MiB") // nobody unmounts it
		}
		h.must(args...)
		h.must("exec", name, "--", "sh", "-c", "echo "+name+" > ~/file; ln -s file ~/link; sync")
		h.must("exec", name, "-u", "0", "--", "sh", "-c", "touch /usr/bin/new; rm /usr/bin/wc; sync")
	}
	h.must("pause", "paused")
	h.must("stop", "stopped")
	askAgain(t)
}

// askAgain has a test run once more, when the guest has booted again.
func askAgain(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.Getenv("VMTEST_OUT"), "again"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err == nil {
		_, err = fmt.Fprintf(f, "cmd/cove ^%s$\n", t.Name())
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func afterReboot(t *testing.T, h *host) {
	if _, err := os.Stat(h.run); err == nil {
		t.Fatal("there is a run directory: this is no other boot")
	}
	h.must("daemon", "start")
	settle(h)
	if n := len(h.list()); n != len(left()) {
		t.Errorf("%d sandboxes are found", n)
	}
	for name, reason := range left() {
		d := h.inspect(name)
		if d.State != lifecycle.Stopped || d.Reason == nil || d.Reason.Kind != reason {
			t.Errorf("%s is %s, its reason %+v, want %s", name, d.State, d.Reason, reason)
		}
		h.must("start", name)
		got := h.must("exec", name, "--", "sh", "-c", "cat ~/link; ls /usr/bin/new; ls /usr/bin/wc 2>/dev/null || echo gone")
		if want := name + "\n/usr/bin/new\ngone\n"; got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	h.leave()
}
