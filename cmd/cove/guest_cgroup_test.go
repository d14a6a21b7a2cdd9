//go:build vmtest

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
)

// inside runs a shell's line in a sandbox, which must succeed.
func (h *host) inside(name, line string) string {
	h.t.Helper()
	return h.must("exec", name, "--", "sh", "-c", line)
}

// usage is what one sandbox uses now.
func (h *host) usage(name string) api.Stats {
	h.t.Helper()
	var r api.StatsReport
	if err := json.Unmarshal([]byte(h.must("stats", "--json", name)), &r); err != nil {
		h.t.Fatal(err)
	}
	if len(r.Sandboxes) != 1 {
		h.t.Fatalf("statistics of %s: %+v", name, r)
	}
	return r.Sandboxes[0]
}

// untilStats asks for statistics until they are so.
func (h *host) untilStats(name, what string, ok func(api.Stats) bool) api.Stats {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	stream, err := api.New(filepath.Join(h.run, "cove.sock")).FollowStats(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	var last api.Stats
	for {
		r, err := stream.Next()
		if err != nil {
			h.t.Fatalf("%s of %s did not come about: %v; at last %+v", what, name, err, last)
		}
		for _, s := range r.Sandboxes {
			if s.Name == name {
				if last = s; ok(s) {
					return s
				}
			}
		}
	}
}

// limitFile reads a file of a sandbox's control group.
func (h *host) limitFile(name, file string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", h.inspect(name).Running.Cgroup, file))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// busy has a sandbox use what it gets, with n processes, until the test ends.
func (h *host) busy(name string, n int) {
	h.t.Helper()
	h.must("exec", name, "--", "sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do (while :; do :; done) </dev/null >/dev/null 2>&1 & i=$((i+1)); done", n))
}

func TestGuestStrayGroups(t *testing.T) { testStrayGroups(t, guestHost(t)) }

// TestGuestProcessors has programs count what they may use; see TestProcessors.
func TestGuestProcessors(t *testing.T) {
	h := guestHost(t)
	h.must("create", "-p", "shell", "-n", "one", "--cpu", "1", "--block-all")
	h.must("create", "-p", "shell", "-n", "half", "--cpu", "0.5", "--block-all")
	sets := map[string]string{}
	for _, name := range []string{"one", "half"} {
		allowed, online, set := h.counts(name)
		if sets[name] = set; allowed != 1 || online != 1 {
			t.Errorf("%s counts %d and %d processors", name, allowed, online)
		}
		if file := h.limitFile(name, "cpuset.cpus"); file != set {
			t.Errorf("%s is on %s, its group on %s", name, set, file)
		}
	}
	if sets["one"] == sets["half"] {
		t.Errorf("both are on processor %s", sets["one"])
	}
	h.must("rm", "--now", "half")
	h.kill()
	h.must("daemon", "start")
	if _, _, set := h.counts("one"); set != sets["one"] {
		t.Errorf("the next daemon moved it from %s to %s", sets["one"], set)
	}
}

// TestGuestLimitFiles has the kernel's own figures be those of the profile.
func TestGuestLimitFiles(t *testing.T) {
	h := guestHost(t)
	h.profile("all", `extends = "shell"
[resources]
cpu = 1.5
memory = "96MiB"
swap = "16MiB"
pids = 77
io_read = "3MiB"
io_write = "2MiB"
`)
	h.must("create", "-p", "all", "-n", "a")
	for file, want := range map[string]string{
		"cpu.max": "150000 100000", "cpu.weight": "150", "memory.max": fmt.Sprint(96 << 20), "memory.high": "max", "memory.oom.group": "0",
		"memory.swap.max": fmt.Sprint(16 << 20), "pids.max": "77",
	} {
		if got := h.limitFile("a", file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if got := h.limitFile("a", "io.max"); !strings.Contains(got, fmt.Sprintf("rbps=%d wbps=%d ", 3<<20, 2<<20)) {
		t.Errorf("io.max is %q", got)
	}
	if w := h.inspect("a").Warnings; len(w) > 0 {
		t.Errorf("warnings where all is enforced: %q", w)
	}
	out := h.must("doctor")
	if !strings.Contains(out, "v2 at /sys/fs/cgroup/") || !strings.Contains(out, "cpu cpuset io memory pids") {
		t.Errorf("doctor says\n%s", out)
	}
}

// TestGuestWeight has two sandboxes want more than there is: each gets by its weight.
// A third is held to its limit, feels it, and says so.
func TestGuestWeight(t *testing.T) {
	h := guestHost(t)
	h.profile("two", "extends = \"shell\"\n[resources]\ncpu = 2\nall_cpus = true\n")
	h.profile("one", "extends = \"shell\"\n[resources]\ncpu = 1\nall_cpus = true\n")
	h.must("create", "-p", "two", "-n", "heavy")
	h.must("create", "-p", "one", "-n", "light")
	h.busy("heavy", 2)
	h.busy("light", 2)
	first := [2]float64{h.usage("heavy").CPUTotal, h.usage("light").CPUTotal}
	h.untilStats("light", "some processor time", func(s api.Stats) bool { return s.CPUTotal > first[1]+3 })
	heavy, light := h.usage("heavy").CPUTotal-first[0], h.usage("light").CPUTotal-first[1]
	if ratio := heavy / light; ratio < 1.5 || ratio > 2.7 {
		t.Errorf("weights 200 and 100 got %.2f and %.2f s: %.2f", heavy, light, ratio)
	}
	t.Logf("weights 200 and 100: %.2f s and %.2f s", heavy, light)
	h.must("rm", "--now", "heavy", "light")

	h.must("create", "-p", "shell", "-n", "held", "--cpu", "0.2")
	h.busy("held", 2)
	s := h.untilStats("held", "throttling", func(s api.Stats) bool { return s.CPUThrottled > 0.5 && s.CPUPressure > 0.1 })
	s = h.untilStats("held", "use", func(u api.Stats) bool { return u.CPUTotal > s.CPUTotal+0.5 })
	if s.CPU > 0.35 {
		t.Errorf("0.2 cores use %.2f", s.CPU)
	}
	t.Logf("held to 0.2: %.2f cores, throttled %.1f s, pressure %.2f", s.CPU, s.CPUThrottled, s.CPUPressure)
}

// TestGuestKilledForMemory has a program use more than its sandbox may: it is killed, the
// sandbox is not, and says what was.
func TestGuestKilledForMemory(t *testing.T) {
	h := guestHost(t)
	const eat = "head -c %d /dev/zero | tail -c %d | wc -c"
	h.must("create", "-p", "shell", "-n", "a", "--memory", "96MiB")
	h.inside("a", fmt.Sprintf(eat, 48<<20, 48<<20))
	s := h.usage("a")
	if s.MemoryPeak < 48<<20 || s.MemoryPeak > 96<<20 || s.MemoryLimit != 96<<20 || s.OOMKills != 0 {
		t.Errorf("after 48 MiB of 96: %+v", s)
	}
	if got := strings.TrimSpace(h.inside("a", fmt.Sprintf(eat, 200<<20, 200<<20))); got == fmt.Sprint(200<<20) {
		t.Error("200 MiB fit into 96")
	}
	s = h.untilStats("a", "a kill", func(s api.Stats) bool { return s.OOMKills == 1 })
	if s.MemoryPeak > 96<<20 {
		t.Errorf("peak %d", s.MemoryPeak)
	}
	if w := h.inspect("a").Warnings; len(w) != 1 || w[0] != "1 program was killed at the memory limit of 96MiB" {
		t.Errorf("warnings: %q", w)
	}
	if got := h.inside("a", "echo alive"); got != "alive\n" {
		t.Errorf("afterwards: %q", got)
	}
	// A new daemon knows of it too.
	h.kill()
	h.must("daemon", "start")
	if w := h.inspect("a").Warnings; len(w) != 1 {
		t.Errorf("warnings of the next daemon: %q", w)
	}
	h.must("restart", "a")
	if w := h.inspect("a").Warnings; len(w) != 0 {
		t.Errorf("warnings after a restart: %q", w)
	}
}

// TestGuestIO has the disk's speed be what the profile says, of direct writes, of
// what the kernel writes back later, and of reads, and programs wait for it.
func TestGuestIO(t *testing.T) {
	h := guestHost(t)
	h.profile("slow", "extends = \"shell\"\n[resources]\nio_read = \"1MiB\"\nio_write = \"1MiB\"\n")
	h.must("create", "-p", "shell", "-n", "free")
	h.must("create", "-p", "slow", "-n", "slow")
	took := func(name, line string) time.Duration {
		t.Helper()
		begin := time.Now()
		h.inside(name, line)
		return time.Since(begin)
	}
	const (
		direct = "cd; dd if=/dev/zero of=f bs=256k count=16 oflag=direct 2>/dev/null"
		cached = "cd; dd if=/dev/zero of=g bs=256k count=16 conv=fsync 2>/dev/null"
		read   = "cd; dd if=f of=/dev/null bs=256k iflag=direct 2>/dev/null"
	)
	for name, line := range map[string]string{"direct": direct, "cached": cached} {
		free, slow := took("free", line), took("slow", line)
		t.Logf("4 MiB, %s: %v without a limit, %v at 1 MiB/s", name, free, slow)
		if slow < 3*time.Second || slow < 2*free {
			t.Errorf("4 MiB, %s, at 1 MiB/s: %v, without a limit %v", name, slow, free)
		}
	}
	s := h.untilStats("slow", "pressure", func(s api.Stats) bool { return s.IOWrite >= 8<<20 && s.IOPressure > 0 })
	free, slow := took("free", read), took("slow", read)
	if slow < 3*time.Second || slow < 2*free {
		t.Errorf("reading 4 MiB at 1 MiB/s: %v, without a limit %v", slow, free)
	}
	s = h.untilStats("slow", "bytes", func(s api.Stats) bool { return s.IORead >= 4<<20 })
	t.Logf("read in %v; %d bytes read, %d written, pressure %.2f", slow, s.IORead, s.IOWrite, s.IOPressure)
}

// TestGuestIORefused has limits on a file system in memory refused in one line.
func TestGuestIORefused(t *testing.T) {
	h := guestHost(t)
	if err := os.MkdirAll(h.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", h.state, "tmpfs", 0, "mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.must("rm", "--now", "a")
		h.cove("daemon", "stop")
		if err := unix.Unmount(h.state, 0); err != nil {
			t.Error(err)
		}
	})
	h.profile("slow", "extends = \"shell\"\n[resources]\nio_write = \"1MiB\"\n")
	h.must("create", "-p", "shell", "-n", "a")
	h.refuse(1, []string{"resources.io_write", "no single block device", `set it to "0"`}, "create", "-p", "slow", "-n", "b")
	if n := len(h.list()); n != 1 {
		t.Errorf("%d sandboxes are there", n)
	}
}
