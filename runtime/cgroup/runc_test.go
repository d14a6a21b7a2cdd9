package cgroup

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestRuncAgrees has the real OCI runtime put a container at OCIPath: it must be
// where this package looks, in every hierarchy, with the limits in force.
func TestRuncAgrees(t *testing.T) {
	runc, err := filepath.Abs("../../bin/runc")
	if err == nil {
		_, err = os.Stat(runc)
	}
	if err != nil {
		t.Skip("bin/runc is not built")
	}
	tree := realTree(t, nil)
	id := randomHex(t, 12)
	base := t.TempDir()
	bundle, root := filepath.Join(base, "bundle"), filepath.Join(base, "runc")
	writeBundle(t, bundle, tree, id)

	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	pidFile := filepath.Join(base, "pid")
	run := exec.CommandContext(ctx, runc, "--root", root, "run", "--detach", "--bundle", bundle, "--pid-file", pidFile, id)
	logFile, err := os.Create(filepath.Join(base, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	run.Stdout, run.Stderr = logFile, logFile // files: the container keeps them
	if err := run.Run(); err != nil {
		log, _ := os.ReadFile(logFile.Name())
		t.Fatalf("runc run: %v: %s", err, log)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), enough)
		defer cancel()
		if out, err := exec.CommandContext(ctx, runc, "--root", root, "delete", "--force", id).CombinedOutput(); err != nil {
			t.Errorf("runc delete: %v: %s", err, out)
		}
	})
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range tree.dirs(id) {
		if pids, err := readProcs(dir); err != nil || !slices.Equal(pids, []int{pid}) {
			t.Errorf("%s: %v, %v; want %d", dir, pids, err, pid)
		}
	}
	if h, ok := tree.with("pids"); ok && tree.Has("pids") {
		if got, err := readFile(filepath.Join(tree.dir(h, id), "pids.max")); err != nil || string(got) != "77\n" {
			t.Errorf("pids.max is %q, %v", got, err)
		}
	}
	if tree.Has("memory") {
		if n, err := tree.OOMKills(id); n != 0 || err != nil {
			t.Errorf("kills: %d, %v", n, err)
		}
	}
	if ids, err := tree.List(); err != nil || !slices.Equal(ids, []string{id}) {
		t.Errorf("List: %v, %v", ids, err)
	}
	kill(t, tree, id)
	remove(t, tree, id)
	if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root/usr")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the container's process is there: %v", err)
	}
}

// writeBundle makes a container that sleeps, with this machine's own programs.
func writeBundle(t *testing.T, bundle string, tree *Tree, id string) {
	t.Helper()
	rootfs := filepath.Join(bundle, "rootfs")
	for _, d := range []string{"usr", "proc"} {
		if err := os.MkdirAll(filepath.Join(rootfs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"bin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+link, filepath.Join(rootfs, link)); err != nil {
			t.Fatal(err)
		}
	}
	resources := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	if tree.Has("pids") {
		resources.Pids = &specs.LinuxPids{Limit: new(int64(77))}
	}
	spec := specs.Spec{
		Version: "1.2.0",
		Root:    &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{Cwd: "/", Args: []string{"/usr/bin/sleep", "1000"}, Env: []string{"PATH=/usr/bin"}, NoNewPrivileges: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"rbind", "ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: tree.OCIPath(id), Resources: resources,
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}},
		},
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
