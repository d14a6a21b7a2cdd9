package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

func (h *host) snapshots() map[string]api.Snapshot {
	h.t.Helper()
	var list []api.Snapshot
	if err := json.Unmarshal([]byte(h.must("snapshot", "ls", "--json")), &list); err != nil {
		h.t.Fatal(err)
	}
	byName := map[string]api.Snapshot{}
	for _, s := range list {
		byName[s.Name] = s
	}
	return byName
}

func (h *host) leakless() {
	h.t.Helper()
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
		h.t.Errorf("leaks:\n%s%s", out, stderr)
	}
}

// A state that is kept is what others are made of: of one that runs, of one that is
// stopped, with files in / and in /usr, and with what was deleted.
func TestSnapshot(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "a", "--block-all")
	h.sh("a", "echo first >~/f; mkdir ~/d; ln ~/f ~/d/same; sudo -n true 2>/dev/null; echo secret >~/gone; echo 10.0.0.1 mine >~/hosts")
	h.must("exec", "-u", "root", "a", "--", "sh", "-c", "echo 10.0.0.1 mine >>/etc/hosts")
	if out := h.must("snapshot", "create", "a", "one"); out != "one\n" {
		t.Errorf("of one that runs: %q", out)
	}
	h.sh("a", "rm ~/gone; echo second >>~/f; touch ~/later")
	h.must("stop", "a")
	if out := h.must("snapshot", "create", "a"); out != "a-1\n" {
		t.Errorf("it is called %q", out)
	}
	h.must("start", "a")
	if got := h.sh("a", "cat ~/f; ls ~"); !strings.HasPrefix(got, "first\nsecond\n") || strings.Contains(got, "gone") {
		t.Errorf("the sandbox has %q", got)
	}
	h.must("snapshot", "create", "a", "two")
	h.must("rm", "--now", "a")
	h.must("create", "-p", "shell", "-n", "b", "--block-all", "--image", "snapshot:one")
	h.must("create", "-p", "shell", "-n", "c", "--block-all", "--image", "snapshot:two")
	if got := h.sh("b", "cat ~/f ~/d/same ~/gone; ls ~; hostname; cat /etc/hostname; grep 127.0.1.1 /etc/hosts | tr '\\t' ' '; grep mine /etc/hosts; whoami"); got != "first\nfirst\nsecret\nd\nf\ngone\nhosts\nb\nb\n127.0.1.1 b\n10.0.0.1 mine\ndev" {
		t.Errorf("made of the first: %q", got)
	}
	if got := h.sh("c", "cat ~/f; ls ~; stat -c %h ~/d/same"); got != "first\nsecond\nd\nf\nhosts\nlater\n2" {
		t.Errorf("made of the last: %q", got)
	}
	all := h.snapshots()
	if all["two"].Parent != all["a-1"].ID || all["one"].Frozen <= 0 || all["one"].Copied == 0 || all["a-1"].Copied != 0 {
		t.Errorf("listed: %+v", all)
	}
	if got := h.must("snapshot", "ls"); !strings.Contains(got, "\n└ two") || !strings.Contains(got, "USED BY") {
		t.Errorf("as a tree:\n%s", got)
	}
	h.refuse(1, []string{"you have a snapshot one"}, "snapshot", "create", "c", "one")
	h.refuse(1, []string{"nope: you have no such snapshot", "cove snapshot ls"}, "snapshot", "rm", "nope")
	h.refuse(1, []string{"snapshot:nope", "you have no such snapshot"}, "create", "-p", "shell", "--image", "snapshot:nope")
	h.must("snapshot", "rm", "one", "a-1")
	h.leakless()
	h.must("restart", "b")
	if got := h.sh("b", "cat ~/gone"); got != "secret" {
		t.Errorf("on what was removed: %q", got)
	}
	h.must("rm", "--now", "b", "c")
	h.must("snapshot", "rm", "two")
	h.leakless()
	left, err := filepath.Glob(filepath.Join(h.state, "layers", "snap-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("layers of nothing: %v, %v", left, err)
	}
}

// Five forks of one that runs, and one of it stopped, go their own ways; that their
// parent goes harms none.
func TestFork(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "a", "--block-all", "--label", "k=v")
	h.sh("a", "echo common >~/f")
	names := strings.Fields(h.must("fork", "a", "try", "--count", "5"))
	if strings.Join(names, " ") != "try-1 try-2 try-3 try-4 try-5" {
		t.Fatalf("made: %v", names)
	}
	if s := stateOf(h, "a"); s != lifecycle.Started {
		t.Errorf("the parent is %s", s)
	}
	h.must("stop", "a")
	if out := h.must("fork", "a"); out != "a-fork-1\n" {
		t.Errorf("made: %q", out)
	}
	names = append(names, "a-fork-1")
	h.refuse(1, []string{"try-1"}, "fork", "a", "try-1")
	h.must("rm", "--now", "a")
	for _, n := range names {
		h.sh(n, "hostname >>~/f")
	}
	h.must(append([]string{"restart"}, names...)...)
	for _, n := range names {
		if got, want := h.sh(n, "cat ~/f; hostname; cat /etc/hostname"), fmt.Sprintf("common\n%s\n%s\n%s", n, n, n); got != want {
			t.Errorf("%s has %q", n, got)
		}
	}
	if i := h.inspect("try-2"); i.Labels["k"] != "v" {
		t.Errorf("labels: %v", i.Labels)
	}
	h.leakless()
	h.must(append([]string{"rm", "--now"}, names...)...)
	h.leakless()
}

// What was changed in a copy-on-write mount stays the sandbox's own, whatever is made of
// its state.
func TestSnapshotKeepsCowChanges(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	for _, disk := range []string{"0", "64MiB"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("host\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		h.must("create", "-p", "shell", "-n", "a", "--block-all", "--disk", disk, "--mount", dir+":/workspace:cow")
		h.must("exec", "-u", "root", "a", "--", "sh", "-c", "echo mine >/workspace/f; echo x >/home/dev/kept")
		h.must("snapshot", "create", "a", "live"+strings.ToLower(disk))
		h.must("stop", "a")
		want := h.must("diff", "a")
		h.must("snapshot", "create", "a", "cold"+strings.ToLower(disk))
		if got := h.must("diff", "a"); got != want || !strings.Contains(got, "+mine") {
			t.Errorf("disk %s: changed after a snapshot:\n%s\nbefore:\n%s", disk, got, want)
		}
		h.must("start", "a")
		if got := h.sh("a", "cat /workspace/f ~/kept"); got != "mine\nx" {
			t.Errorf("disk %s: inside: %q", disk, got)
		}
		h.must("fork", "a", "b")
		if got := h.sh("b", "cat /workspace/f ~/kept"); got != "host\nx" {
			t.Errorf("disk %s: in the fork: %q", disk, got)
		}
		h.must("rm", "--now", "a", "b")
	}
	h.leakless()
}

// A disk whose machine lost its power has a part of its files in its journal: as a layer,
// too, it has them all.
func TestSnapshotAfterAPowerCut(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "a", "--block-all", "--disk", "64MiB")
	h.sh("a", "for i in $(seq 200); do mkdir ~/d$i; echo $i >~/d$i/f; done; sync ~/d*/f")
	dir := filepath.Join(h.state, "sandboxes", h.inspect("a").ID)
	cut := func(from, to string) {
		if out, err := exec.Command("cp", "--sparse=always", filepath.Join(dir, from), filepath.Join(dir, to)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	cut("disk.img", "cut.img") // as it is on the disk now
	h.must("stop", "a")
	h.leakless()
	if out, err := exec.Command("dumpe2fs", "-h", filepath.Join(dir, "cut.img")).CombinedOutput(); err != nil || !strings.Contains(string(out), "needs_recovery") {
		t.Fatalf("nothing is in its journal: %v\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(dir, "cut.img"), filepath.Join(dir, "disk.img")); err != nil {
		t.Fatal(err)
	}
	h.must("fork", "a", "b")
	if got := h.sh("b", "cat ~/d*/f | wc -l; ls -d ~/d* | wc -l"); got != "200\n200" {
		t.Errorf("the fork has %q", got)
	}
	h.must("start", "a")
	if got := h.sh("a", "cat ~/d*/f | wc -l"); got != "200" {
		t.Errorf("the sandbox has %q", got)
	}
	h.leakless()
}

// A gigabyte that a stopped sandbox has is kept as fast as nothing.
func TestSnapshotOfAGigabyte(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "a", "--block-all")
	h.sh("a", "touch ~/big; for i in $(seq 500); do echo $i >~/f$i; done")
	h.must("stop", "a")
	h.leakless() // and wait for what it still writes
	// Its blocks are there, and need not be written for that.
	big, err := filepath.Glob(filepath.Join(h.state, "sandboxes/*/upper/root/home/*/big"))
	if err != nil || len(big) != 1 {
		t.Fatalf("%v, %v", big, err)
	}
	f, err := os.OpenFile(big[0], os.O_WRONLY, 0)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, 1<<30), f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	best := time.Hour
	for n := range 3 {
		begin := time.Now()
		h.must("snapshot", "create", "a", fmt.Sprintf("s%d", n))
		best = min(best, time.Since(begin))
		if n == 0 {
			t.Logf("the first: %v", time.Since(begin))
		}
	}
	t.Logf("a snapshot of 1 GiB, with the command's own start: %v", best)
	if best > 500*time.Millisecond {
		t.Errorf("a snapshot took %v", best)
	}
	if s := h.snapshots()["s0"]; s.Size < 1<<30 || s.Copied != 0 {
		t.Errorf("%+v", s)
	}
}
