package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cove/runtime/lifecycle"
)

// A sandbox that is archived and started again has what it had, to the attribute.
func TestArchive(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	for _, args := range [][]string{{"-n", "plain"}, {"-n", "quota", "--disk", "128MiB"}} {
		name := args[1]
		h.must(append([]string{"create", "-p", "shell"}, args...)...)
		h.sh(name, `sudo touch /usr/bin/newtool && sudo rm /usr/bin/yes && sudo rm -r /usr/share/doc && sudo mkdir /usr/share/doc
			cd ~ && head -c 20000000 /dev/urandom >blob && ln blob hard && ln -s blob soft && mkfifo pipe && truncate -s 1G hole
			printf x >'odd name' && chmod 4711 blob && sudo chown 12:34 soft -h && touch -d 2001-02-03T04:05:06.789 blob`)
		list := `cd / && for d in /home /etc /usr/bin /usr/share; do sudo find $d -xdev \( -newer /etc/hostname -o -links +1 -o -path '/home/*' \) -printf '%p %y %m %U:%G %s %n %T@ %l\n' 2>/dev/null | sort; done
			sha256sum ~/blob ~/hard; ls /usr/share/doc | wc -l; ls /usr/bin/yes 2>&1; stat -c %b ~/hole`
		h.must("stop", name)
		h.must("start", name)
		before := h.sh(name, list)
		if !strings.Contains(before, "/home/dev/blob f 4711 1000:1000 20000000 2 981173106.789") {
			t.Fatalf("the test's own files are not there:\n%s", before)
		}
		_, stderr, status := h.cove("archive", name)
		if status != 1 || !strings.Contains(stderr, "archive needs a sandbox that is stopped; this one is started") {
			t.Errorf("one that runs: status %d, %s", status, stderr)
		}
		h.must("archive", "--stop", name)
		box := h.inspect(name)
		dir := filepath.Join(h.state, "sandboxes", box.ID)
		if box.State != lifecycle.Archived || strings.TrimSpace(h.must("ls", "--state", "archived")) == "" {
			t.Errorf("it is %s", box.State)
		}
		for _, gone := range []string{"upper", "work", "disk.img"} {
			if _, err := os.Lstat(filepath.Join(dir, gone)); !os.IsNotExist(err) {
				t.Errorf("%s is still there: %v", gone, err)
			}
		}
		if st, err := os.Stat(filepath.Join(dir, "archive.tar.zst")); err != nil || st.Size() < 20e6 || st.Size() > 24e6 || st.Mode().Perm() != 0o600 {
			t.Errorf("the archive: %v, %v", st, err)
		}
		if _, stderr, status := h.cove("exec", name, "--", "true"); status != 1 || !strings.Contains(stderr, "archived") {
			t.Errorf("exec: status %d, %s", status, stderr)
		}
		if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
			t.Errorf("leaks:\n%s%s", out, stderr)
		}
		h.must("archive", name)
		h.kill()
		h.must("daemon", "start")
		if got := h.inspect(name).State; got != lifecycle.Archived {
			t.Errorf("after a kill it is %s", got)
		}
		h.must("start", name)
		if after := h.sh(name, list); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		if _, err := os.Lstat(filepath.Join(dir, "archive.tar.zst")); !os.IsNotExist(err) {
			t.Errorf("the archive is still there: %v", err)
		}
		h.must("archive", "--stop", name)
		h.must("rm", name)
	}
	h.must("create", "-p", "shell", "-n", "temp", "--auto-delete", "0")
	if _, stderr, status := h.cove("archive", "--stop", "temp"); status != 1 || !strings.Contains(stderr, "stopping it deletes it") {
		t.Errorf("an ephemeral one: status %d, %s", status, stderr)
	}
	if got := h.inspect("temp").State; got != lifecycle.Started {
		t.Errorf("it is %s", got)
	}
}

// One that is stopped for long archives itself, and is not deleted then.
func TestAutoArchive(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	h.must("create", "-p", "shell", "-n", "a", "--auto-archive", "1s", "--auto-delete", "3s", "--block-all")
	h.sh("a", "echo kept >~/kept")
	h.must("stop", "a")
	for deadline := time.Now().Add(time.Minute); h.inspect("a").State != lifecycle.Archived; {
		if time.Now().After(deadline) {
			t.Fatalf("it is %s", h.inspect("a").State)
		}
	}
	if r := h.inspect("a").Reason; r == nil || r.Kind != lifecycle.ReasonAutoArchive {
		t.Errorf("because of %v", r)
	}
	h.must("start", "a")
	if got := h.sh("a", "cat ~/kept"); got != "kept" {
		t.Errorf("its file holds %q", got)
	}
}
