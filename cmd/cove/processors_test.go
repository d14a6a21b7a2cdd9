package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"cove/runtime/cgroup"
)

// counts are the processors that programs inside count: those of the set they may
// run on, as nproc does, and those that are online, as the C library does.
func (h *host) counts(name string) (allowed, online int, set string) {
	h.t.Helper()
	const count = `nproc
getconf _NPROCESSORS_ONLN 2>/dev/null || tr , '\n' < /sys/devices/system/cpu/online | awk -F- '{n += $NF - $1 + 1} END {print n}'
grep Cpus_allowed_list /proc/self/status`
	out := h.must("exec", name, "--", "/bin/sh", "-c", count)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		h.t.Fatalf("inside %s: %q", name, out)
	}
	var errs [2]error
	allowed, errs[0] = strconv.Atoi(lines[0])
	online, errs[1] = strconv.Atoi(lines[1])
	for _, err := range errs {
		if err != nil {
			h.t.Fatalf("inside %s: %q", name, out)
		}
	}
	_, set, _ = strings.Cut(lines[2], ":")
	return allowed, online, strings.TrimSpace(set)
}

// TestProcessors has programs count as many processors as their sandbox may
// use, with sandboxes on different ones, also over the death of the daemon.
func TestProcessors(t *testing.T) {
	h := realHost(t)
	all := runtime.NumCPU()
	if all < 2 {
		t.Skip("one processor cannot be shared out")
	}
	h.profile("everywhere", "extends = \"base\"\n[resources]\ncpu = 1\nall_cpus = true\n")
	for name, args := range map[string][]string{
		"one": {"--cpu", "1"}, "half": {"--cpu", "0.5"}, "much": {"--cpu", "1000"}, "free": {"--cpu", "0"}, "every": {"-p", "everywhere"},
	} {
		h.must(append([]string{"create", "-n", name, "--block-all"}, args...)...)
	}
	expect := func() {
		t.Helper()
		sets := map[string]string{}
		for name, want := range map[string]int{"one": 1, "half": 1, "much": all, "free": all, "every": all} {
			allowed, online, set := h.counts(name)
			if allowed != want || online != want {
				t.Errorf("%s counts %d and %d processors, want %d", name, allowed, online, want)
			}
			sets[name] = set
		}
		if sets["one"] == sets["half"] {
			t.Errorf("both are on processor %s", sets["one"])
		}
	}
	expect()
	h.kill()
	h.must("daemon", "start")
	_, _, before := h.counts("one")
	expect()
	h.must("create", "-n", "third", "--cpu", "1", "--block-all")
	if _, _, set := h.counts("one"); set != before {
		t.Errorf("one that came moved another from %s to %s", before, set)
	}
	if all != 2 {
		return
	}
	// 1 and 1 beside 0.5: when the half has gone, and one of the others has
	// come back on its place, they are apart.
	h.must("rm", "--now", "half")
	_, _, one := h.counts("one")
	_, _, third := h.counts("third")
	if one == third {
		h.must("create", "-n", "fourth", "--cpu", "1", "--block-all")
		h.must("rm", "--now", "fourth")
		_, _, one = h.counts("one")
		_, _, third = h.counts("third")
	}
	if one == third {
		t.Errorf("both are on processor %s, and nobody is on the other", one)
	}
	h.must("stop", "one")
	h.must("start", "one")
	if _, _, set := h.counts("one"); set == third {
		t.Errorf("started again beside %s, with a processor idle", set)
	}
	if n := len(h.list()); n != 5 {
		t.Errorf("%d sandboxes", n)
	}
	if _, err := fmt.Sscan(one, new(int)); err != nil {
		t.Errorf("its set is %q", one)
	}
}

// TestStrayGroups has the audit find control groups of this instance's that are
// no sandbox's, by a sandbox's name or by another, and the next daemon clear the
// former away.
func TestStrayGroups(t *testing.T) {
	h := realHost(t)
	h.must("create", "-n", "a", "--block-all")
	top := filepath.Dir(h.inspect("a").Running.Cgroup)
	l, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	for _, hierarchy := range l.Hierarchies {
		for _, name := range []string{"0123456789ab", "other"} {
			dir := filepath.Join(hierarchy.Path, top, name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(dir) }) // before the host's own, which audits
			out, _, code := h.cove("doctor", "--leaks")
			if code == 0 || !strings.Contains(out, top[1:]+"/"+name) {
				t.Errorf("with %s: status %d\n%s", dir, code, out)
			}
			if name == "other" {
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			}
		}
	}
	h.kill()
	h.must("daemon", "start")
	if out, _, code := h.cove("doctor", "--leaks"); code != 0 {
		t.Errorf("the next daemon left\n%s", out)
	}
}
