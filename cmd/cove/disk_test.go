package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
)

const mib = 1 << 20

// inside runs a script in a sandbox and returns what it printed.
func (h *host) inside(name, script string) string {
	h.t.Helper()
	return strings.TrimSpace(h.must("exec", "-u", "root", name, "--", "sh", "-c", script))
}

// image is what a sandbox's disk occupies on the host, in bytes.
func (h *host) image(id string) int64 {
	h.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(h.state, "sandboxes", id, "disk.img"), &st); err != nil {
		h.t.Fatal(err)
	}
	return st.Blocks * 512
}

// fill writes n MiB to a file in a sandbox and says how many bytes of it went
// onto the disk, and with what status.
func (h *host) fill(name, file string, n int) (int64, string) {
	h.t.Helper()
	out := h.inside(name, "dd if=/dev/zero of="+file+" bs=1M count="+strconv.Itoa(n)+" conv=fsync 2>/tmp/said; echo status $?; stat -c %s "+file+"; cat /tmp/said")
	status, rest, _ := strings.Cut(out, "\n")
	size, said, _ := strings.Cut(rest, "\n")
	bytes, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		h.t.Fatalf("dd: %s", out)
	}
	return bytes, status + "\n" + said
}

func TestDiskQuota(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	for _, name := range []string{"one", "two"} {
		h.must("create", "-p", "shell", "-n", name, "--disk", "64MiB")
	}
	id := h.inspect("one").ID
	if got := strings.Fields(h.inside("one", "df -h / | tail -1")); len(got) < 2 || got[1] != "64M" {
		t.Errorf("df -h: %v", got)
	}
	if usr := h.inside("one", "df -B1 --output=size /usr | tail -1"); usr != strconv.Itoa(64*mib) {
		t.Errorf("df of /usr: %s", usr)
	}
	if empty := h.image(id); empty > 2*mib {
		t.Errorf("an empty sandbox's disk takes %d bytes of the host", empty)
	}
	before := h.image(id)
	n, said := h.fill("one", "/root/big", 65)
	if !strings.Contains(said, "No space left") || n > 64*mib || n < 56*mib {
		t.Errorf("writing 65 MiB: %d bytes, %s", n, said)
	}
	after := h.image(id)
	t.Logf("of 65 MiB %d bytes could be written; the host lost %d", n, after-before)
	if after > 64*mib+256<<10 {
		t.Errorf("the host lost %d bytes to a disk of 64 MiB", after)
	}
	// The system's directories are on the same disk; memory is not.
	if out := h.inside("one", "echo x > /usr/local/x && sync /usr/local/x; dd if=/dev/zero of=/usr/local/y bs=1M count=4 conv=fsync 2>&1; true"); !strings.Contains(out, "No space left") {
		t.Errorf("writing to /usr on a full disk: %s", out)
	}
	h.refuse(1, []string{"one:/var/tmp/: no space left on device\n"}, "cp", filepath.Join(binDir(t), "cove"), "one:/var/tmp/")
	h.inside("one", "dd if=/dev/zero of=/dev/shm/x bs=1M count=4 && rm /dev/shm/x")
	if n, said := h.fill("two", "/root/mine", 20); n != 20*mib {
		t.Errorf("the neighbour: %d bytes, %s", n, said)
	}
	var report []api.Stats
	decode(t, h.must("stats", "--json"), &report)
	for _, s := range report {
		if s.DiskLimit != 64*mib || s.Name == "one" && s.Disk < 60*mib || s.Name == "two" && (s.Disk < 20*mib || s.Disk > 40*mib) {
			t.Errorf("statistics: %+v", s)
		}
	}
	// What is deleted is the host's again when the sandbox has stopped.
	h.inside("one", "rm /root/big; echo kept > /var/kept")
	h.must("stop", "one")
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 { // waits for the end of the disk
		t.Errorf("leaks:\n%s%s", out, stderr)
	}
	if left := h.image(id); left > 12*mib {
		t.Errorf("after deleting and stopping the host still has %d bytes of it in use", left)
	}
	if got := h.must("cp", "one:/var/kept", "-"); !strings.Contains(got, "kept") {
		t.Errorf("cp of a stopped sandbox: %q", got)
	}
	h.must("start", "one")
	if got := h.inside("one", "cat /var/kept"); got != "kept" {
		t.Errorf("after stop and start: %q", got)
	}
	// A disk that a killed daemon left mounted is the next one's, and is given back.
	h.kill()
	h.must("daemon", "start")
	if got := h.inside("one", "cat /var/kept"); got != "kept" {
		t.Errorf("after the daemon's death: %q", got)
	}
	if n, said := h.fill("one", "/root/again", 30); n != 30*mib {
		t.Errorf("after the daemon's death: %d bytes, %s", n, said)
	}
	decode(t, h.must("stats", "--json", "one"), &report)
	if len(report) != 1 || report[0].Disk < 30*mib {
		t.Errorf("statistics after the daemon's death: %+v", report)
	}
	h.must("restart", "one")
	if got := h.inside("one", "cat /var/kept; stat -c %s /root/again"); got != "kept\n"+strconv.Itoa(30*mib) {
		t.Errorf("after a restart: %q", got)
	}
	h.must("stop", "one")
	h.must("rm", "one", "two")
}

func TestDiskThatIsSetAside(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	profiles := filepath.Join(filepath.Dir(h.run), "config", "cove", "profiles")
	if err := os.MkdirAll(profiles, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profiles, "aside.toml"), []byte("extends = \"shell\"\n[resources]\ndisk = \"32MiB\"\ndisk_reserve = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.must("create", "-p", "aside", "-n", "aside")
	if got := h.image(h.inspect("aside").ID); got < 32*mib {
		t.Errorf("only %d bytes are set aside", got)
	}
	h.must("rm", "aside")
	h.refuse(1, []string{"cannot be set aside", "are free"}, "create", "-p", "aside", "-n", "aside", "--disk", "8TiB")
	h.refuse(2, []string{"disk", "16MiB"}, "create", "-p", "shell", "--disk", "1MiB")
}

func decode(t testing.TB, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func TestDiskGrows(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "plain")
	h.refuse(2, []string{"without a disk", "--disk"}, "resize", "plain", "--disk", "64MiB")
	h.must("create", "-p", "shell", "-n", "one", "--disk", "32MiB")
	h.refuse(2, []string{"only grow", "32MiB"}, "resize", "one", "--disk", "16MiB")
	h.inside("one", "seq 100000 > /var/numbers")
	size := func() string { return h.inside("one", "df -B1 --output=size / | tail -1") }
	// While it runs, where the kernel lets the daemon.
	_, stderr, code := h.cove("resize", "one", "--disk", "64MiB", "--pids", "500")
	live := code == 0
	if live {
		if got := size(); got != strconv.Itoa(64*mib) {
			t.Errorf("df after growing live: %s", got)
		}
	} else {
		if !strings.Contains(stderr, "stop it first") {
			t.Errorf("growing live: status %d, %s", code, stderr)
		}
		if got := h.inspect("one").Spec.Resources; got.Disk != 32*mib || got.Pids == 500 {
			t.Errorf("after a refusal: %+v", got)
		}
		h.must("stop", "one")
		h.must("resize", "one", "--disk", "64MiB")
		h.must("start", "one")
		if got := size(); got != strconv.Itoa(64*mib) {
			t.Errorf("df after growing: %s", got)
		}
	}
	if n, said := h.fill("one", "/var/more", 44); n != 44*mib {
		t.Errorf("in the new space: %d bytes, %s", n, said)
	}
	h.inside("one", "seq 100000 | cmp - /var/numbers")
	// A daemon that is killed when the disk has grown, but nobody knows.
	h.must("stop", "one")
	h.must("daemon", "stop")
	ended := h.daemonThatDies("resize.grown")
	if _, _, code := h.cove("resize", "one", "--disk", "96MiB"); code != 1 {
		t.Errorf("resize while the daemon dies: status %d", code)
	}
	ended()
	h.must("daemon", "start")
	settle(h)
	if got := h.inspect("one"); got.Spec.Resources.Disk != 96*mib || got.State != "stopped" {
		t.Errorf("after the daemon's death: %s, %v", got.State, got.Spec.Resources.Disk)
	}
	h.must("start", "one")
	if got := size(); got != strconv.Itoa(96*mib) {
		t.Errorf("df after the daemon's death: %s", got)
	}
	h.inside("one", "seq 100000 | cmp - /var/numbers")
	h.must("rm", "one", "plain")
}

// TestFullDiskStarts: a sandbox whose disk is full to the last block, or to the last
// file, stops and starts, so that room can be made inside.
func TestFullDiskStarts(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	for name, fill := range map[string]string{
		"blocks": "dd if=/dev/zero of=/tmp/big bs=1M; dd if=/dev/zero of=/tmp/rest bs=512; sync",
		"files":  "i=0; while : > /tmp/$i; do i=$((i+1)); done",
	} {
		h.must("create", "-p", "shell", "-n", name, "--disk", "16MiB")
		h.inside(name, "("+fill+") > /dev/null 2>&1; ! mkdir /tmp/one-more 2> /dev/null")
		for range 2 {
			h.must("stop", name)
			h.must("start", name)
		}
		h.inside(name, "rm -rf /tmp/*; mkdir /tmp/one-more")
		h.must("rm", name)
	}
}
