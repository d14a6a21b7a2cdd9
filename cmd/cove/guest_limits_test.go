//go:build vmtest

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cove/runtime/lifecycle"
)

// TestGuestControllers has each controller's limit bind, and what control groups
// do beside limits, on one cove: the guest is slow, and each cove takes seconds.
func TestGuestControllers(t *testing.T) {
	h := guestHost(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *host)
	}{
		{"memory", guestMemory}, {"cpu", guestCPU}, {"pids", guestPids}, {"freeze", guestFreeze}, {"kill", guestKill}, {"reason", guestReason},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, h.in(t)) })
	}
}

// background runs a command in a sandbox until the test's end.
func (h *host) background(name string, command ...string) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.command(ctx, append([]string{"exec", name, "--"}, command...)...)
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
}

// A program that wants more memory than its sandbox has is killed, and not the
// sandbox; where its PID 1 goes too, the reason is memory.
func guestMemory(t *testing.T, h *host) {
	h.must("create", "-p", "shell", "-n", "m", "--memory", "64MiB", "--block-all")
	group := h.group("m")
	if got := groupFile(t, group, "memory.max"); got != "67108864" {
		t.Errorf("memory.max is %s", got)
	}
	if _, stderr, code := h.cove("exec", "m", "--", "tail", "/dev/zero"); code != 128+9 {
		t.Errorf("what wants endless memory ends with %d, %s", code, stderr)
	}
	if n := groupCount(t, group, "memory.events", "oom_kill"); n < 1 {
		t.Errorf("memory.events counts %d", n)
	}
	if d := h.inspect("m"); d.State != lifecycle.Started {
		t.Errorf("after it the sandbox is %s, %v", d.State, d.Reason)
	}
	if got := h.must("exec", "m", "--", "echo", "alive"); got != "alive\n" {
		t.Errorf("after it the sandbox says %q", got)
	}
	// The group as one: PID 1 is killed with it.
	if err := os.WriteFile(filepath.Join(group, "memory.oom.group"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	h.cove("exec", "m", "--", "tail", "/dev/zero")
	h.eventually("the end of the sandbox", func() bool { return h.inspect("m").State == lifecycle.Stopped })
	if d := h.inspect("m"); d.Reason == nil || d.Reason.Kind != lifecycle.ReasonOOM {
		t.Errorf("its reason is %+v", d.Reason)
	}
	h.must("start", "m")
	if got := h.must("exec", "m", "--", "echo", "again"); got != "again\n" {
		t.Errorf("started again it says %q", got)
	}
}

// Swap counts apart from memory, and none of it may be used unless the profile
// says so.
func TestGuestSwap(t *testing.T) {
	h := guestHost(t)
	file := filepath.Join(t.TempDir(), "swap")
	for _, args := range [][]string{{"fallocate", "-l", "96M", file}, {"chmod", "600", file}, {"mkswap", file}, {"swapon", file}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("swapoff", file).CombinedOutput(); err != nil {
			t.Errorf("swapoff: %v %s", err, out)
		}
	})
	h.profile("swapping", "extends = \"shell\"\n[resources]\nmemory = \"32MiB\"\nswap = \"64MiB\"\n")
	h.must("create", "-p", "swapping", "-n", "with", "--block-all")
	h.must("create", "-p", "shell", "-n", "without", "--memory", "32MiB", "--block-all")
	for name, want := range map[string]string{"with": "67108864", "without": "0"} {
		if got := groupFile(t, h.group(name), "memory.swap.max"); got != want {
			t.Errorf("%s: memory.swap.max is %s, want %s", name, got, want)
		}
	}
	// Without an end of line tail(1) keeps all that it has read.
	const keep = "head -c 48M /dev/zero | tail | wc -c"
	if got := h.must("exec", "with", "--", "sh", "-c", keep); strings.TrimSpace(got) != "50331648" {
		t.Errorf("with swap: %q", got)
	}
	if got, _, _ := h.cove("exec", "without", "--", "sh", "-c", keep); strings.TrimSpace(got) == "50331648" {
		t.Error("48 MiB are kept in 32")
	}
	if n := groupCount(t, h.group("without"), "memory.events", "oom_kill"); n < 1 {
		t.Error("nothing was killed for memory")
	}
}

// A sandbox gets no more of the processor than its limit.
func guestCPU(t *testing.T, h *host) {
	h.must("create", "-p", "shell", "-n", "c", "--cpu", "0.3", "--block-all")
	group := h.group("c")
	if got := groupFile(t, group, "cpu.max"); got != "30000 100000" {
		t.Errorf("cpu.max is %s", got)
	}
	h.background("c", "sh", "-c", "while :; do :; done")
	throttled := groupCount(t, group, "cpu.stat", "nr_throttled")
	until(t, "throttling", func() bool { return groupCount(t, group, "cpu.stat", "nr_throttled") > throttled+2 })
	begin, before := time.Now(), groupCount(t, group, "cpu.stat", "usage_usec")
	throttled = groupCount(t, group, "cpu.stat", "nr_throttled")
	until(t, "throttling", func() bool { return groupCount(t, group, "cpu.stat", "nr_throttled") > throttled+15 })
	share := float64(groupCount(t, group, "cpu.stat", "usage_usec")-before) / float64(time.Since(begin).Microseconds())
	t.Logf("it used %.2f of a core", share)
	if share > 0.4 {
		t.Errorf("with a limit of 0.3 cores it used %.2f", share)
	}
}

// Where there are as many processes as may be, the next is refused, and PID 1
// is well.
func guestPids(t *testing.T, h *host) {
	h.profile("few", "extends = \"shell\"\n[resources]\npids = 32\n")
	h.must("create", "-p", "few", "-n", "p", "--block-all")
	group := h.group("p")
	if got := groupFile(t, group, "pids.max"); got != "32" {
		t.Errorf("pids.max is %s", got)
	}
	// Not bash, which tries again for half a minute.
	out, stderr, code := h.cove("exec", "p", "--", "busybox", "sh", "-c", "for i in $(busybox seq 60); do busybox sleep 1000 & done; echo all")
	if code == 0 || !strings.Contains(stderr, "Resource temporarily unavailable") || strings.Contains(out, "all") {
		t.Errorf("sixty processes: status %d, %q, %q", code, out, stderr)
	}
	if n := groupCount(t, group, "pids.events", "max"); n < 1 {
		t.Errorf("pids.events counts %d", n)
	}
	if d := h.inspect("p"); d.State != lifecycle.Started {
		t.Errorf("after it the sandbox is %s, %v", d.State, d.Reason)
	}
}

// A paused sandbox uses no processor at all, and goes on afterwards.
func guestFreeze(t *testing.T, h *host) {
	h.must("create", "-p", "shell", "-n", "f", "--block-all")
	group := h.group("f")
	h.background("f", "sh", "-c", "while :; do :; done")
	used := func() int64 { return groupCount(t, group, "cpu.stat", "usage_usec") }
	grows := func(when string) {
		t.Helper()
		before := used()
		until(t, "work "+when, func() bool { return used() > before+50_000 })
	}
	grows("at first")
	h.must("pause", "f")
	if n := groupCount(t, group, "cgroup.events", "frozen"); n != 1 {
		t.Errorf("cgroup.events: frozen %d", n)
	}
	before := used()
	<-time.After(500 * time.Millisecond)
	if after := used(); after != before {
		t.Errorf("paused it used %d microseconds", after-before)
	}
	h.must("resume", "f")
	if n := groupCount(t, group, "cgroup.events", "frozen"); n != 0 {
		t.Errorf("cgroup.events: frozen %d", n)
	}
	grows("after resume")
	// Deleted while it is paused.
	h.must("pause", "f")
	h.must("rm", "--now", "f")
	if _, err := os.Stat(group); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its control group: %v", err)
	}
}

// A forced end reaches what hides from signals, and what multiplies.
func guestKill(t *testing.T, h *host) {
	h.profile("many", "extends = \"shell\"\n[resources]\npids = 200\n")
	h.must("create", "-p", "many", "-n", "k", "--block-all")
	group := h.group("k")
	h.background("k", "busybox", "sh", "-c", `trap "" TERM HUP INT; f() { busybox setsid busybox sleep 1000 & f | f; }; while :; do f; done`)
	until(t, "a crowd", func() bool { return groupCount(t, group, "pids.events", "max") > 0 })
	h.must("stop", "--force", "k")
	if _, err := os.Stat(group); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its control group: %v", err)
	}
	h.must("start", "k")
	if got := h.must("exec", "k", "--", "sh", "-c", "ls -d /proc/[0-9]* | wc -l"); strings.TrimSpace(got) == "" {
		t.Errorf("started again it says %q", got)
	}
}

// How PID 1 ended is known on kernels, too, that forget it with the process; and
// the daemon, its parent, keeps no zombies.
func guestReason(t *testing.T, h *host) {
	h.must("create", "-p", "shell", "-n", "r", "--block-all")
	for range 2 {
		if err := killPid(h.inspect("r").Running.Pid); err != nil {
			t.Fatal(err)
		}
		h.eventually("the end of the sandbox", func() bool { return h.inspect("r").State == lifecycle.Stopped })
		if d := h.inspect("r"); d.Reason == nil || d.Reason.Kind != lifecycle.ReasonSignal || d.Reason.Signal != "KILL" {
			t.Errorf("its reason is %+v", d.Reason)
		}
		h.must("start", "r")
	}
	h.must("rm", "--now", "r")
	until(t, "an end of zombies", func() bool {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", h.pid()))
		if err != nil || len(lists) == 0 {
			t.Fatalf("the daemon's children: %v", err)
		}
		for _, list := range lists {
			data, _ := os.ReadFile(list)
			for _, pid := range strings.Fields(string(data)) {
				if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
					return false
				}
			}
		}
		return true
	})
}

// The rounds of kills on a host whose groups are made by other means.
func TestGuestKillRounds(t *testing.T) {
	killRounds(t, guestHost(t), rounds(6), 1500*time.Millisecond)
}
