package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func facts(t *testing.T) Facts {
	t.Helper()
	dir := t.TempDir()
	f := Facts{
		Inst: fmt.Sprintf("%06x", os.Getpid()&0xffffff), StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
		Sandboxes: map[string]bool{"111111111111": true, "222222222222": true},
		Running:   map[string]bool{"111111111111": true},
		Names:     map[string]string{"one": "111111111111", "two": "222222222222"},
		Leases:    map[uint32]string{1879048192: "111111111111"},
	}
	for _, d := range []string{
		filepath.Join(f.StateDir, "sandboxes", "111111111111"), filepath.Join(f.StateDir, "sandboxes", "222222222222"),
		filepath.Join(f.StateDir, "trash"), filepath.Join(f.RunDir, "sandboxes", "111111111111", "rootfs"), filepath.Join(f.RunDir, "runc", "111111111111"),
	} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.Cgroups, f.Containers = []string{"111111111111"}, []string{"111111111111"}
	return f
}

func TestAuditFindsNothingWhereAllIsAccountedFor(t *testing.T) {
	leaks, err := Audit(facts(t))
	if err != nil || len(leaks) != 0 {
		t.Errorf("leaks %v, %v", leaks, err)
	}
}

func TestAuditNamesEachLeak(t *testing.T) {
	f := facts(t)
	for _, d := range []string{
		filepath.Join(f.StateDir, "sandboxes", ".new-333333333333"), filepath.Join(f.StateDir, "trash", "444444444444"),
		filepath.Join(f.RunDir, "sandboxes", "222222222222"), filepath.Join(f.RunDir, "runc", "555555555555"),
	} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.Cgroups = append(f.Cgroups, "222222222222")
	f.Containers = append(f.Containers, "555555555555")
	f.Leases[1879113728] = "222222222222"
	f.Names["lost"] = "666666666666"
	f.Network = []string{"link cv000000-1"}
	f.GPUs = []string{"nvidia.com/gpu=0 held for 222222222222"}
	leaks, err := Audit(f)
	if err != nil {
		t.Fatal(err)
	}
	want := []Leak{
		{"cgroup", "cove-" + f.Inst + "/222222222222"},
		{"container", "555555555555"},
		{"directory", filepath.Join(f.RunDir, "runc", "555555555555")},
		{"directory", filepath.Join(f.RunDir, "sandboxes", "222222222222")},
		{"directory", filepath.Join(f.StateDir, "sandboxes", ".new-333333333333")},
		{"directory", filepath.Join(f.StateDir, "trash", "444444444444")},
		{"gpu", "nvidia.com/gpu=0 held for 222222222222"},
		{"lease", "uids from 1879113728 for 222222222222"},
		{"name", "lost -> 666666666666"},
		{"network", "link cv000000-1"},
	}
	if diff := cmp.Diff(want, leaks); diff != "" {
		t.Error(diff)
	}
}

func TestAuditFindsMountsOutsideRunningSandboxes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a mount needs root")
	}
	f := facts(t)
	// With a space, which mountinfo escapes.
	stray := filepath.Join(f.RunDir, "sandboxes", "111111111111", "a b")
	if err := os.Mkdir(stray, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", stray, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(stray, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	leaks, err := Audit(f)
	if err != nil {
		t.Fatal(err)
	}
	// This process is in the machine's first namespace, where none may be.
	if len(leaks) != 1 || leaks[0].Kind != "mount" || leaks[0].What != stray {
		t.Errorf("leaks %v", leaks)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"/plain": "/plain", `/a\040b`: "/a b", `/tab\011`: "/tab\t", `/end\04`: `/end\04`, `/no\999`: `/no\999`, `\134`: `\`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}
