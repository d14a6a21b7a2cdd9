package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"cove/config"
	"cove/runtime/mount"
	"cove/runtime/network"
	"cove/runtime/oci"
	"cove/runtime/rootfs"
)

// peers do what cove does to run a first command, each in its own way: runc
// with the very bundle that cove makes, the others with the same root and the
// nearest that they have.
type peers struct {
	runc   *baseline
	others []peer
}

// peer is a program that runs true in a sandbox.
type peer struct {
	b    *testing.B
	name string
	argv []string
	// skipped is why it cannot run here.
	skipped string
}

func newPeers(b *testing.B, h *host, spec config.Spec) *peers {
	b.Helper()
	p := &peers{runc: newBaseline(b, h, spec)}
	// podman's crun makes it, wherever podman is told to keep its own.
	const state = "/run/crun"
	if _, err := os.Lstat(state); errors.Is(err, fs.ErrNotExist) {
		b.Cleanup(func() { _ = os.Remove(state) })
	}
	p.runc.stay(b)
	root := filepath.Join(p.runc.bundle, "rootfs")
	dir := filepath.Dir(p.runc.root)
	p.others = []peer{
		{name: "crun run true, the same bundle", argv: []string{"crun", "--root", filepath.Join(dir, "crun"), "run", "--bundle", p.runc.bundle, "crun"}},
		{name: "bwrap true, the same root (no limits, no seccomp)", argv: []string{
			"bwrap", "--unshare-all", "--uid", "0", "--gid", "0", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--die-with-parent", "/bin/true"}},
		{name: "podman run true, the same root", argv: []string{
			"podman", "--root", filepath.Join(dir, "podman"), "--runroot", filepath.Join(dir, "podman-run"), "--tmpdir", filepath.Join(dir, "podman-tmp"),
			"--storage-driver", "vfs", "--events-backend", "none", "run", "--rm", "--network", "none", "--ulimit", "host", "--cgroup-parent", p.runc.group, "--rootfs", root, "/bin/true"}},
	}
	for i := range p.others {
		o := &p.others[i]
		o.b = b
		if out, err := o.try(context.Background()); err != nil {
			// The reason of the last line of many.
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			o.skipped = fmt.Sprintf("%v: %s", err, lines[len(lines)-1])
		}
	}
	return p
}

func (o *peer) try(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return exec.CommandContext(ctx, o.argv[0], o.argv[1:]...).CombinedOutput()
}

func (o *peer) timed(ctx context.Context) time.Duration {
	o.b.Helper()
	return timed(o.b, func() error {
		out, err := o.try(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w: %s", o.name, err, out)
		}
		return nil
	})
}

func (p *peers) close() { p.runc.close() }

// baseline is the bundle that cove makes, run by runc alone.
type baseline struct {
	runc, root, bundle string
	group              string // of the control groups of all peers
	spec               *specs.Spec
	unmount            func()
	n                  int
}

func newBaseline(b *testing.B, h *host, spec config.Spec) *baseline {
	b.Helper()
	// This goroutine, and so runc, gets a mount namespace of its own.
	if err := mount.EnterPrivateNamespace(); err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(h.run), "baseline")
	r := &baseline{
		runc: filepath.Join(h.bin, "runc"), root: filepath.Join(dir, "runc"), bundle: filepath.Join(dir, "bundle"),
		group: fmt.Sprintf("/cove-bench%d", os.Getpid()),
	}
	target := filepath.Join(r.bundle, "rootfs")
	box := filepath.Join(h.state, "sandboxes", ".new-000000000000")
	for _, d := range []string{dir, r.root, r.bundle, target, box} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			b.Fatal(err)
		}
	}
	ctx := context.Background()
	maps := mount.NewIDMaps(1)
	driver, err := rootfs.New(ctx, rootfs.Options{StateDir: h.state, RunDir: dir, IDMaps: maps})
	if err != nil {
		b.Fatal(err)
	}
	if err := driver.Prepare(ctx); err != nil {
		b.Fatal(err)
	}
	top, err := os.Open(box)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = top.Close() }()
	if err := rootfs.Create(top, rootfs.Fresh{Hostname: "baseline"}); err != nil {
		b.Fatal(err)
	}
	const base = 1<<30 + 1<<20
	if err := driver.Mount(ctx, box, target, base, rootfs.HostBase()); err != nil {
		b.Fatal(err)
	}
	r.unmount = func() {
		removeGroups(b, r.group)
		_ = driver.Unmount(box, target)
		_ = driver.Close()
		_ = maps.Close()
		_ = os.RemoveAll(box)
	}
	host, err := oci.DetectHost()
	if err != nil {
		b.Fatal(err)
	}
	ns, err := network.NewNamespaces(base)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ns.Close() })
	r.spec, err = oci.Bundle(oci.Input{
		ID: "baseline", Hostname: "baseline", Spec: spec, Rootfs: target, UIDBase: base,
		UserNS:      fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.User.Fd()),
		NetNS:       fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Net.Fd()),
		CgroupsPath: r.group + "/baseline", InitPath: filepath.Join(h.bin, "cove-init"), Host: host,
	})
	if err != nil {
		b.Fatal(err)
	}
	r.write(b, r.bundle, "/bin/true")
	return r
}

// removeGroups removes a control group and those below it, which podman leaves,
// from every hierarchy.
func removeGroups(b *testing.B, group string) {
	b.Helper()
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + group)
	if err != nil {
		b.Fatal(err)
	}
	for _, top := range append(tops, "/sys/fs/cgroup"+group) {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) { // the deepest first
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				b.Errorf("remove the peers' control groups: %v", err)
			}
		}
	}
}

// write writes the bundle's configuration for a command.
func (r *baseline) write(b *testing.B, dir string, argv ...string) {
	b.Helper()
	r.spec.Process.Args = argv
	data, err := json.Marshal(r.spec)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		b.Fatal(err)
	}
}

func (r *baseline) command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, r.runc, append([]string{"--root", r.root}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("runc %s: %w: %s", args[0], err, out)
	}
	return nil
}

func (r *baseline) run(ctx context.Context) error {
	r.n++
	return r.command(ctx, "run", "--bundle", r.bundle, fmt.Sprintf("baseline%d", r.n))
}

// stay starts a container that [baseline.exec] runs programs in.
func (r *baseline) stay(b *testing.B) {
	b.Helper()
	dir := filepath.Join(filepath.Dir(r.bundle), "stay")
	if err := os.Mkdir(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	path := r.spec.Linux.CgroupsPath
	r.spec.Linux.CgroupsPath = r.group + "/stay"
	r.write(b, dir, "sleep", "1000")
	r.spec.Linux.CgroupsPath = path
	ctx := context.Background()
	cmd := exec.CommandContext(ctx, r.runc, "--root", r.root, "run", "--detach", "--bundle", dir, "stay")
	if err := cmd.Run(); err != nil { // with no pipe that sleep would keep open
		b.Fatalf("runc run --detach: %v", err)
	}
}

func (r *baseline) exec(ctx context.Context) error {
	return r.command(ctx, "exec", "stay", "/bin/true")
}

func (r *baseline) close() {
	_ = r.command(context.Background(), "delete", "--force", "stay")
	r.unmount()
}
