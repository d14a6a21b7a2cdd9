package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// fuseSpec is a CDI kind made of /dev/fuse, under two names as NVIDIA's cards have
// them, and the name that stands for all.
const fuseSpec = `
cdiVersion: "0.6.0"
kind: cove.test/gpu
containerEdits:
  env: [FAKE_GPU=common, LANG=C.UTF-8]
  mounts:
    - {hostPath: DIR/libfake.so, containerPath: /opt/fake/lib/libfake.so, options: [rw, rbind]}
  hooks:
    - {hookName: createContainer, path: DIR/hook, args: [hook, once]}
devices:
  - name: "0"
    containerEdits: {deviceNodes: [{path: /dev/fuse}], env: [FAKE_GPU=0]}
  - name: GPU-00000000-0000-0000-0000-00000000f05e
    containerEdits: {deviceNodes: [{path: /dev/fuse}], env: [FAKE_GPU=0]}
  - name: all
    containerEdits: {deviceNodes: [{path: /dev/fuse}], env: [FAKE_GPU=all]}
`

// fuseHook is a hook as NVIDIA's are: it finds the root in the bundle, and changes
// a file in it.
const fuseHook = `#!/bin/sh
bundle=$(sed -n 's/.*"bundle":"\([^"]*\)".*/\1/p')
root=$(sed -n 's/.*"root":{"path":"\([^"]*\)".*/\1/p' "$bundle/config.json")
echo "$1 $(id -u) $(cat /proc/self/uid_map)" >"$root/hooked"
`

const fuse = "cove.test/gpu=0"

// fuseHost is a host whose one GPU is /dev/fuse. It skips where there is none.
func fuseHost(t *testing.T) *host {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("the test's GPU is /dev/fuse: %v", err)
	}
	h := realHost(t)
	dir := filepath.Join(filepath.Dir(h.state), "cdi")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"fuse.yaml": strings.ReplaceAll(fuseSpec, "DIR", dir), "libfake.so": "fake", "hook": fuseHook} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.env = append(h.env, "COVE_CDI_DIRS="+dir)
	return h
}

func (h *host) gpus() []api.GPU {
	h.t.Helper()
	var list []api.GPU
	out := h.must("gpu", "ls", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		h.t.Fatalf("gpu ls --json: %v\n%s", err, out)
	}
	return list
}

// One GPU is one sandbox's at a time, whatever it is called, also when the daemon
// is killed meanwhile; the device works in that one, and in no other.
func TestGPUIsHeld(t *testing.T) {
	h := fuseHost(t)
	h.must("daemon", "start")
	if list := h.gpus(); len(list) != 1 || list[0].ID != fuse || list[0].UUID == "" || list[0].Held != 0 || len(list[0].Missing) != 3 {
		t.Fatalf("gpu ls: %+v", list)
	}
	h.must("create", "-p", "shell", "-n", "first", "--gpu", "1")
	if got := h.sh("first", "exec 3<>/dev/fuse && echo opened"); got != "opened" {
		t.Errorf("/dev/fuse: %q", got)
	}
	if got := h.sh("first", `echo $FAKE_GPU; cat /opt/fake/lib/libfake.so; stat -c %U:%a /dev/fuse; (echo x >/opt/fake/lib/libfake.so) 2>/dev/null || echo read-only`); got != "0\nfakeroot:666\nread-only" {
		t.Errorf("what came with it: %q", got)
	}
	// A hook is the sandbox's root, not the host's.
	if got := strings.Fields(h.sh("first", "cat /hooked")); len(got) != 5 || got[0] != "once" || got[1] != "0" || got[3] != fmt.Sprint(h.inspect("first").Running.UIDBase) || got[4] != "65536" {
		t.Errorf("its hook ran as %q", got)
	}
	if box := h.inspect("first"); len(box.GPUs) != 1 || box.GPUs[0] != fuse {
		t.Errorf("inspect: %v", box.GPUs)
	}
	if list := h.gpus(); list[0].Held != 1 || strings.Join(list[0].Holders, " ") != "first" || list[0].Shared {
		t.Errorf("gpu ls: %+v", list[0])
	}

	if got := h.must("__complete", "create", "--gpu", "cove.t"); !strings.HasPrefix(got, fuse+"\theld by first\n") {
		t.Errorf("completion: %q", got)
	}
	if got := h.must("gpu", "ls"); !strings.Contains(got, fuse) || !strings.Contains(got, "HELD BY\n") || !strings.Contains(got, " first\n") {
		t.Errorf("gpu ls: %s", got)
	}
	h.must("create", "-p", "shell", "-n", "without")
	if got := h.sh("without", "ls /dev/fuse 2>/dev/null; echo $FAKE_GPU"); got != "" {
		t.Errorf("a sandbox without it has %q", got)
	}
	if got := h.sh("without", "mknod -m 666 /tmp/n c 10 229 && exec 3<>/tmp/n && echo opened", "-u", "root"); !strings.HasSuffix(got, "Operation not permitted") {
		t.Errorf("a node of one's own: %q", got)
	}
	// Also a node that somebody else has put there, with nothing in its way but the
	// control group; where the device was given it opens.
	for name, want := range map[string]string{"without": "Operation not permitted", "first": "opened"} {
		if got := h.openForeign(name, 10, 229); !strings.HasSuffix(got, want) {
			t.Errorf("a node from outside, in %s: %q", name, got)
		}
	}

	held := []string{"gpu 0", fuse, "is held by first"}
	before := len(h.list())
	for _, which := range []string{"1", "0,", fuse, "GPU-00000000-0000-0000-0000-00000000f05e", "0"} {
		args := []string{"create", "-p", "shell", "-n", "second", "--gpu", which}
		if which == "0" {
			h.must(args...) // none
			h.must("rm", "second")
			continue
		}
		h.refuse(1, held, args...)
	}
	settle(h)
	if n := len(h.list()); n != before {
		t.Errorf("a refused create leaves %d sandboxes", n-before)
	}
	h.refuse(2, []string{"resources.gpu", `no GPU "cove.test/gpu=7"`}, "create", "-p", "shell", "--gpu", "cove.test/gpu=7")
	h.refuse(2, []string{"resources.gpu", "the same GPU"}, "create", "-p", "shell", "--gpu", "0,"+fuse)

	h.kill()
	h.must("daemon", "start")
	h.refuse(1, held, "create", "-p", "shell", "-n", "second", "--gpu", "1")
	if box := h.inspect("first"); len(box.GPUs) != 1 {
		t.Errorf("after a kill: %v", box.GPUs)
	}

	h.must("stop", "first")
	if list := h.gpus(); list[0].Held != 0 {
		t.Errorf("a stopped sandbox holds it: %+v", list[0])
	}
	h.must("create", "-p", "shell", "-n", "second", "--gpu", "1")
	h.refuse(1, []string{"is held by second"}, "start", "first")
	if box := h.inspect("first"); box.State != lifecycle.Stopped {
		t.Errorf("a refused start leaves it %s", box.State)
	}
	h.must("rm", "second")
	h.must("start", "first")
	h.must("restart", "first")
	if got := h.sh("first", "exec 3<>/dev/fuse && echo opened"); got != "opened" {
		t.Errorf("/dev/fuse: %q", got)
	}
}

// openForeign has the host put a device node into a sandbox, and tries to open it
// there.
func (h *host) openForeign(name string, major, minor int) string {
	h.t.Helper()
	namespace, done := fmt.Sprintf("/proc/%d/ns/mnt", h.inspect(name).Running.Pid), make(chan error)
	go func() {
		// The thread has been elsewhere, and ends with this.
		runtime.LockOSThread()
		done <- putNode(namespace, major, minor)
	}()
	if err := <-done; err != nil {
		h.t.Fatalf("put a node into %s: %v", name, err)
	}
	return h.sh(name, "exec 3<>/mnt/n && echo opened", "-u", "root")
}

// putNode moves the thread into a mount namespace and makes a device node there, on
// a file system that is the host's.
func putNode(namespace string, major, minor int) error {
	ns, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("node", "/mnt", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	if err := unix.Mknod("/mnt/n", unix.S_IFCHR|0o666, int(unix.Mkdev(uint32(major), uint32(minor)))); err != nil {
		return err
	}
	return unix.Chmod("/mnt/n", 0o666)
}

// Those that ask to share a GPU share it, and with nobody else.
func TestGPUIsShared(t *testing.T) {
	h := fuseHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "a", "--gpu", "1", "--gpu-shared")
	h.refuse(1, []string{"is shared by a", "gpu_shared"}, "create", "-p", "shell", "-n", "b", "--gpu", "1")
	h.must("create", "-p", "shell", "-n", "b", "--gpu", "0,", "--gpu-shared")
	if g := h.gpus()[0]; g.Held != 2 || !g.Shared || strings.Join(g.Holders, " ") != "a b" {
		t.Errorf("gpu ls: %+v", g)
	}
	h.kill()
	h.must("daemon", "start")
	h.refuse(1, []string{"is shared by a and b"}, "create", "-p", "shell", "-n", "c", "--gpu", "1")
	h.must("rm", "a", "b")
	h.must("create", "-p", "shell", "-n", "c", "--gpu", "1")
	h.refuse(1, []string{"is held by c"}, "create", "-p", "shell", "-n", "d", "--gpu", "1", "--gpu-shared")
}

// A specification that others could change is not used, and named.
func TestGPUSpecOfOthers(t *testing.T) {
	h := fuseHost(t)
	spec := filepath.Join(filepath.Dir(h.state), "cdi", "fuse.yaml")
	h.must("daemon", "start")
	for change, back := range map[string]string{"chmod 0666": "chmod 0644", "chown 1000": "chown 0"} {
		for _, c := range []string{change, back} {
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", c+" "+spec).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", c, err, out)
			}
			out, _, code := h.cove("doctor")
			if told := code == 1 && strings.Contains(out, "FAIL GPUs of "+spec) && strings.Contains(out, "others than root can change it"); told != (c == change) {
				t.Errorf("after %s: status %d\n%s", c, code, out)
			}
			if n := len(h.gpus()); n != b2n(c == back) {
				t.Errorf("after %s there are %d GPUs", c, n)
			}
		}
	}
}

func b2n(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A daemon that is killed at any stage of a start leaves the GPU to who holds it,
// and to nobody else.
func TestGPUKilledStart(t *testing.T) {
	h := fuseHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "a", "--gpu", "1")
	h.must("stop", "a")
	for _, stage := range []string{"leased", "prepared", "created", "running", "configured"} {
		h.must("daemon", "stop")
		ended := h.daemonThatDies("start." + stage)
		h.cove("start", "a")
		ended()
		h.must("daemon", "start")
		settle(h)
		running := stateOf(h, "a") == lifecycle.Started
		if g := h.gpus()[0]; (g.Held == 1) != running || running != (stage == "configured") {
			t.Errorf("killed at %s: held %d, running %v", stage, g.Held, running)
		}
		if out, _, code := h.cove("doctor", "--leaks"); code != 0 {
			t.Errorf("killed at %s: %s", stage, out)
		}
		h.must("stop", "a")
	}
	h.must("create", "-p", "shell", "-n", "b", "--gpu", "1")
}
