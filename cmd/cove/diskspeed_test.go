package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cove/runtime/cgroup"
)

// TestDiskSpeed has direct writes be as fast as the profile lets them, whatever
// control groups the machine has.
func TestDiskSpeed(t *testing.T) {
	h := realHost(t)
	if _, err := cgroup.DeviceOf(filepath.Dir(h.run)); errors.Is(err, cgroup.ErrUnavailable) {
		t.Skip(err)
	}
	h.profile("slow", "extends = \"shell\"\n[resources]\nio_write = \"2MiB\"\n")
	h.must("create", "-p", "slow", "-n", "a", "--block-all")
	begin := time.Now()
	h.must("exec", "a", "--", "sh", "-c", "cd; dd if=/dev/zero of=f bs=256k count=20 oflag=direct 2>/dev/null")
	if took := time.Since(begin); took < 1500*time.Millisecond {
		t.Errorf("5 MiB at 2 MiB/s were written in %v", took)
	}
}

// TestSlowDiskEnds deletes a sandbox while a program in it waits in the kernel for a
// disk that is so slow that it would take minutes. Nothing of it may be left, which
// the host looks for at the end.
func TestSlowDiskEnds(t *testing.T) {
	h := realHost(t)
	if _, err := cgroup.DeviceOf(filepath.Dir(h.run)); errors.Is(err, cgroup.ErrUnavailable) {
		t.Skip(err)
	}
	h.profile("slow", "extends = \"shell\"\n[resources]\nio_write = \"4KiB\"\n")
	h.must("create", "-p", "slow", "-n", "a", "--block-all")
	h.must("exec", "a", "--", "sh", "-c", "cd; dd if=/dev/zero of=f bs=1M count=1 oflag=direct 2>/dev/null & while ! grep -q \"^State:.D\" /proc/$!/status; do sleep 0.05; done")
	h.must("rm", "a")
	if out := h.must("doctor", "--leaks"); out != "no leaks\n" {
		t.Errorf("after it was deleted: %s", out)
	}
}

// TestDiskSpeedRefused has the state directory in memory: the speed of a disk that
// there is not cannot be limited, which is said in one line.
func TestDiskSpeedRefused(t *testing.T) {
	bin := binDir(t)
	if os.Geteuid() != 0 {
		t.Skip("real sandboxes need root")
	}
	base, err := os.MkdirTemp("/dev/shm", "cove-test-")
	if err != nil {
		t.Skip(err)
	}
	if err := os.Chmod(base, 0o711); err != nil {
		t.Fatal(err)
	}
	h := hostAt(t, bin, base, filepath.Join(base, "state"))
	t.Cleanup(func() {
		h.leave()
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	h.profile("slow", "extends = \"shell\"\n[resources]\nio_write = \"1MiB\"\n")
	h.refuse(2, []string{"resources.io_write", "no single block device", `set it to "0"`}, "create", "-p", "slow", "-n", "b")
	if n := len(h.list()); n != 0 {
		t.Errorf("%d sandboxes are there", n)
	}
}
