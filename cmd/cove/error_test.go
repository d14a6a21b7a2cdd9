package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestErrorsAreOneClearLine(t *testing.T) {
	h := realHost(t)
	dir := filepath.Dir(h.run)
	profile := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	h.must("create", "-p", "shell", "-n", "taken")
	for _, c := range []struct {
		status int
		words  []string
		args   []string
	}{
		{2, []string{"key.toml:3", "memry", "memory"}, []string{"create", "-p", profile("key.toml", "extends = \"shell\"\n[resources]\nmemry = \"1GiB\"\n")}},
		{2, []string{"size.toml:3", "memory", "12 bananas"}, []string{"create", "-p", profile("size.toml", "extends = \"shell\"\n[resources]\nmemory = \"12 bananas\"\n")}},
		{2, []string{"disk.toml:3", "disk", "16MiB"}, []string{"create", "-p", profile("disk.toml", "extends = \"shell\"\n[resources]\ndisk = \"1MiB\"\n")}},
		{2, []string{"ask.toml:2", "network.ask"}, []string{"create", "-p", profile("ask.toml", "description = \"asks\"\nnetwork.ask = true\n")}},
		{2, []string{"network.lan", "block_all"}, []string{"create", "-p", "untrusted", "--lan"}},
		{2, []string{"resources.gpu", "this machine has no GPU", "cove doctor"}, []string{"create", "-p", "shell", "--gpu", "1"}},
		{2, []string{"gpu_shared", "no GPU to share"}, []string{"create", "-p", "shell", "--gpu-shared"}},
		{2, []string{"memory", "lots"}, []string{"create", "-p", "shell", "--memory", "lots"}},
		{2, []string{"pyhton", "python"}, []string{"create", "-p", "pyhton"}},
		{2, []string{"Bad_Name"}, []string{"create", "-p", "shell", "-n", "Bad_Name"}},
		{2, []string{"creat", "create"}, []string{"creat"}},
		{2, []string{"--memroy"}, []string{"create", "--memroy", "1GiB"}},
		{1, []string{"taken"}, []string{"create", "-p", "shell", "-n", "taken"}},
		{1, []string{"nothing"}, []string{"exec", "nothing", "--", "true"}},
		{1, []string{"nothing"}, []string{"rm", "nothing"}},
	} {
		h.refuse(c.status, c.words, c.args...)
	}
	h.must("stop", "taken")
	if _, stderr, code := h.cove("exec", "taken", "--", "true"); code != 1 || !strings.Contains(stderr, "stopped") {
		t.Errorf("exec in a stopped sandbox: status %d, %q", code, stderr)
	}
	if n := len(h.list()); n != 1 {
		t.Errorf("%d sandboxes after many refusals, want 1", n)
	}
}

func TestDeadDaemon(t *testing.T) {
	h := realHost(t)
	if out, _, code := h.cove("daemon", "status", "--json"); code != 1 || !strings.Contains(out, `"pid":null`) && !strings.Contains(out, `"pid": null`) {
		t.Errorf("status of no daemon: %d %q", code, out)
	}
	if h.pid() != 0 {
		t.Error("daemon status started one")
	}
	h.must("create", "-p", "shell", "-n", "a")
	h.kill()
	// As an ordinary user nothing is started; one line says how.
	out, err := asUID(1001, h.env, filepath.Join(h.bin, "cove"), "ls")
	if err == nil || !strings.Contains(out, "daemon") || strings.Count(strings.TrimSpace(out), "\n") != 0 {
		t.Errorf("a user without a daemon is told %q, %v", out, err)
	}
	// As root it is started, and the sandbox is as it was.
	if got := h.must("exec", "a", "--", "echo", "here"); got != "here\n" {
		t.Errorf("after the daemon's death: %q", got)
	}
}

// A full disk loses nothing: what was there stays, what cannot be made leaves
// nothing, and with room again all goes on.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	bin := binDir(t)
	base, err := os.MkdirTemp("", "cove-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o711); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(base, "disk", "state")
	image := filepath.Join(base, "disk.img")
	sh(t, fmt.Sprintf("truncate -s 96M %[1]s && mkfs.ext4 -q %[1]s && mkdir %[2]s && mount -o loop %[1]s %[2]s && chmod 711 %[2]s", image, filepath.Dir(state)))
	t.Cleanup(func() { sh(t, "umount "+filepath.Dir(state)+" && rm -rf "+base) })
	h := hostAt(t, bin, base, state)
	t.Cleanup(func() { h.leave() })
	h.must("create", "-p", "shell", "-n", "first")
	h.must("exec", "first", "--", "sh", "-c", "echo precious > ~/file; sync")
	// It is not a sandbox that fills it: those are held at the reserve.
	sh(t, "head -c 200M /dev/zero > "+filepath.Join(state, "filler")+" || true")
	if _, stderr, code := h.cove("exec", "first", "--", "sh", "-c", "head -c 8M /dev/zero > ~/more"); code == 0 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("writing on a full disk: status %d, %q", code, stderr)
	}
	for i := range 3 {
		_, stderr, code := h.cove("create", "-p", "shell", "-n", fmt.Sprintf("more%d", i))
		if code != 1 || !strings.Contains(stderr, "nearly full") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("create on a full disk: status %d, %q", code, stderr)
		}
	}
	h.cove("stop", "first") // may not be able to write down that it stopped
	if n := len(h.list()); n != 1 {
		t.Errorf("%d sandboxes, want 1", n)
	}
	h.kill()
	sh(t, "rm "+filepath.Join(state, "filler"))
	h.must("daemon", "start")
	settle(h)
	h.must("start", "first")
	if got := h.must("exec", "first", "--", "sh", "-c", "cat ~/file"); got != "precious\n" {
		t.Errorf("the file holds %q", got)
	}
	h.must("create", "-p", "shell", "-n", "more0")
}

func sh(t testing.TB, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "/bin/sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}
