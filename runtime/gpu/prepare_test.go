package gpu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The nodes are the sandbox's own, whatever they are on the host, and all is gone
// with Detach.
func TestPrepare(t *testing.T) {
	text := `
cdiVersion: 0.6.0
kind: v.example/gpu
containerEdits:
  env: [A=common, B=common]
  deviceNodes: [{path: /dev/zero}]
  mounts:
    - {hostPath: /usr/share, containerPath: /deep/er, options: [rw, rbind]}
    - {hostPath: /etc/passwd, containerPath: /top, options: [rw]}
  hooks: [{hookName: createContainer, path: /usr/bin/env, args: [env, once]}]
devices:
  - {name: '0', containerEdits: {deviceNodes: [{path: /dev/sub/card, hostPath: /dev/full, permissions: rm}], env: [A=own]}}
  - {name: '1', containerEdits: {deviceNodes: [{path: /dev/null}], env: [A=own]}}
  - {name: '2', containerEdits: {deviceNodes: [{path: /dev/random}], mounts: [{hostPath: /nowhere/lib.so, containerPath: /lib.so}]}}
`
	d := New(Options{Dirs: []string{specDir(t, map[string]string{"v.yaml": text})}})
	inv := d.Devices(t.Context())
	if len(inv.Devices) != 3 {
		t.Fatalf("%+v", inv)
	}
	dir := filepath.Join(t.TempDir(), "devices")
	t.Cleanup(func() { _ = d.Detach(dir) })
	const base = 1 << 20
	edits, err := d.Prepare(dir, base, inv.Devices[:2])
	if err != nil {
		t.Fatal(err)
	}
	equal(t, []string{"B=common", "A=own"}, edits.Env)
	equal(t, 1, len(edits.CreateContainer))
	var rules []string
	for _, r := range edits.Rules {
		rules = append(rules, r.Type+" "+key(unix.Mkdev(uint32(*r.Major), uint32(*r.Minor)))+" "+r.Access)
	}
	equal(t, []string{"c c1:5 rw", "c c1:7 r", "c c1:3 rw"}, rules)
	var targets []string
	for _, m := range edits.Mounts {
		targets = append(targets, m.Destination)
		if strings.HasPrefix(m.Destination, "/dev/") {
			var st unix.Stat_t
			if err := unix.Stat(m.Source, &st); err != nil || st.Mode != unix.S_IFCHR|0o666 || st.Uid != base || st.Gid != base || filepath.Dir(m.Source) != dir {
				t.Errorf("%s at %s: %v, mode %o, owner %d", m.Destination, m.Source, err, st.Mode, st.Uid)
			}
			f, err := os.OpenFile(m.Source, os.O_RDONLY, 0)
			if err != nil {
				t.Errorf("a node that does not open: %v", err)
				continue
			}
			_ = f.Close()
			continue
		}
		equal(t, []string{"ro", "nosuid", "nodev", "rprivate"}, m.Options[1:], m.Destination)
	}
	equal(t, []string{"/top", "/dev/zero", "/dev/null", "/deep/er", "/dev/sub/card"}, targets)
	gone := func() {
		t.Helper()
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", dir, err)
		}
	}
	if err := errors.Join(d.Detach(dir), d.Detach(dir)); err != nil {
		t.Error(err)
	}
	gone()

	var stale *StaleError
	if _, err := d.Prepare(dir, base, inv.Devices[2:]); !errors.As(err, &stale) || stale.Path != "/nowhere/lib.so" {
		t.Errorf("a library that is not there: %v", err)
	}
	gone()
	missing := inv.Devices[1]
	missing.edits.nodes = append(missing.edits.nodes, node{path: "/dev/nvidia-uvm", host: "/dev/nothing-there", access: "rw"})
	if _, err := d.Prepare(dir, base, []Device{missing}); !errors.As(err, &stale) {
		t.Errorf("a node that is not there: %v", err)
	}
	gone()
	if edits, err := d.Prepare(dir, base, nil); err != nil || edits.Rules != nil {
		t.Errorf("nothing: %v %+v", err, edits)
	}
	gone()
}
