//go:build vmtest

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
)

// line runs a shell's line in a sandbox, which must succeed.
func (h *host) line(name, line string) string {
	h.t.Helper()
	return h.must("exec", name, "--", "sh", "-c", line)
}

// usage is what one sandbox uses now.
func (h *host) usage(name string) api.Stats {
	h.t.Helper()
	var all []api.Stats
	if err := json.Unmarshal([]byte(h.must("stats", "--json", name)), &all); err != nil {
		h.t.Fatal(err)
	}
	if len(all) != 1 {
		h.t.Fatalf("statistics of %s: %+v", name, all)
	}
	return all[0]
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

// busy has a sandbox use what it gets, with n processes, until the test ends.
func (h *host) busy(name string, n int) {
	h.t.Helper()
	h.must("exec", name, "--", "sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do (while :; do :; done) </dev/null >/dev/null 2>&1 & i=$((i+1)); done", n))
}

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
		if file := groupFile(t, h.group(name), "cpuset.cpus"); file != set {
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

// TestGuestLimits has the kernel's own figures be those of the profile, and the
// disk's speed what it says, of direct writes, of what is written back later, and
// of reads; programs wait for it, and that is told.
func TestGuestLimits(t *testing.T) {
	h := guestHost(t)
	h.profile("all", `extends = "shell"
[resources]
cpu = 1.5
memory = "96MiB"
swap = "16MiB"
pids = 77
io_read = "1MiB"
io_write = "1MiB"
`)
	h.must("create", "-p", "all", "-n", "a", "--block-all")
	group := h.group("a")
	for file, want := range map[string]string{
		"cpu.max": "150000 100000", "cpu.weight": "150", "memory.max": fmt.Sprint(96 << 20), "memory.high": "max", "memory.oom.group": "0",
		"memory.swap.max": fmt.Sprint(16 << 20), "pids.max": "77",
	} {
		if got := groupFile(t, group, file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	limit := groupFile(t, group, "io.max")
	device, speeds, _ := strings.Cut(limit, " ")
	if speeds != fmt.Sprintf("rbps=%d wbps=%d riops=max wiops=max", 1<<20, 1<<20) {
		t.Errorf("io.max is %q", limit)
	}
	if w := h.inspect("a").Warnings; len(w) > 0 {
		t.Errorf("warnings where all is enforced: %q", w)
	}
	if out := h.must("doctor"); !strings.Contains(out, "v2 at /sys/fs/cgroup/") || !strings.Contains(out, "cpu cpuset io memory pids") {
		t.Errorf("doctor says\n%s", out)
	}
	stray := filepath.Join(filepath.Dir(group), "stray")
	if err := os.Mkdir(stray, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, _, code := h.cove("doctor", "--leaks"); code == 0 || !strings.Contains(out, "/stray") {
		t.Errorf("with a group of nobody's: %d\n%s", code, out)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}

	speed := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(group, "io.max"), []byte(device+" "+text), 0); err != nil {
			t.Fatal(err)
		}
	}
	took := func(line string) time.Duration {
		t.Helper()
		begin := time.Now()
		h.line("a", "cd; "+line+" 2>/dev/null")
		return time.Since(begin)
	}
	for _, c := range []struct{ name, line string }{
		{"written directly", "dd if=/dev/zero of=f bs=256k count=16 oflag=direct"},
		{"written back", "dd if=/dev/zero of=g bs=256k count=16 conv=fsync"},
		{"read", "dd if=f of=/dev/null bs=256k iflag=direct"},
	} {
		speed("rbps=max wbps=max")
		free := took(c.line)
		speed(speeds)
		slow := took(c.line)
		t.Logf("4 MiB %s: %v, without a limit %v", c.name, slow, free)
		if slow < free+2*time.Second {
			t.Errorf("4 MiB %s at 1 MiB/s: %v, without a limit %v", c.name, slow, free)
		}
	}
	s := h.untilStats("a", "its use of the disk", func(s api.Stats) bool { return s.IOWrite >= 16<<20 && s.IORead >= 8<<20 && s.IOPressure > 0 })
	t.Logf("%d bytes read, %d written, pressure %.2f", s.IORead, s.IOWrite, s.IOPressure)
	if s.IOWrite > 40<<20 || s.IORead > 100<<20 {
		t.Error("bytes are counted twice")
	}
}

// TestGuestWeight has two sandboxes want more than there is: each gets by its
// weight, and waits.
func TestGuestWeight(t *testing.T) {
	h := guestHost(t)
	h.profile("two", "extends = \"shell\"\n[resources]\ncpu = 2\nall_cpus = true\n")
	h.profile("one", "extends = \"shell\"\n[resources]\ncpu = 1\nall_cpus = true\n")
	h.must("create", "-p", "two", "-n", "heavy", "--block-all")
	h.must("create", "-p", "one", "-n", "light", "--block-all")
	groups := [2]string{h.group("heavy"), h.group("light")}
	used := func(i int) float64 { return float64(groupCount(t, groups[i], "cpu.stat", "usage_usec")) / 1e6 }
	h.busy("heavy", 2)
	h.busy("light", 2)
	first := [2]float64{used(0), used(1)}
	until(t, "some seconds of work", func() bool { return used(1) > first[1]+2 })
	heavy, light := used(0)-first[0], used(1)-first[1]
	t.Logf("weights 200 and 100: %.2f s and %.2f s", heavy, light)
	if ratio := heavy / light; ratio < 1.5 || ratio > 2.7 {
		t.Errorf("weights 200 and 100 got %.2f and %.2f s: %.2f", heavy, light, ratio)
	}
	s := h.untilStats("light", "pressure", func(s api.Stats) bool { return s.CPUPressure > 0.1 })
	t.Logf("pressure %.2f", s.CPUPressure)
}

// TestGuestKilledForMemory has a program use more than its sandbox may: it is killed, the
// sandbox is not, and says what was.
func TestGuestKilledForMemory(t *testing.T) {
	h := guestHost(t)
	const eat = "head -c %d /dev/zero | tail -c %d | wc -c"
	h.must("create", "-p", "shell", "-n", "a", "--memory", "96MiB", "--block-all")
	h.line("a", fmt.Sprintf(eat, 48<<20, 48<<20))
	s := h.usage("a")
	if s.MemoryPeak < 48<<20 || s.MemoryPeak > 96<<20 || s.MemoryLimit != 96<<20 || s.OOMKills != 0 {
		t.Errorf("after 48 MiB of 96: %+v", s)
	}
	if got := strings.TrimSpace(h.line("a", fmt.Sprintf(eat, 200<<20, 200<<20))); got == fmt.Sprint(200<<20) {
		t.Error("200 MiB fit into 96")
	}
	s = h.untilStats("a", "a kill", func(s api.Stats) bool { return s.OOMKills == 1 })
	if s.MemoryPeak > 96<<20 {
		t.Errorf("peak %d", s.MemoryPeak)
	}
	if w := h.inspect("a").Warnings; len(w) != 1 || w[0] != "1 program was killed at the memory limit of 96MiB" {
		t.Errorf("warnings: %q", w)
	}
	if got := h.line("a", "echo alive"); got != "alive\n" {
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

// TestGuestLimitsOfADisk has the limit hold on a disk of the sandbox's own, which is a
// loop device: what goes through it is charged to the sandbox, and counted once.
func TestGuestLimitsOfADisk(t *testing.T) {
	h := guestHost(t)
	h.profile("quota", "extends = \"shell\"\n[resources]\ndisk = \"64MiB\"\nio_write = \"1MiB\"\n")
	h.must("create", "-p", "quota", "-n", "a", "--block-all")
	group := h.group("a")
	limit := groupFile(t, group, "io.max")
	device, speed, _ := strings.Cut(limit, " ")
	if !strings.HasPrefix(device, "7:") || !strings.Contains(speed, fmt.Sprintf("wbps=%d", 1<<20)) {
		t.Fatalf("io.max is %q", limit)
	}
	took := func(speed string) time.Duration {
		t.Helper()
		if err := os.WriteFile(filepath.Join(group, "io.max"), []byte(device+" "+speed), 0); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		h.line("a", "cd; dd if=/dev/zero of=f bs=256k count=16 oflag=direct 2>/dev/null")
		return time.Since(begin)
	}
	free := min(took("wbps=max"), took("wbps=max"))
	slow := took(speed)
	t.Logf("4 MiB: %v, without a limit %v; io.stat:\n%s", slow, free, groupFile(t, group, "io.stat"))
	if slow < free+time.Second {
		t.Errorf("4 MiB at 1 MiB/s: %v, without a limit %v", slow, free)
	}
	if s := h.untilStats("a", "its bytes", func(s api.Stats) bool { return s.IOWrite >= 12<<20 }); s.IOWrite >= 24<<20 {
		t.Errorf("12 MiB were written, %d bytes counted", s.IOWrite)
	}
}

// TestGuestDelegated has the daemon started in the leaf of a group that is marked
// as systemd marks a unit's with Delegate=yes and DelegateSubgroup=daemon: all that
// is its own is beside it, with every controller.
func TestGuestDelegated(t *testing.T) {
	h := guestHost(t)
	const unit = "/sys/fs/cgroup/unit.slice"
	if err := os.MkdirAll(filepath.Join(unit, "daemon"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(unit, "user.delegate", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the host's own
		h.must("rm", "--now", "a")
		h.must("daemon", "stop")
		if err := errors.Join(os.Remove(filepath.Join(unit, "daemon")), os.Remove(unit)); err != nil {
			t.Errorf("the daemon left something in its unit's group: %v", err)
		}
	})
	cmd := h.program(t.Context(), "/bin/sh", "-c", "echo $$ > "+unit+"/daemon/cgroup.procs && exec cove daemon start")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h.must("create", "-p", "shell", "-n", "a", "--cpu", "1", "--memory", "64MiB", "--block-all")
	d := h.inspect("a")
	if !strings.HasPrefix(d.Running.Cgroup, "/unit.slice/cove-") {
		t.Errorf("its group is %s", d.Running.Cgroup)
	}
	group := filepath.Join("/sys/fs/cgroup", d.Running.Cgroup)
	for file, want := range map[string]string{"cpu.max": "100000 100000", "memory.max": "67108864", "pids.max": "4096"} {
		if got := groupFile(t, group, file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if allowed, _, set := h.counts("a"); allowed != 1 || groupFile(t, group, "cpuset.cpus") != set {
		t.Errorf("it counts %d processors, of %s", allowed, set)
	}
	if got := strings.TrimSpace(h.line("a", "cat /proc/self/cgroup")); got != "0::/" {
		t.Errorf("it sees itself in %s", got)
	}
	if pids := groupFile(t, unit, "cgroup.procs"); pids != "" {
		t.Errorf("processes in the unit's own group: %s", pids)
	}
	// The next daemon is started by hand, elsewhere, and has its sandbox all the
	// same.
	h.kill()
	h.must("daemon", "start")
	if got := h.line("a", "echo alive"); got != "alive\n" {
		t.Errorf("after the daemon's death: %q", got)
	}
	if s := h.usage("a"); s.MemoryLimit != 64<<20 || s.CPUTotal == 0 {
		t.Errorf("the next daemon sees %+v", s)
	}
	h.must("stop", "a")
	if _, err := os.Stat(group); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after stop its group: %v", err)
	}
	if out := h.must("doctor", "--leaks"); !strings.Contains(out, "no leaks") {
		t.Error(out)
	}
}
