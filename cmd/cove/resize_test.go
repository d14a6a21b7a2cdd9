package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/cgroup"
	"cove/runtime/lifecycle"
)

// TestResize changes limits of a sandbox that runs, where the kernel and the
// programs inside see them, and of one that does not.
func TestResize(t *testing.T) {
	h := realHost(t)
	resizeLive(t, h)
	resizeRefused(t, h)
	resizeStopped(t, h)
	resizeMemory(t, h)
}

// resizeLive changes the limits of r while it runs.
func resizeLive(t *testing.T, h *host) {
	h.must("create", "-p", "shell", "-n", "r", "--cpu", "1", "--memory", "512MiB", "--pids", "256")
	agree(t, h, "r")
	begin := time.Now()
	out := h.must("resize", "r", "--cpu", "0.5", "--memory", "1GiB", "--pids", "64", "--json")
	t.Logf("three limits: %v", time.Since(begin))
	var printed config.Resources
	if err := json.Unmarshal([]byte(out), &printed); err != nil || printed.CPU != 0.5 || printed.Memory != config.GiB || printed.Pids != 64 {
		t.Errorf("it prints %v: %s", err, out)
	}
	if got := agree(t, h, "r"); got.CPU != 0.5 || got.Memory != config.GiB || got.Pids != 64 {
		t.Errorf("in force is %+v", got)
	}
	// Inside, and in the statistics, at once.
	if got := strings.TrimSpace(h.must("exec", "r", "--", "nproc")); got != "1" {
		t.Errorf("nproc says %s", got)
	}
	var report []struct {
		CPULimit    float64 `json:"cpu_limit"`
		MemoryLimit int64   `json:"memory_limit"`
		PidsLimit   int64   `json:"pids_limit"`
	}
	if err := json.Unmarshal([]byte(h.must("stats", "--json", "r")), &report); err != nil || len(report) != 1 ||
		report[0].CPULimit != 0.5 || report[0].MemoryLimit != 1<<30 || report[0].PidsLimit != 64 {
		t.Errorf("stats says %+v, %v", report, err)
	}
	h.must("resize", "r", "--cpu", "2", "--pids", "64") // as it is, in part
	if got := strings.TrimSpace(h.must("exec", "r", "--", "nproc")); got != strconv.Itoa(min(2, processors(t))) {
		t.Errorf("nproc says %s after --cpu 2", got)
	}
	// Processes that are there already count.
	h.must("exec", "r", "--", "sh", "-c", "for i in $(seq 40); do setsid sleep 1000 & done")
	before := agree(t, h, "r")
	h.refuse(1, []string{"resize: r: ", "processes and threads are in use: 36 cannot be the limit", "stop it first"}, "resize", "r", "--pids", "36", "--cpu", "1", "--memory", "2GiB")
	if got := agree(t, h, "r"); got != before {
		t.Errorf("a resize that was refused left %+v of %+v", got, before)
	}
}

// resizeRefused asks for what cannot be.
func resizeRefused(t *testing.T, h *host) {
	h.must("resize", "r", "--pids", "100")
	if _, stderr, code := h.cove("exec", "r", "--", "sh", "-c", "for i in $(seq 200); do setsid sleep 1000 & done"); code == 0 || !strings.Contains(stderr, "fork") {
		t.Errorf("200 processes of 100: %d, %q", code, stderr)
	}
	// What is wrong is told before anything is done.
	for args, words := range map[string][]string{
		"r":                     {"needs a limit to change: --cpu, --memory, --swap, --pids, --disk"},
		"r --cpu x":             {"--cpu", "is no number of cores"},
		"r --cpu -1":            {"--cpu", "is no number of cores"},
		"r --cpu 2000":          {"resources.cpu: 2000 cores cannot be had"},
		"r --memory 4G":         {"--memory", "bad size"},
		"r --memory 1KiB":       {"resources.memory: 1KiB is too little"},
		"r --memory 0 --swap 1": {"resources.swap: swap is counted on top of a memory limit"},
		"r --pids 5":            {"resources.pids: 5 processes cannot be the limit"},
		"r --pids 1.5":          {"--pids", "whole number"},
		"r --cpu 1 --cpu 2":     {"--cpu: it is given twice"},
		"--cpu 1":               {"takes the name of a sandbox"},
		"r s --cpu 1":           {"takes the name of a sandbox"},
		"r --gpu 1":             {"unknown flag --gpu"},
	} {
		h.refuse(2, words, append([]string{"resize"}, strings.Fields(args)...)...)
	}
	h.refuse(1, []string{"no such sandbox"}, "resize", "nobody", "--cpu", "1")

	h.must("pause", "r")
	h.refuse(1, []string{"resize needs a sandbox that is started or stopped; this one is paused"}, "resize", "r", "--cpu", "1")
	h.must("resume", "r")
}

// resizeStopped is of one that has its limits when it starts.
func resizeStopped(t *testing.T, h *host) {
	h.must("stop", "--force", "r")
	h.must("resize", "r", "--cpu", "0", "--memory", "256MiB", "--pids", "0")
	if d := h.inspect("r"); d.State != lifecycle.Stopped || d.Spec.Resources.Memory != 256*config.MiB {
		t.Errorf("it is %s with %+v", d.State, d.Spec.Resources)
	}
	h.must("start", "r")
	if got := agree(t, h, "r"); got.CPU != 0 || got.Memory != 256*config.MiB || got.Pids != 0 {
		t.Errorf("after the start in force is %+v", got)
	}
	h.must("rm", "r")
}

// holding makes a sandbox whose program holds so many MiB, and returns how to ask
// whether it lives, and how to end it.
func holding(t *testing.T, h *host, name string, mib int) (alive func() bool, end func()) {
	t.Helper()
	h.must("create", "-p", "shell", "-n", name, "--cpu", "2", "--memory", "512MiB")
	// tail keeps what it reads until it knows which lines are the last.
	pid := strings.TrimSpace(h.must("exec", name, "--", "sh", "-c", fmt.Sprintf(
		`{ head -c %dM /dev/zero; echo > /tmp/held; exec sleep 100000; } | exec setsid tail > /dev/null 2>&1 & p=$!
until [ -e /tmp/held ]; do sleep .05; done; echo $p`, mib)))
	alive = func() bool {
		_, _, code := h.cove("exec", name, "--", "kill", "-0", pid)
		return code == 0
	}
	return alive, func() {
		h.must("exec", name, "--", "sh", "-c", "kill "+pid+"; while kill -0 "+pid+" 2>/dev/null; do sleep .05; done")
	}
}

// resizeMemory is what must hold: 300 MiB in use are never killed for a limit of 128.
func resizeMemory(t *testing.T, h *host) {
	alive, end := holding(t, h, "m", 300)
	before := agree(t, h, "m")
	kills := oomKills(t, h, "m")
	begin := time.Now()
	stderr := h.refuse(1, []string{"resize: m: ", "of memory are in use: 128MiB cannot be the limit", "stop it first, or ask for"}, "resize", "m", "--memory", "128MiB", "--cpu", "1")
	t.Logf("refused in %v: %s", time.Since(begin), stderr)
	found := regexp.MustCompile(`m: (\d+)MiB of memory.* ask for (\d+)MiB`).FindStringSubmatch(stderr)
	if found == nil {
		t.Fatalf("it says %q", stderr)
	}
	used, _ := strconv.Atoi(found[1])
	least, _ := strconv.Atoi(found[2])
	if used < 300 || used > 380 || least < used {
		t.Errorf("%d MiB in use, at least %d: want some more than 300", used, least)
	}
	if got := agree(t, h, "m"); got != before || !alive() {
		t.Errorf("the refused resize left %+v of %+v, alive %v", got, before, alive())
	}
	// As far down as it says, and up at once.
	h.must("resize", "m", "--memory", fmt.Sprintf("%dMiB", least))
	if got := agree(t, h, "m"); got.Memory != config.Size(least)*config.MiB || !alive() {
		t.Errorf("in force is %+v, alive %v", got, alive())
	}
	begin = time.Now()
	h.must("resize", "m", "--memory", "512MiB")
	t.Logf("up in %v", time.Since(begin))
	if got := agree(t, h, "m"); got.Memory != 512*config.MiB || !alive() {
		t.Errorf("in force is %+v, alive %v", got, alive())
	}
	// Pages of files give way.
	h.must("exec", "m", "--", "sh", "-c", "dd if=/dev/zero of=/home/dev/file bs=1M count=40 2>/dev/null; sync /home/dev/file; cat /home/dev/file > /dev/null")
	h.must("resize", "m", "--memory", fmt.Sprintf("%dMiB", least+8))
	if !alive() {
		t.Error("it was killed for the pages of a file")
	}
	if n := oomKills(t, h, "m"); n != kills {
		t.Errorf("the kernel has killed %d for memory", n-kills)
	}
	// When the program has ended there is room.
	end()
	h.must("resize", "m", "--memory", "128MiB")
	if got := agree(t, h, "m"); got.Memory != 128*config.MiB {
		t.Errorf("in force is %+v", got)
	}
	h.must("exec", "m", "--", "true")
	h.must("rm", "m")
}

// limits are what can be resized, as one can compare them.
type limits struct {
	CPU          float64
	Memory, Swap config.Size
	Pids         int64
}

// agree reads what the kernel enforces of a sandbox that runs, and fails when its
// record says anything else.
func agree(t *testing.T, h *host, name string) limits {
	t.Helper()
	d := h.inspect(name)
	if d.Running == nil {
		t.Fatalf("%s does not run", name)
	}
	got := inForce(t, d)
	r := d.Spec.Resources
	if want := (limits{r.CPU, r.Memory, r.Swap, r.Pids}); got != want {
		t.Errorf("%s: in force is %+v, its record says %+v", name, got, want)
	}
	return got
}

// limitFile reads a file of a sandbox's group.
func limitFile(t *testing.T, d api.Detail, controller, v2, v1 string) string {
	t.Helper()
	path := filepath.Join("/sys/fs/cgroup", d.Running.Cgroup, v2)
	if !unified(t) {
		path = filepath.Join("/sys/fs/cgroup", controller, d.Running.Cgroup, v1)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func unified(t *testing.T) bool {
	t.Helper()
	l, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	return l.Mode == cgroup.Unified
}

func inForce(t *testing.T, d api.Detail) limits {
	t.Helper()
	number := func(text string) int64 {
		if text == "max" || text == "-1" {
			return 0
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatalf("a limit is %q", text)
		}
		if n > 1<<62 {
			n = 0
		}
		return n
	}
	quota, _, _ := strings.Cut(limitFile(t, d, "cpu", "cpu.max", "cpu.cfs_quota_us"), " ")
	l := limits{
		CPU:    float64(number(quota)) / 100_000,
		Memory: config.Size(number(limitFile(t, d, "memory", "memory.max", "memory.limit_in_bytes"))),
		Pids:   number(limitFile(t, d, "pids", "pids.max", "pids.max")),
	}
	r := config.Resources{CPU: l.CPU}
	weight, want := limitFile(t, d, "cpu", "cpu.weight", "cpu.shares"), r.CPUShares()
	if unified(t) {
		want = r.CPUWeight()
	}
	if weight != strconv.FormatUint(want, 10) {
		t.Errorf("%v cores weigh %s, want %d", l.CPU, weight, want)
	}
	if swap := limitFile(t, d, "memory", "memory.swap.max", "memory.memsw.limit_in_bytes"); unified(t) {
		l.Swap = config.Size(number(swap))
		if high := limitFile(t, d, "memory", "memory.high", ""); high != "max" {
			t.Errorf("memory.high is left at %s", high)
		}
		if frozen := limitFile(t, d, "", "cgroup.freeze", ""); frozen != "0" {
			t.Error("it is left frozen")
		}
	} else if l.Memory > 0 {
		l.Swap = config.Size(number(swap)) - l.Memory
	}
	return l
}

func oomKills(t *testing.T, h *host, name string) int {
	t.Helper()
	text := limitFile(t, h.inspect(name), "memory", "memory.events", "memory.oom_control")
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			kills, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			return kills
		}
	}
	t.Fatalf("no count of kills in %q", text)
	return 0
}

func processors(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(data)), ",") {
		from, to, span := strings.Cut(part, "-")
		a, _ := strconv.Atoi(from)
		b := a
		if span {
			b, _ = strconv.Atoi(to)
		}
		n += b - a + 1
	}
	return n
}

// TestResizeRounds resizes at random, up and down, under load, and kills the
// daemon with SIGKILL at random moments: afterwards the kernel enforces what the
// record says, and no program was killed for it.
func TestResizeRounds(t *testing.T) { resizeRounds(t, realHost(t), rounds(10)) }

func resizeRounds(t *testing.T, h *host, n int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	alive, _ := holding(t, h, "w", 100)
	// Something forks, reads and takes memory all the while.
	h.must("exec", "w", "--", "sh", "-c", `dd if=/dev/zero of=/home/dev/file bs=1M count=64 2>/dev/null
setsid sh -c 'while :; do cat /home/dev/file | head -c 8M | tail -c 4M > /dev/null; done' > /dev/null 2>&1 & :`)
	counts := map[string]int{}
	for i := range n {
		was := agree(t, h, "w")
		args := []string{"resize", "w"}
		add := func(flag string, values ...string) {
			if rng.IntN(2) == 0 {
				args = append(args, flag, values[rng.IntN(len(values))])
			}
		}
		add("--memory", "64MiB", "160MiB", "192MiB", "256MiB", "512MiB", "0")
		add("--cpu", "0.2", "1", "2", "0")
		add("--pids", "32", "100", "400", "0")
		if len(args) == 2 {
			args = append(args, "--cpu", "1.5")
		}
		answered := make(chan string, 1)
		cmd := h.command(t.Context(), args...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			if cmd.Wait() == nil {
				answered <- "done"
				return
			}
			if strings.Contains(stderr.String(), "in use") {
				answered <- "in use"
				return
			}
			answered <- "lost"
		}()
		outcome := ""
		kill := rng.IntN(2) == 0
		if kill {
			<-time.After(time.Duration(rng.IntN(40)) * time.Millisecond)
			h.kill()
		}
		outcome = <-answered
		if kill {
			h.must("daemon", "start")
			settle(h)
		} else if outcome == "lost" {
			t.Fatalf("round %d: %v: %s", i, args, stderr.String())
		}
		counts[outcome]++
		now := agree(t, h, "w")
		if outcome == "in use" && !kill && now != was {
			t.Errorf("round %d: %v was refused and left %+v of %+v", i, args, now, was)
		}
		if state := stateOf(h, "w"); state != lifecycle.Started || t.Failed() {
			t.Fatalf("round %d: %v: %s, it is %s", i, args, outcome, state)
		}
	}
	if !alive() {
		t.Error("the program that held memory is gone")
	}
	h.must("rm", "w")
	var text []string
	for k, v := range counts {
		text = append(text, fmt.Sprintf("%s: %d", k, v))
	}
	slices.Sort(text)
	t.Logf("%d rounds: %s", n, strings.Join(text, ", "))
}

// TestResizeDisk grows disks: of a sandbox that runs where the kernel lets us, and of
// one that is stopped.
func TestResizeDisk(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "d", "--disk", "64MiB")
	h.must("exec", "d", "--", "sh", "-c", "head -c 30M /dev/urandom > ~/file; sha256sum ~/file > ~/sum")
	size := func(want int) {
		t.Helper()
		if got := strings.TrimSpace(h.must("exec", "d", "--", "df", "--output=size", "-B1M", "/")); !strings.HasSuffix(got, " "+strconv.Itoa(want)) {
			t.Errorf("df says %q, want %d MiB", got, want)
		}
		if d := h.inspect("d"); d.Spec.Resources.Disk != config.Size(want)*config.MiB {
			t.Errorf("its record says %v, want %d MiB", d.Spec.Resources.Disk, want)
		}
		h.must("exec", "d", "--", "sh", "-c", "sha256sum -c --quiet ~/sum")
	}
	for disk, words := range map[string][]string{
		"32MiB": {"resources.disk: a disk only grows: it has 64MiB, and cannot shrink to 32MiB", "cove cp"},
		"0":     {"resources.disk: its quota of 64MiB cannot be taken away"},
	} {
		h.refuse(2, words, "resize", "d", "--disk", disk, "--cpu", "1")
	}
	h.must("create", "-p", "shell", "-n", "none")
	h.refuse(2, []string{"resources.disk: it was made without a disk of its own, and cannot be given one of 64MiB"}, "resize", "none", "--disk", "64MiB")
	h.must("rm", "none")

	begin := time.Now()
	if _, stderr, code := h.cove("resize", "d", "--disk", "96MiB", "--cpu", "1"); code != 0 {
		// Some machines keep CAP_SYS_RESOURCE to themselves.
		h.refuse(1, []string{"d: its disk cannot grow while it runs", "stop it first: cove stop d"}, "resize", "d", "--disk", "96MiB", "--cpu", "1")
		t.Logf("while it runs: %s", stderr)
		if got := agree(t, h, "d"); got.CPU != 2 {
			t.Errorf("a resize that was refused left %+v", got)
		}
		size(64)
		h.must("stop", "d")
		begin = time.Now()
		h.must("resize", "d", "--disk", "96MiB", "--cpu", "1")
		t.Logf("offline in %v", time.Since(begin))
		h.must("start", "d")
	} else {
		t.Logf("live in %v", time.Since(begin))
	}
	if got := agree(t, h, "d"); got.CPU != 1 {
		t.Errorf("in force is %+v", got)
	}
	size(96)

	// Killed on the way, the next start does it to the end.
	h.must("stop", "d")
	want := 96
	for _, stage := range []string{"promised", "grown"} {
		want += 32
		h.must("daemon", "stop")
		ended := h.daemonThatDies("resize." + stage)
		if out, stderr, code := h.cove("resize", "d", "--disk", fmt.Sprintf("%dMiB", want)); code != 1 {
			t.Errorf("resize while the daemon dies: status %d\n%s%s", code, out, stderr)
		}
		ended()
		h.must("daemon", "start")
		settle(h)
		h.must("start", "d")
		size(want)
		h.must("stop", "d")
	}
	h.must("rm", "d")
}
