package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// v1Files are what a group of the machine that this was made on has (Linux
// 6.18), with a program in it.
func v1Files() map[string]string {
	return map[string]string{
		"cpuacct/cpuacct.usage":            "1234567890\n",
		"cpu/cpu.cfs_quota_us":             "150000\n",
		"cpu/cpu.cfs_period_us":            "100000\n",
		"memory/memory.usage_in_bytes":     "50003968\n",
		"memory/memory.max_usage_in_bytes": "60000000\n",
		"memory/memory.stat": "cache 40000000\nrss 10000000\nswap 1\ninactive_file 30000000\nhierarchical_memory_limit 4294967296\n" +
			"hierarchical_memsw_limit 9223372036854771712\ntotal_cache 40000000\ntotal_swap 4096\ntotal_inactive_anon 3\n" +
			"total_inactive_file 30000000\ntotal_active_file 7\n",
		"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"cpu/cpu.stat":              "nr_periods 9\nnr_throttled 4\nthrottled_time 1500000000\nnr_bursts 0\nburst_time 0\n",
		"blkio/blkio.throttle.io_service_bytes": "254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 12288\n254:0 Total 12288\n" +
			"7:1 Read 4096\n7:1 Write 8192\n7:1 Total 12288\n8:0 Read 1\n8:0 Write 1\nTotal 12290\n",
		"pids/pids.current": "3\n",
		"pids/pids.max":     "4096\n",
		"v2/cpu.pressure":   someCPU, "v2/memory.pressure": someMemory, "v2/io.pressure": someIO,
	}
}

// Pressure as the kernel tells it.
const (
	someCPU    = "some avg10=12.50 avg60=1.00 avg300=0.00 total=4711\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
	someMemory = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=0\n"
	someIO     = "some avg10=100.00 avg60=50.00 avg300=0.00 total=1\nfull avg10=100.00 avg60=0.00 avg300=0.00 total=0\n"
)

// v2Files are those of a unified host (Linux 6.12).
func v2Files() map[string]string {
	return map[string]string{
		"cpu.stat": "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnice_usec 0\ncore_sched.force_idle_usec 0\nnr_periods 0\n" +
			"nr_throttled 4\nthrottled_usec 1500000\nnr_bursts 0\nburst_usec 0\n",
		"cpu.max":             "150000 100000\n",
		"memory.current":      "50003968\n",
		"memory.peak":         "60000000\n",
		"memory.stat":         "anon 10000000\nfile 40000000\nkernel 3968\ninactive_anon 9\nactive_anon 1\ninactive_file 30000000\nactive_file 7\n",
		"memory.max":          "4294967296\n",
		"memory.swap.current": "4096\n",
		"pids.current":        "3\n",
		"pids.max":            "4096\n",
		"memory.events":       "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 0\n",
		"io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:1 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n" +
			"8:0 rbytes=1 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n253:0 \n",
		"cpu.pressure": someCPU, "memory.pressure": someMemory, "io.pressure": someIO,
	}
}

// fakeTree is a host's control groups as plain files.
func fakeTree(t testing.TB, mode Mode, files map[string]string) *Tree {
	t.Helper()
	root := t.TempDir()
	l := Layout{Mode: mode, Parent: "/"}
	if mode == Unified {
		l.Hierarchies = []Hierarchy{{Path: root, V2: true, Controllers: []string{"cpu", "io", "memory", "pids"}}}
	} else {
		for _, c := range []string{"cpuacct", "cpu", "memory", "pids", "blkio"} {
			l.Hierarchies = append(l.Hierarchies, Hierarchy{Path: filepath.Join(root, c), Controllers: []string{c}})
		}
		if mode == Hybrid {
			l.Hierarchies = append(l.Hierarchies, Hierarchy{Path: filepath.Join(root, v2), V2: true})
		}
	}
	tree, err := New(l, "abcdef")
	if err != nil {
		t.Fatal(err)
	}
	fill(t, tree, testID, files)
	return tree
}

// fill makes a group's files.
func fill(t testing.TB, tree *Tree, id string, files map[string]string) {
	t.Helper()
	for _, h := range tree.layout.Hierarchies {
		if err := os.MkdirAll(tree.dir(h, id), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		controller, file, ok := strings.Cut(name, "/")
		h := tree.layout.Hierarchies[0]
		if ok {
			h, ok = tree.counting(figure{controller: controller})
			if controller == "blkio" {
				h, ok = tree.with("io")
			}
			if !ok {
				continue
			}
		} else {
			file = name
		}
		if err := os.WriteFile(filepath.Join(tree.dir(h, id), file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// unpressed is a usage without pressure, which version 1 does not tell.
func unpressed(u *Usage) {
	u.CPUPressure, u.MemoryPressure, u.IOPressure = 0, 0, 0
	u.Missing = []Quantity{CPUPressure, MemoryPressure, IOPressure}
}

func TestUsage(t *testing.T) {
	whole := Usage{
		Throttled: 1500 * time.Millisecond, OOMKills: 2, IORead: 4097, IOWrite: 8193, CPUPressure: 0.125, IOPressure: 1,
		CPULimit: 1.5, Memory: 20003968, MemoryPeak: 60000000, MemoryLimit: 4294967296, Swap: 4096, Pids: 3, PidsLimit: 4096,
	}
	v1, unified := whole, whole
	v1.CPU, unified.CPU = 1234567890, 1234567*time.Microsecond
	for name, tt := range map[string]struct {
		mode  Mode
		files map[string]string
		set   map[string]string // "" takes the file away
		want  func(*Usage)
	}{
		"v1": {mode: Legacy, want: unpressed}, "hybrid": {mode: Hybrid}, "v2": {mode: Unified},
		"v1, no limits": {mode: Legacy, set: map[string]string{
			"cpu/cpu.cfs_quota_us": "-1\n", "pids/pids.max": "max\n",
			"memory/memory.stat": strings.Replace(v1Files()["memory/memory.stat"], "4294967296", "9223372036854771712", 1),
		}, want: func(u *Usage) { u.CPULimit, u.MemoryLimit, u.PidsLimit = 0, 0, 0; unpressed(u) }},
		"v2, no limits": {mode: Unified, set: map[string]string{"cpu.max": "max 100000\n", "pids.max": "max\n", "memory.max": "max\n"},
			want: func(u *Usage) { u.CPULimit, u.MemoryLimit, u.PidsLimit = 0, 0, 0 }},
		"v1 without accounting of swap": {mode: Legacy,
			set:  map[string]string{"memory/memory.stat": strings.Replace(v1Files()["memory/memory.stat"], "total_swap 4096\n", "", 1)},
			want: func(u *Usage) { unpressed(u); u.Swap, u.Missing = 0, append(u.Missing, Swap) }},
		"v1 that counts no bytes": {mode: Hybrid, set: map[string]string{"blkio/blkio.throttle.io_service_bytes": "Total 0\n"},
			want: func(u *Usage) { u.IORead, u.IOWrite, u.Missing = 0, 0, []Quantity{IO} }},
		"v2 before 5.19, without swap": {mode: Unified, set: map[string]string{"memory.peak": "", "memory.swap.current": ""},
			want: func(u *Usage) { u.MemoryPeak, u.Swap, u.Missing = 0, 0, []Quantity{MemoryPeak, Swap} }},
		"more inactive pages than memory": {mode: Unified, set: map[string]string{"memory.current": "4096\n"},
			want: func(u *Usage) { u.Memory = 0 }},
		"numbers beyond all bounds": {mode: Unified, set: map[string]string{
			"memory.peak": "99999999999999999999\n", "cpu.stat": "usage_usec 18446744073709551615\nthrottled_usec 1500000\n", "pids.current": "-7\n"},
			want: func(u *Usage) {
				u.MemoryPeak, u.CPU, u.Pids = math.MaxInt64, math.MaxInt64/1000*time.Microsecond, 0
			}},
		"nonsense": {mode: Unified, set: map[string]string{
			"memory.current": "lots\n", "cpu.stat": "usage_usecs 7\nusage_usec\nusage_usec x\n", "pids.current": "\n", "cpu.max": "5 0\n", "memory.stat": "\x00", "cpu.pressure": "some avg10=NaN", "memory.pressure": "", "io.pressure": "some avg10=101\n"},
			want: func(u *Usage) {
				u.CPU, u.Memory, u.Pids, u.CPULimit, u.Throttled = 0, 0, 0, 0, 0
				u.CPUPressure, u.IOPressure = 0, 0
				u.Missing = []Quantity{MemoryPressure, CPU, Throttled, Memory, Pids, CPUPressure, IOPressure}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			files, want := v1Files(), v1
			if tt.mode == Unified {
				files, want = v2Files(), unified
			}
			for name, text := range tt.set {
				if files[name] = text; text == "" {
					delete(files, name)
				}
			}
			if tt.want != nil {
				tt.want(&want)
			}
			meters := fakeTree(t, tt.mode, files).Meters()
			defer meters.Keep(func(string) bool { return false })
			for range 2 { // opened, and kept open
				got, err := meters.Usage(testID)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

// TestUsageMissingControllers: what a host has no controller for is missing, the
// rest is told.
func TestUsageMissingControllers(t *testing.T) {
	tree := fakeTree(t, Legacy, v1Files())
	tree.layout.Hierarchies = slices.DeleteFunc(tree.layout.Hierarchies, func(h Hierarchy) bool {
		return slices.Contains(h.Controllers, "memory") || slices.Contains(h.Controllers, "cpuacct")
	})
	u, err := tree.Meters().Usage(testID)
	if err != nil || u.Pids != 3 || u.CPULimit != 1.5 || !slices.Equal(u.Missing, []Quantity{CPU, OOMs, Memory, MemoryPeak, Swap, CPUPressure, MemoryPressure, IOPressure}) {
		t.Errorf("%+v, %v", u, err)
	}
	tree.layout.Hierarchies = []Hierarchy{{Path: t.TempDir(), Controllers: []string{"name=systemd"}}}
	if _, err := tree.Meters().Usage(testID); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a host that counts nothing: %v", err)
	}
}

func TestUsageGone(t *testing.T) {
	tree := fakeTree(t, Legacy, v1Files())
	meters := tree.Meters()
	for _, id := range []string{"ffffffffffff", "../../../etc"} {
		if _, err := meters.Usage(id); err == nil {
			t.Errorf("%s has a usage", id)
		}
	}
	// A group that is taken away or made just now is there in part.
	h, _ := tree.with("memory")
	if err := os.RemoveAll(tree.dir(h, testID)); err != nil {
		t.Fatal(err)
	}
	if _, err := meters.Usage(testID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a group: %v", err)
	}
	if n := len(meters.open); n != 0 {
		t.Errorf("%d groups are open", n)
	}
}

// openFiles counts this process's files below a directory.
func openFiles(t testing.TB, dir string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

// TestMetersAreBounded: however many groups there are, so many have open files.
func TestMetersAreBounded(t *testing.T) {
	tree := fakeTree(t, Unified, v2Files())
	var ids []string
	for i := range 20 {
		ids = append(ids, fmt.Sprintf("%012x", i))
		fill(t, tree, ids[i], v2Files())
	}
	meters := tree.Meters()
	meters.most = 5
	for range 2 {
		for _, id := range ids {
			if u, err := meters.Usage(id); err != nil || u.Pids != 3 {
				t.Fatal(u, err)
			}
		}
	}
	root := tree.layout.Hierarchies[0].Path
	if n := openFiles(t, root); n != 5*len(v2Figures(nil)) {
		t.Errorf("%d open files", n)
	}
	meters.Keep(func(id string) bool { return id == ids[2] })
	if n := openFiles(t, root); n != len(v2Figures(nil)) {
		t.Errorf("%d open files of one group", n)
	}
	meters.Keep(func(string) bool { return false })
	if n := openFiles(t, root); n != 0 {
		t.Errorf("%d open files of none", n)
	}
}

// TestRealUsage has a program use what it is told to, on the machine's own groups.
func TestRealUsage(t *testing.T) {
	tree := realTree(t, nil)
	id := randomHex(t, 12)
	mkdir(t, tree, tree.dirs(id)...)
	meters := tree.Meters()
	t.Cleanup(func() { meters.Keep(func(string) bool { return false }) })
	before, err := meters.Usage(id)
	if err != nil {
		t.Fatal(err)
	}
	if before.Pids != 0 || before.CPU > time.Second {
		t.Errorf("an empty group: %+v", before)
	}
	cmd := start(t, tree.dirs(id), "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; exec sleep 1000")
	deadline := time.Now().Add(enough)
	var u Usage
	for u.CPU < 10*time.Millisecond {
		if u, err = meters.Usage(id); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %+v", enough, u)
		}
	}
	if tree.Has("pids") && u.Pids != 1 || tree.Has("memory") && (u.Memory <= 0 || u.MemoryPeak < u.Memory) {
		t.Errorf("%+v", u)
	}
	kill(t, tree, id)
	killedBySignal(t, cmd)
	remove(t, tree, id)
	// The open files of a group that is gone are of no use.
	if _, err := meters.Usage(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed group: %v", err)
	}
	// A new one of the same name is found.
	mkdir(t, tree, tree.dirs(id)...)
	if u, err := meters.Usage(id); err != nil || u.CPU >= 10*time.Millisecond {
		t.Errorf("a new group: %+v, %v", u, err)
	}
	remove(t, tree, id)
}

func FuzzFigures(f *testing.F) {
	none := func([]byte) bool { return false }
	for _, text := range v1Files() {
		f.Add([]byte(text))
	}
	for _, text := range v2Files() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fig := range append(v1Figures(none), v2Figures(none)...) {
			var u Usage
			_ = fig.read(&u, data)
			for _, n := range []int64{u.Memory, u.MemoryPeak, u.MemoryLimit, u.Swap, u.Pids, u.PidsLimit, u.IORead, u.IOWrite, u.OOMKills, int64(u.Throttled)} {
				if n < 0 {
					t.Errorf("%s: %+v", fig.file, u)
				}
			}
			for _, n := range []float64{u.CPUPressure, u.MemoryPressure, u.IOPressure} {
				if !(n >= 0 && n <= 1) {
					t.Errorf("%s: pressure %v", fig.file, n)
				}
			}
			if u.CPULimit < 0 || math.IsNaN(u.CPULimit) || math.IsInf(u.CPULimit, 0) {
				t.Errorf("%s: limit %v", fig.file, u.CPULimit)
			}
		}
	})
}

// TestMetersAreCheap holds a sample of 200 groups a second to 2% of a core. The
// thread's own time counts, so that a loaded machine does not.
func TestMetersAreCheap(t *testing.T) {
	tree := realTree(t, nil)
	var ids []string
	for range 200 {
		ids = append(ids, randomHex(t, 12))
		mkdir(t, tree, tree.dirs(ids[len(ids)-1])...)
	}
	meters := tree.Meters()
	t.Cleanup(func() { meters.Keep(func(string) bool { return false }) })
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sample := func() {
		for _, id := range ids {
			if _, err := meters.Usage(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	sample() // which opens the files
	const samples = 20
	begin := threadTime(t)
	for range samples {
		sample()
	}
	each := (threadTime(t) - begin) / samples
	t.Logf("a sample of %d groups takes %v", len(ids), each)
	if most := 20 * time.Millisecond; each > most {
		t.Errorf("more than %v", most)
	}
}

// threadTime is the processor time of this thread.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// BenchmarkUsage is one sample of 200 groups of this machine's.
func BenchmarkUsage(b *testing.B) {
	tree := realTree(b, nil)
	var ids []string
	for range 200 {
		ids = append(ids, randomHex(b, 12))
		mkdir(b, tree, tree.dirs(ids[len(ids)-1])...)
	}
	meters := tree.Meters()
	defer meters.Keep(func(string) bool { return false })
	for b.Loop() {
		for _, id := range ids {
			if _, err := meters.Usage(id); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/200, "µs/group")
}

// TestStacked has a /sys with a disk and a device made of it.
func TestStacked(t *testing.T) {
	sys := t.TempDir()
	for _, dir := range []string{"8:0/slaves", "253:0/slaves/sda"} {
		if err := os.MkdirAll(filepath.Join(sys, "dev/block", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := stack{sys, map[string]bool{}}
	for device, want := range map[string]bool{"8:0": false, "253:0": true, "7:12": true, "70:1": false, "1:1": false} {
		for range 2 {
			if got := s.above([]byte(device)); got != want {
				t.Errorf("%s lies on another: %v", device, got)
			}
		}
	}
}
