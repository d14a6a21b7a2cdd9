package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// machine is a host's files below a directory.
type machine struct {
	mountinfo string
	cgroup    string
	// controllers of v2 mounts, by mount point; groups to make below; delegated
	// of them, with the attribute that says so.
	controllers map[string]string
	groups      []string
	delegated   map[string]string
}

func (m machine) build(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/self/mountinfo", m.mountinfo)
	write("proc/self/cgroup", m.cgroup)
	for mount, c := range m.controllers {
		write(mount+"/cgroup.controllers", c)
	}
	for _, g := range m.groups {
		if err := os.MkdirAll(filepath.Join(root, g), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for g, attr := range m.delegated {
		err := unix.Lsetxattr(filepath.Join(root, g), attr, []byte("1"), 0)
		if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
			t.Skipf("this file system keeps no %s attributes here: %v", attr, err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	hybridMounts = `25 1 253:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,xattr,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/systemd/agent,name=systemd
`
	unifiedLine = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
	v2Mounts    = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
	v2All       = "cpuset cpu io memory hugetlb pids rdma misc\n"
)

func TestDetect(t *testing.T) {
	v1 := []Hierarchy{
		{Path: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}},
		{Path: "/sys/fs/cgroup/memory", Controllers: []string{"memory"}},
		{Path: "/sys/fs/cgroup/pids", Controllers: []string{"pids"}},
		{Path: "/sys/fs/cgroup/freezer", Controllers: []string{"freezer"}},
		{Path: "/sys/fs/cgroup/blkio", Controllers: []string{"blkio"}},
		{Path: "/sys/fs/cgroup/systemd", Controllers: []string{"name=systemd"}},
	}
	v2 := []Hierarchy{{Path: "/sys/fs/cgroup", V2: true, Controllers: strings.Fields(v2All)}}
	const unit = "/system.slice/cove.service"
	tests := map[string]struct {
		m    machine
		want Layout
		err  error
	}{
		"v1": {
			m:    machine{mountinfo: hybridMounts, cgroup: "4:memory:/nested/deep\n"},
			want: Layout{Mode: Legacy, Parent: "/", Hierarchies: v1},
		},
		"hybrid": {
			m:    machine{mountinfo: hybridMounts + unifiedLine, cgroup: "0::/\n", controllers: map[string]string{"/sys/fs/cgroup/unified": "\n"}},
			want: Layout{Mode: Hybrid, Parent: "/", Hierarchies: append(slices.Clone(v1), Hierarchy{Path: "/sys/fs/cgroup/unified", V2: true, Controllers: []string{}})},
		},
		"a v2 mount where the runtime does not look": {
			m:    machine{mountinfo: hybridMounts + "41 31 0:38 / /mnt/cg rw - cgroup2 cgroup2 rw\n42 31 0:38 / /sys/fs/cgroup/other rw - cgroup2 cgroup2 rw\n", cgroup: "0::/\n", controllers: map[string]string{"/sys/fs/cgroup/other": ""}},
			want: Layout{Mode: Legacy, Parent: "/", Hierarchies: v1},
		},
		"the same v1 hierarchy twice": {
			m:    machine{mountinfo: hybridMounts + "50 31 0:32 / /sys/fs/cgroup/again rw - cgroup cgroup rw,memory\n", cgroup: ""},
			want: Layout{Mode: Legacy, Parent: "/", Hierarchies: v1},
		},
		"hidden by a mount above": {
			m:    machine{mountinfo: hybridMounts + v2Mounts, cgroup: "0::/\n", controllers: map[string]string{"/sys/fs/cgroup": v2All}},
			want: Layout{Mode: Unified, Parent: "/", Hierarchies: v2},
		},
		"hidden for good": {
			m:   machine{mountinfo: v2Mounts + "99 23 0:99 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", cgroup: "0::/\n"},
			err: ErrNone,
		},
		"none": {m: machine{mountinfo: "25 1 253:0 / / rw,relatime - ext4 /dev/vda rw\n", cgroup: ""}, err: ErrNone},
		"v2 without systemd": {
			m:    machine{mountinfo: v2Mounts, cgroup: "0::/init.scope\n", controllers: map[string]string{"/sys/fs/cgroup": v2All}},
			want: Layout{Mode: Unified, Parent: "/", Hierarchies: v2},
		},
		"v2, a unit that is not delegated": {
			m:    machine{mountinfo: v2Mounts, cgroup: "0::" + unit + "\n", controllers: map[string]string{"/sys/fs/cgroup": v2All}, groups: []string{"/sys/fs/cgroup" + unit}},
			want: Layout{Mode: Unified, Parent: "/", Hierarchies: v2},
		},
		"v2, a systemd that knows no leaf": {
			m: machine{
				mountinfo: v2Mounts, cgroup: "0::" + unit + "\n", controllers: map[string]string{"/sys/fs/cgroup": v2All},
				groups: []string{"/sys/fs/cgroup" + unit}, delegated: map[string]string{"/sys/fs/cgroup" + unit: "user.delegate"},
			},
			want: Layout{Mode: Unified, Parent: "/", Hierarchies: v2},
		},
		"v2, in the leaf of a delegated unit": {
			m: machine{
				mountinfo: v2Mounts, cgroup: "0::" + unit + "/daemon\n", controllers: map[string]string{"/sys/fs/cgroup": v2All},
				groups: []string{"/sys/fs/cgroup" + unit + "/daemon"}, delegated: map[string]string{"/sys/fs/cgroup" + unit: "user.delegate"},
			},
			want: Layout{Mode: Unified, Parent: unit, Delegated: true, Hierarchies: v2},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := tt.m.build(t)
			got, err := detect(root)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			for i := range got.Hierarchies {
				got.Hierarchies[i].Path = strings.TrimPrefix(got.Hierarchies[i].Path, root)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOwnGroup(t *testing.T) {
	for _, tt := range []struct{ cgroup, root, want string }{
		{"0::/\n", "/", "/"},
		{"12:pids:/x\n0::/a/b\n", "/", "/a/b"},
		{"0::/docker/abc/daemon\n", "/docker/abc", "/daemon"},
		{"0::/docker/abc\n", "/docker/abc", "/"},
		{"0::/docker/abcdef\n", "/docker/abc", "/"}, // not below it
		{"0::/../outside\n", "/", "/"},              // not in our namespace
		{"0::/a/../b\n", "/", "/"},
		{"0::0", "/", "/"},
		{"0::/gone (deleted)\n", "/", "/gone"},
		{"1:cpu:/x\n", "/", "/"},
		{"", "/", "/"},
	} {
		if got := ownGroup([]byte(tt.cgroup), tt.root); got != tt.want {
			t.Errorf("ownGroup(%q, %q) = %q, want %q", tt.cgroup, tt.root, got, tt.want)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add([]byte(hybridMounts + unifiedLine))
	f.Add([]byte(v2Mounts))
	f.Add([]byte(`1 2 0:1 / /sys/fs/cgroup\040x rw - cgroup2 a rw` + "\n"))
	f.Add([]byte(`1 2 0:1 \ /sys/fs/cgroup/a\04 rw - cgroup a ,,=,name=`))
	f.Fuzz(func(t *testing.T, data []byte) {
		targets := map[string]bool{}
		for _, m := range parseMounts(data) {
			if targets[m.target] {
				t.Errorf("two hierarchies at %s", m.target)
			}
			targets[m.target] = true
			if m.target != mountRoot && filepath.Dir(m.target) != mountRoot {
				t.Errorf("a hierarchy at %s", m.target)
			}
			if !m.v2 && len(m.controllers) == 0 {
				t.Errorf("a v1 hierarchy with nothing in it at %s", m.target)
			}
		}
	})
}

func FuzzOwnGroup(f *testing.F) {
	f.Add([]byte("0::/a/b\n"), "/a")
	f.Add([]byte("0::/../b\n"), "/")
	f.Fuzz(func(t *testing.T, data []byte, root string) {
		if g := ownGroup(data, root); !strings.HasPrefix(g, "/") || strings.Contains(g, "/../") {
			t.Errorf("group %q", g)
		}
	})
}
