package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cove/config"
)

const (
	testInst = "0c0ffe"
	testID   = "0123456789ab"
)

func TestNamesAreChecked(t *testing.T) {
	l := Layout{Mode: Unified, Parent: "/", Hierarchies: []Hierarchy{{Path: t.TempDir(), V2: true}}}
	for _, inst := range []string{"", "abc", "abcdeg", "../../", "ABCDEF", "0123456"} {
		if _, err := New(l, inst); !errors.Is(err, ErrInvalid) {
			t.Errorf("New with %q: %v", inst, err)
		}
	}
	if _, err := New(Layout{}, testInst); !errors.Is(err, ErrNone) {
		t.Errorf("New without hierarchies: %v", err)
	}
	tree, err := New(l, testInst)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", ".", "..", "0123456789a", "0123456789abc", "0123456789ag", "../../../abc", "/"} {
		_, oomErr := tree.OOMKills(id)
		_, procsErr := tree.Procs(id)
		for name, err := range map[string]error{
			"OOMKills": oomErr, "Procs": procsErr, "Kill": tree.Kill(t.Context(), id), "Remove": tree.Remove(t.Context(), id),
		} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s of %q: %v", name, id, err)
			}
		}
	}
}

func TestOCIPath(t *testing.T) {
	for parent, want := range map[string]string{
		"/":                          "/cove-0c0ffe/0123456789ab",
		"/system.slice/cove.service": "/system.slice/cove.service/cove-0c0ffe/0123456789ab",
	} {
		tree, err := New(Layout{Mode: Unified, Parent: parent, Hierarchies: []Hierarchy{{Path: "/x", V2: true}}}, testInst)
		if err != nil {
			t.Fatal(err)
		}
		if got := tree.OCIPath(testID); got != want {
			t.Errorf("below %s: %s, want %s", parent, got, want)
		}
	}
}

// fixture is a tree over plain directories: enough for what is only read.
func fixture(t *testing.T, mode Mode, hierarchies map[string][]string, files map[string]string) *Tree {
	t.Helper()
	root := t.TempDir()
	l := Layout{Mode: mode, Parent: "/"}
	for name, controllers := range hierarchies {
		l.Hierarchies = append(l.Hierarchies, Hierarchy{
			Path: filepath.Join(root, "cg", name), V2: mode == Unified || name == "unified", Controllers: controllers,
		})
	}
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := New(l, testInst)
	if err != nil {
		t.Fatal(err)
	}
	tree.proc = filepath.Join(root, "proc")
	return tree
}

const (
	noSwap   = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	someSwap = noSwap + "/dev/vdb partition 1048572 0 -2\n"
)

func TestWarnings(t *testing.T) {
	all := config.Resources{CPU: 2, Memory: 1 << 30, Pids: 100, IORead: 1, IOWrite: 1}
	v1 := map[string][]string{"cpu": {"cpu"}, "memory": {"memory"}, "pids": {"pids"}, "blkio": {"blkio"}}
	const (
		uncounted   = "programs count this machine's processors: this host gives cove no cpuset controller"
		direct      = "resources.io_write holds for direct writes only: cgroup v1"
		swapWarning = "resources.swap is not enforced: this kernel does not count swap for groups"
	)
	tests := map[string]struct {
		mode        Mode
		hierarchies map[string][]string
		files       map[string]string
		lacking     []string
		r           config.Resources
		want        []string
	}{
		"v2 with everything": {
			mode: Unified, hierarchies: map[string][]string{"": {"cpu", "cpuset", "io", "memory", "pids"}},
			files: map[string]string{"proc/swaps": someSwap, "cg/cove-0c0ffe/memory.swap.max": "0"}, r: all,
		},
		"v2 without swap accounting": {
			mode: Unified, hierarchies: map[string][]string{"": {"cpu", "cpuset", "io", "memory", "pids"}},
			files: map[string]string{"proc/swaps": someSwap}, r: all, want: []string{swapWarning},
		},
		"v2 without swap accounting and without swap": {
			mode: Unified, hierarchies: map[string][]string{"": {"cpu", "cpuset", "io", "memory", "pids"}},
			files: map[string]string{"proc/swaps": noSwap}, r: all,
		},
		"v2 that did not give us all": {
			mode: Unified, hierarchies: map[string][]string{"": {"cpu", "io", "memory"}},
			files: map[string]string{"proc/swaps": noSwap}, lacking: []string{"cpu", "pids"}, r: all,
			want: []string{
				"resources.cpu is not enforced: this host gives cove no cpu controller",
				"resources.pids is not enforced: this host gives cove no pids controller", uncounted,
			},
		},
		"what is not asked for is not missed": {mode: Unified, hierarchies: map[string][]string{"": nil}},
		"v1": {
			mode: Legacy, hierarchies: v1, r: all, want: []string{uncounted, direct},
			files: map[string]string{"proc/swaps": someSwap, "cg/memory/memory.memsw.limit_in_bytes": "1"},
		},
		"v1 without memory": {
			mode: Legacy, hierarchies: map[string][]string{"cpu": {"cpu"}, "pids": {"pids"}, "blkio": {"blkio"}}, r: all,
			want: []string{"resources.memory is not enforced: this host gives cove no memory controller", uncounted, direct},
		},
		"hybrid, swap not counted": {
			mode: Hybrid, hierarchies: v1, r: config.Resources{Memory: 1}, files: map[string]string{"proc/swaps": someSwap},
			want: []string{swapWarning},
		},
		"hybrid, a controller of v2 is no use": {
			mode: Hybrid, hierarchies: map[string][]string{"cpu": {"cpu"}, "unified": {"pids"}}, r: config.Resources{Pids: 1},
			want: []string{"resources.pids is not enforced: this host gives cove no pids controller"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tree := fixture(t, tt.mode, tt.hierarchies, tt.files)
			tree.lacking = tt.lacking
			if d := cmp.Diff(tt.want, tree.Warnings(tt.r)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	v2 := map[string][]string{"": {"cpu", "cpuset", "io", "memory", "pids"}}
	v1 := map[string][]string{"cpu": {"cpu"}, "memory": {"memory"}, "pids": {"pids"}, "cpuset": {"cpuset"}}
	swap := map[string]string{"cg/cove-0c0ffe/memory.swap.max": "0", "cg/memory/memory.memsw.limit_in_bytes": "1"}
	for name, tt := range map[string]struct {
		mode        Mode
		hierarchies map[string][]string
		delegated   bool
		lacking     []string
		want        string
		err         error
	}{
		"v2":                  {Unified, v2, false, nil, "v2 at ROOT/cove-0c0ffe: cpu cpuset io memory pids", nil},
		"delegated, in part":  {Unified, v2, true, []string{"io"}, "v2 at ROOT/cove-0c0ffe, delegated by systemd: cpu cpuset memory pids; this host lacks controllers io", nil},
		"without what limits": {Unified, v2, false, []string{"cpu", "pids"}, "v2 at ROOT/cove-0c0ffe: cpuset io memory", ErrUnavailable},
		"hybrid": {
			Hybrid, v1, false, nil,
			"hybrid below /cove-0c0ffe: cpu cpuset memory pids; this host lacks controllers io, limits of writes that are cached, bytes of disks that have no limit", nil,
		},
		"v1": {
			Legacy, v1, false, nil,
			"v1 below /cove-0c0ffe: cpu cpuset memory pids; this host lacks controllers io, limits of writes that are cached, bytes of disks that have no limit, pressure", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fixture(t, tt.mode, tt.hierarchies, swap)
			tree.lacking, tree.layout.Delegated = tt.lacking, tt.delegated
			got, err := tree.Describe()
			got = strings.ReplaceAll(got, tree.layout.Hierarchies[0].Path, "ROOT")
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%s\n%v", got, err)
			}
		})
	}
}

func TestOOMKillsOfFixtures(t *testing.T) {
	v1 := map[string][]string{"memory": {"memory"}}
	v2 := map[string][]string{"": {"memory"}}
	const group = "cove-" + testInst + "/" + testID
	tests := map[string]struct {
		mode        Mode
		hierarchies map[string][]string
		path, text  string
		want        uint64
		err         error
	}{
		"v1":            {Legacy, v1, "cg/memory/" + group + "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7, nil},
		"v1, old":       {Legacy, v1, "cg/memory/" + group + "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0, ErrUnavailable},
		"v2":            {Unified, v2, "cg/" + group + "/memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 9\n", 2, nil},
		"no group":      {Unified, v2, "cg/other", "", 0, fs.ErrNotExist},
		"no controller": {Legacy, map[string][]string{"cpu": {"cpu"}}, "cg/other", "", 0, ErrUnavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := fixture(t, tt.mode, tt.hierarchies, map[string]string{tt.path: tt.text}).OOMKills(testID)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%d, %v; want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestList(t *testing.T) {
	tree := fixture(t, Hybrid, map[string][]string{"memory": {"memory"}, "cpu": {"cpu"}, "unified": nil}, map[string]string{
		"cg/memory/cove-0c0ffe/0123456789ab/x":  "",
		"cg/cpu/cove-0c0ffe/0123456789ab/x":     "",
		"cg/cpu/cove-0c0ffe/aaaaaaaaaaaa/x":     "", // in one hierarchy only
		"cg/cpu/cove-0c0ffe/not-a-sandbox/x":    "",
		"cg/cpu/cove-0c0ffe/bbbbbbbbbbbb":       "", // a file
		"cg/cpu/cove-abcdef/cccccccccccc/x":     "", // another instance's
		"cg/unified/cove-0c0ffe/dddddddddddd/x": "",
	})
	got, err := tree.List()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"0123456789ab", "aaaaaaaaaaaa", "dddddddddddd", "not-a-sandbox"}, got); d != "" {
		t.Error(d)
	}
}
