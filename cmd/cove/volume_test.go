package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cove/runtime/api"
)

func (h *host) volumes() map[string]api.Volume {
	h.t.Helper()
	var list []api.Volume
	if err := json.Unmarshal([]byte(h.must("volume", "ls", "--json")), &list); err != nil {
		h.t.Fatal(err)
	}
	all := map[string]api.Volume{}
	for _, v := range list {
		all[v.Name] = v
	}
	return all
}

func TestVolumeIsShared(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "one", "--volume", "shared:/data")
	h.must("create", "-p", "shell", "-n", "two", "--volume", "shared:/data", "--volume", "shared:/ro:ro")
	// The sandbox's user owns it; what one writes the other has, owned by the same.
	h.must("exec", "one", "--", "sh", "-c", "echo hello >/data/mine")
	h.inside("one", "echo x >/data/roots; cp /bin/true /data/suid; chmod 4755 /data/suid")
	if got := h.inside("two", "cat /data/mine; stat -c %u /data/mine /data/roots | tr '\\n' ' '"); got != "hello\n"+h.inside("one", "stat -c %u /data")+" 0" {
		t.Errorf("two sees %q", got)
	}
	h.inside("two", "echo more >>/data/mine")
	if got := h.inside("one", "cat /data/mine"); got != "hello\nmore" {
		t.Errorf("one sees %q", got)
	}
	if got := h.inside("two", "echo x 2>&1 >/ro/mine || echo refused; rm -f /ro/mine 2>/dev/null || echo refused"); !strings.HasSuffix(got, "refused\nrefused") {
		t.Errorf("a read-only volume: %s", got)
	}
	if got := h.inside("two", "mknod /data/null c 1 3 2>&1 || echo refused; grep ' /data ' /proc/self/mounts"); !strings.Contains(got, "nosuid,nodev") {
		t.Errorf("mounts: %s", got)
	}
	// Who has it is named, running or not.
	h.must("stop", "one")
	h.refuse(1, []string{"volume shared", "one, two are using it"}, "volume", "rm", "shared")
	if v := h.volumes()["shared"]; len(v.Sandboxes) != 2 {
		t.Errorf("%+v", v)
	}
	h.must("start", "one")
	if got := h.inside("one", "cat /data/mine"); got != "hello\nmore" {
		t.Errorf("after stop and start: %q", got)
	}
	h.must("rm", "--now", "one", "two")
	h.must("volume", "rm", "shared")
	h.refuse(1, []string{"you have no such volume"}, "volume", "rm", "shared")
	if left, err := filepath.Glob(filepath.Join(h.state, "volumes", "????????????")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A sandbox that changes a volume under another's feet does not lead it out.
func TestVolumeSubpath(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "evil", "--volume", "v:/v")
	h.must("create", "-p", "shell", "-n", "other")
	h.inside("evil", "mkdir /v/good; ln -s / /v/abs; ln -s ../.. /v/up; ln -s good /v/link; echo x >/v/file")
	for _, path := range []string{"abs", "abs/etc", "up", "up/new", "link", "link/new", "file", "file/new"} {
		h.refuse(1, []string{"volume v: " + path + " in the volume is no directory"}, "volume", "attach", "other", "v:/x", "--subpath", path)
	}
	for _, path := range []string{"..", "a/../b", "/etc", "a//b"} {
		h.refuse(2, []string{"is no clean path beneath the volume"}, "volume", "attach", "other", "v:/x", "--subpath", path)
	}
	if d := h.inspect("other"); len(d.Spec.Volumes) != 0 {
		t.Errorf("what failed is recorded: %+v", d.Spec.Volumes)
	}
	h.must("volume", "attach", "other", "v:/x/y", "--subpath", "new/er")
	h.inside("other", "echo in >/x/y/file")
	if got := h.inside("evil", "cat /v/new/er/file"); got != "in" {
		t.Errorf("the subpath: %q", got)
	}
	// It is looked for anew at each start.
	h.must("stop", "other")
	h.inside("evil", "rm -rf /v/new/er; ln -s / /v/new/er")
	h.refuse(1, []string{"volume v", "leads through a symbolic link"}, "start", "other")
	h.inside("evil", "rm /v/new/er")
	h.must("start", "other")
}

func TestVolumeQuota(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("volume", "create", "small", "--quota", "32MiB")
	h.must("create", "-p", "shell", "-n", "one", "--volume", "small:/data")
	h.must("create", "-p", "shell", "-n", "two", "--volume", "small:/data")
	if got := h.inside("one", "df -B1 --output=size /data | tail -1"); got != strconv.Itoa(32*mib) {
		t.Errorf("df: %s", got)
	}
	n, said := h.fill("one", "/data/big", 40)
	if !strings.Contains(said, "No space left") || n > 32*mib || n < 26*mib {
		t.Errorf("writing 40 MiB: %d bytes, %s", n, said)
	}
	if _, said := h.fill("two", "/root/x", 40); !strings.HasPrefix(said, "status 0") {
		t.Errorf("beside a full volume: %s", said)
	}
	if got := h.inside("two", "stat -c %s /data/big"); got != strconv.FormatInt(n, 10) {
		t.Errorf("two sees %s of %d bytes", got, n)
	}
	if v := h.volumes()["small"]; v.Quota != 32*mib || v.Used < n || v.Used > 33*mib {
		t.Errorf("%+v, %d bytes written", v, n)
	}
	// The daemon after a killed one finds it in use, and closes it in the end.
	h.kill()
	h.must("daemon", "start")
	h.inside("two", "rm /data/big; echo after >/data/x; sync /data/x")
	h.must("stop", "one")
	h.must("start", "one")
	if got := h.inside("one", "cat /data/x"); got != "after" {
		t.Errorf("after the daemon was killed: %q", got)
	}
	h.must("rm", "--now", "one", "two")
	h.must("doctor", "--leaks")
	if held := loopsOf(t, h); len(held) != 0 {
		t.Errorf("loop devices that are left: %v", held)
	}
	h.must("volume", "rm", "small")
}

// loopsOf are the loop devices that serve volumes.
func loopsOf(t *testing.T, h *host) []string {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(data), filepath.Join(h.state, "volumes")) {
			held = append(held, string(data))
		}
	}
	return held
}

func TestVolumeLive(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "one", "--volume", "outer:/outer")
	h.must("create", "-p", "shell", "-n", "two")
	for _, quota := range []string{"0", "16MiB"} {
		name := "v" + quota[:1]
		h.must("volume", "create", name, "--quota", quota)
		h.must("volume", "attach", "two", name+":/srv/deep/er")
		h.must("exec", "two", "--", "sh", "-c", "echo live >/srv/deep/er/file")
		h.refuse(2, []string{"/srv/deep/er"}, "volume", "attach", "two", "other:/srv/deep/er")
		// It is there at the next start, and so it is after the daemon was killed.
		h.kill()
		h.must("daemon", "start")
		if got := h.inside("two", "cat /srv/deep/er/file"); got != "live" {
			t.Errorf("%s after the daemon: %q", name, got)
		}
		h.must("restart", "two")
		if got := h.inside("two", "cat /srv/deep/er/file"); got != "live" {
			t.Errorf("%s after a restart: %q", name, got)
		}
		h.inside("two", "cd /srv/deep/er && nohup sleep 1000 >/dev/null 2>&1 & echo $! >/tmp/pid")
		h.refuse(1, []string{"something inside uses /srv/deep/er"}, "volume", "detach", "two", name)
		h.inside("two", "kill $(cat /tmp/pid); while kill -0 $(cat /tmp/pid) 2>/dev/null; do :; done")
		h.must("volume", "detach", "two", name)
		if got := h.inside("two", "ls -A /srv/deep/er"); got != "" {
			t.Errorf("%s after the detach: %q", name, got)
		}
		h.must("volume", "rm", name)
	}
	// Targets that the sandbox made into something else.
	h.inside("two", "ln -s /etc /link; echo x >/file")
	h.refuse(1, []string{"symbolic link at /link"}, "volume", "attach", "two", "w:/link/x")
	h.refuse(1, []string{"a file at /file"}, "volume", "attach", "two", "w:/file")
	h.refuse(1, []string{"to be in another mount"}, "volume", "attach", "one", "w:/outer/in")
	h.refuse(2, []string{"sandbox's own"}, "volume", "attach", "one", "w:/proc/x")
	if d := h.inspect("two"); len(d.Spec.Volumes) != 0 {
		t.Errorf("what failed is recorded: %+v", d.Spec.Volumes)
	}
	h.must("pause", "two")
	h.refuse(1, []string{"paused"}, "volume", "attach", "two", "w:/w")
	h.must("resume", "two")
	h.must("stop", "two")
	h.must("volume", "attach", "two", "w:/w:ro")
	h.must("start", "two")
	if got := h.inside("two", "touch /w/x 2>&1 || true"); !strings.Contains(got, "Read-only") {
		t.Errorf("attached to a stopped one: %s", got)
	}
	h.must("volume", "detach", "two", "/w")
}

// A daemon that is killed while it attaches or detaches leaves what the same command
// finishes.
func TestVolumeKilled(t *testing.T) {
	h := realHost(t)
	for _, at := range []string{"recorded", "mounted", "unmounted"} {
		h.must("daemon", "start")
		h.must("create", "-p", "shell", "-n", at)
		if at == "unmounted" {
			h.must("volume", "attach", at, "v:/v")
		}
		h.must("daemon", "stop")
		died := h.daemonThatDies("volume." + at)
		verb := []string{"volume", "attach", at, "v:/v"}
		if at == "unmounted" {
			verb = []string{"volume", "detach", at, "v"}
		}
		if _, _, code := h.cove(verb...); code == 0 {
			t.Fatalf("%s: the daemon was not killed", at)
		}
		died()
		h.must("daemon", "start")
		h.refuse(1, []string{at, "using it"}, "volume", "rm", "v")
		h.must(verb...)
		mounted := h.inside(at, "grep -c ' /v ' /proc/self/mounts || true")
		if want := map[bool]string{true: "0", false: "1"}[at == "unmounted"]; mounted != want {
			t.Errorf("%s: mounted %s times", at, mounted)
		}
		h.must("rm", "--now", at)
	}
	h.must("volume", "rm", "v")
}
