package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/network"
	"cove/runtime/oci"
)

const testBase = 0x7a120000 // far from what instances lease

// realRunc gives a Runner over the built runc with a root of its own, or skips.
func realRunc(t testing.TB) *Runner {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers with a user namespace of their own need root")
	}
	path, err := filepath.Abs("../../bin/runc")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("runc is not built: %v", err)
	}
	return &Runner{Binary: path, Root: t.TempDir()}
}

// inside builds the program that runs in the containers, once.
var inside = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cove-inside-*")
	if err != nil {
		return "", err
	}
	// Root inside is nobody here: it must be able to come here and read.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "inside")
	if built, err := os.ReadFile("testdata/inside.bin"); err == nil {
		// The test guest has no compiler.
		return path, errors.Join(os.WriteFile(path, built, 0o755), os.Chmod(path, 0o755))
	}
	cmd := exec.Command("go", "build", "-o", path, "./testdata/inside")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, os.Chmod(path, 0o755)
})

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "be-orphan-maker" {
		makeOrphan()
		return
	}
	code := m.Run()
	if path, err := inside(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// box is a bundle on disk and the container made from it.
type box struct {
	r      *Runner
	id     string
	bundle string
	group  string
	spec   *specs.Spec
	socket string
	listen *os.File
}

// newBox makes a root and a bundle; edit may change the latter. At the end of
// the test nothing of the container may be left.
func newBox(t testing.TB, r *Runner, edit func(*oci.Input, *specs.Spec)) *box {
	t.Helper()
	program, err := inside()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// Root inside is nobody on the way to its own root.
	for _, d := range []string{dir, filepath.Dir(dir)} {
		must(t, os.Chmod(d, 0o711))
	}
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"", "bin", "tmp", "nodes", "etc", "mnt"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
		must(t, os.Chmod(filepath.Join(root, d), 0o755))
	}
	must(t, os.Chmod(filepath.Join(root, "tmp"), 0o1777))
	for name, mode := range map[string]fs.FileMode{"inside": 0o755, "setuid-inside": 0o755 | fs.ModeSetuid} {
		data, err := os.ReadFile(program)
		must(t, err)
		path := filepath.Join(root, "bin", name)
		must(t, os.WriteFile(path, data, 0o755))
		must(t, os.Chown(path, testBase, testBase))
		must(t, os.Chmod(path, mode))
	}
	for name, node := range map[string]struct {
		kind uint32
		dev  uint64
	}{
		"full": {unix.S_IFCHR, unix.Mkdev(1, 7)}, "kmsg": {unix.S_IFCHR, unix.Mkdev(1, 11)}, "disk": {unix.S_IFBLK, unix.Mkdev(7, 0)},
	} {
		path := filepath.Join(root, "nodes", name)
		must(t, unix.Mknod(path, node.kind|0o666, int(node.dev)))
		must(t, os.Chmod(path, 0o666))
	}
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Dir(path) != filepath.Join(root, "bin") {
			err = os.Lchown(path, testBase, testBase)
		}
		return err
	}))

	host, err := oci.DetectHost()
	must(t, err)
	b := &box{r: r, id: "box", bundle: filepath.Join(dir, "bundle"), group: fmt.Sprintf("/cove-test%d-%d", os.Getpid(), time.Now().UnixNano())}
	in := oci.Input{
		ID: b.id, Hostname: "inside.example", Rootfs: root, UIDBase: testBase, CgroupsPath: b.group + "/" + b.id,
		InitPath: program, Host: host,
		Spec: config.Spec{Resources: config.Resources{CPU: 1.5, Memory: 256 << 20, Pids: 100}},
	}
	ns, err := network.NewNamespaces(testBase)
	must(t, err)
	t.Cleanup(func() { _ = ns.Close() })
	in.UserNS = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.User.Fd())
	in.NetNS = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Net.Fd())
	if edit != nil {
		edit(&in, nil)
	}
	b.spec, err = oci.Bundle(in)
	must(t, err)
	if edit != nil {
		edit(&in, b.spec)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		// As the daemon does it, see cgroup.Tree.Make.
		for _, g := range []string{b.group, b.group + "/" + b.id} {
			must(t, os.Mkdir("/sys/fs/cgroup"+g, 0o755))
			must(t, os.Chmod("/sys/fs/cgroup"+g, 0o755))
		}
	}
	must(t, os.Mkdir(b.bundle, 0o700))
	must(t, oci.Write(b.bundle, b.spec))

	b.socket = filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.socket, Net: "unix"})
	must(t, err)
	b.listen, err = l.File()
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())

	t.Cleanup(func() {
		_ = b.listen.Close()
		// t.Context has ended before clean-ups run.
		if err := r.ForceDelete(context.WithoutCancel(t.Context()), b.id); err != nil {
			t.Error(err)
		}
		if left := b.groups("/" + b.id); len(left) != 0 {
			t.Errorf("control groups left: %v", left)
		}
		for _, g := range b.groups("") {
			if err := os.Remove(g); err != nil {
				t.Error(err)
			}
		}
		if left, err := os.ReadDir(r.Root); err != nil || len(left) != 0 {
			t.Errorf("runc's root is not empty: %v %v", left, err)
		}
	})
	return b
}

// groups lists the control groups of that name in all hierarchies.
func (b *box) groups(name string) []string {
	v1, _ := filepath.Glob("/sys/fs/cgroup/*" + b.group + name)
	v2, _ := filepath.Glob("/sys/fs/cgroup" + b.group + name)
	return append(v1, v2...)
}

// look asks the program inside what it sees.
func (b *box) look(t testing.TB) map[string]string {
	t.Helper()
	c, err := net.Dial("unix", b.socket)
	must(t, err)
	defer func() { _ = c.Close() }()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	var seen map[string]string
	must(t, json.NewDecoder(c).Decode(&seen))
	return seen
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
