package main

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cove/runtime/lifecycle"
)

// TestCopy copies both ways, into and out of a started and a stopped sandbox.
func TestCopy(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "a")
	dir := filepath.Join(filepath.Dir(h.run), "files")
	big := make([]byte, 5<<20+17)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	lay(t, dir, map[string]string{"src/sub/deep/x": "x", "src/f": "one\n", "src/empty": "", "src/big": string(big), "src/with space": "s", "src/-dash": "d"})
	must(os.Chmod(filepath.Join(dir, "src/f"), 0o750))
	must(os.Symlink("sub/deep", filepath.Join(dir, "src/link")))
	must(os.Link(filepath.Join(dir, "src/f"), filepath.Join(dir, "src/hard")))
	old := time.Date(2003, 4, 5, 6, 7, 8, 123456789, time.UTC)
	must(os.Chtimes(filepath.Join(dir, "src/f"), old, old))
	in := func(script string) string {
		t.Helper()
		return h.must("exec", "a", "--", "sh", "-c", script)
	}
	for _, state := range []lifecycle.State{lifecycle.Started, lifecycle.Stopped} {
		there := "a:/home/dev/" + string(state)
		if state == lifecycle.Stopped {
			h.must("stop", "a")
		}
		h.must("cp", filepath.Join(dir, "src"), there)
		back := filepath.Join(dir, "back-"+string(state))
		h.must("cp", there, back)
		same(t, filepath.Join(dir, "src"), back)
		h.must("cp", there+"/f", filepath.Join(dir, "one-"+string(state)))
		if got, err := os.ReadFile(filepath.Join(dir, "one-"+string(state))); err != nil || string(got) != "one\n" {
			t.Errorf("one file: %q, %v", got, err)
		}
		if got := stateOf(h, "a"); got != state {
			t.Errorf("after a copy it is %s, was %s", got, state)
		}
		h.refuse(1, []string{"a:/nothing/here", "no such file"}, "cp", "a:/nothing/here", dir)
		h.refuse(1, []string{"a:/root", "permission denied"}, "cp", "a:/root", dir)
		h.refuse(1, []string{"a:/etc", "permission denied"}, "cp", filepath.Join(dir, "src/f"), "a:/etc/f")
		h.refuse(1, []string{"a:/no/such", "/no does not exist"}, "cp", filepath.Join(dir, "src/f"), "a:/no/such")
		// A tar each way.
		packed := h.must("cp", there+"/sub", "-")
		if got := members(t, packed); got != "sub/ sub/deep/ sub/deep/x" {
			t.Errorf("the tar holds %s", got)
		}
		if out, stderr, code := h.coveIn([]byte(packed), "cp", "-", "a:/home/dev"); code != 0 || out+stderr != "" {
			t.Errorf("a tar in: %d %s%s", code, out, stderr)
		}
		if out, _, _ := h.cove("cp", "a:/home/dev/sub/deep/x", "-"); members(t, out) != "x" {
			t.Errorf("one file as a tar: %s", members(t, out))
		}
	}
	h.must("start", "a")
	if got := in("cd ~/stopped && stat -c '%U %a %h %y' f && readlink link && ls -A && cat ~/sub/deep/x && stat -c %U ~/started/big"); got != "dev 750 2 2003-04-05 06:07:08.123456789 +0000\nsub/deep\n-dash\nbig\nempty\nf\nhard\nlink\nsub\nwith space\nxdev\n" {
		t.Errorf("inside: %s", got)
	}
	// Where a path begins, and as whom.
	h.must("cp", filepath.Join(dir, "src/f"), "a:")
	h.must("cp", filepath.Join(dir, "src/f"), "a:~/tilde")
	h.must("cp", "-u", "root", filepath.Join(dir, "src/f"), "a:/etc/of-root")
	if got := in("cat f ~/tilde; pwd; stat -c %U /etc/of-root"); got != "one\none\n/workspace\nroot\n" {
		t.Errorf("places: %q", got)
	}
	h.must("cp", "-u", "root", "a:/root", filepath.Join(dir, "roots"))
	// A link at the end: as it is, or what it leads to.
	h.must("cp", "a:~/started/link", filepath.Join(dir, "l1"))
	if target, err := os.Readlink(filepath.Join(dir, "l1")); err != nil || target != "sub/deep" {
		t.Errorf("the link: %q, %v", target, err)
	}
	for _, args := range [][]string{{"-L", "a:~/started/link"}, {"a:~/started/link/"}} {
		got := filepath.Join(t.TempDir(), "l")
		h.must(append(append([]string{"cp"}, args...), got)...)
		if text, err := os.ReadFile(filepath.Join(got, "x")); err != nil || string(text) != "x" {
			t.Errorf("%q: %q, %v", args, text, err)
		}
	}
	// From one to another.
	h.must("create", "-p", "shell", "-n", "b")
	h.must("cp", "a:~/started", "b:/tmp/from-a")
	h.must("stop", "b")
	h.must("cp", "b:/tmp/from-a", filepath.Join(dir, "twice"))
	same(t, filepath.Join(dir, "src"), filepath.Join(dir, "twice"))
	h.refuse(1, []string{"a:/none"}, "cp", "a:/none", "b:/tmp")
	h.refuse(1, []string{"b:/none"}, "cp", "a:~/started", "b:/none/x")
	// Half of it: one line, and all that can be copied is.
	in("mkdir ~/part && echo yes > ~/part/open && echo no > ~/part/shut && chmod 0 ~/part/shut && mkfifo ~/part/pipe")
	out, stderr, code := h.cove("cp", "a:~/part", filepath.Join(dir, "part"))
	if code != 1 || out != "" || !strings.Contains(stderr, "cp: not all was copied: a:~/part/shut: permission denied\n") || !strings.Contains(stderr, "left out a:~/part/pipe, a named pipe\n") {
		t.Errorf("in part: %d %s%s", code, out, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "part/open")); err != nil {
		t.Error(err)
	}
}

// TestCopyFromHostile has a sandbox whose own user makes its files lead anywhere,
// and which sends what it likes.
func TestCopyFromHostile(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "evil")
	dir := filepath.Join(filepath.Dir(h.run), "files")
	lay(t, dir, map[string]string{"secret": "the host's", "in": "new"})
	h.must("exec", "evil", "--", "sh", "-c", "ln -s "+dir+" /tmp/out; ln -s / /tmp/top; ln -s "+dir+"/secret /tmp/s; mkdir /tmp/d && ln -s "+dir+"/secret /tmp/d/s")
	for _, stopped := range []bool{false, true} {
		if stopped {
			h.must("stop", "evil")
		}
		// What its links lead to is its own.
		h.refuse(1, []string{"no such file"}, "cp", "evil:/tmp/out/secret", filepath.Join(dir, "got"))
		h.refuse(1, []string{"no such file"}, "cp", "-L", "evil:/tmp/s", filepath.Join(dir, "got"))
		h.refuse(1, []string{"evil:/tmp/out/planted"}, "cp", filepath.Join(dir, "in"), "evil:/tmp/out/planted")
		if _, err := os.Lstat(filepath.Join(dir, "planted")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("a copy was written through a sandbox's link: %v", err)
		}
		h.must("cp", "evil:/tmp/top/etc/passwd", filepath.Join(dir, "passwd"))
		if text, err := os.ReadFile(filepath.Join(dir, "passwd")); err != nil || !strings.Contains(string(text), "dev:") {
			t.Errorf("not the sandbox's own passwd: %v", err)
		}
		_, stderr, code := h.cove("cp", "evil:/tmp/d", filepath.Join(dir, "d"))
		if code != 0 || !strings.Contains(stderr, "leads out of what was copied") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("a link that leads out: %d %s", code, stderr)
		}
		// It is there now, and is not written through by the next copy.
		if stopped {
			break
		}
		h.must("exec", "evil", "--", "sh", "-c", "rm /tmp/d/s && echo evil > /tmp/d/s")
		h.must("cp", "evil:/tmp/d/.", filepath.Join(dir, "d"))
		h.must("exec", "evil", "--", "sh", "-c", "rm /tmp/d/s && mkdir /tmp/d/s && echo evil > /tmp/d/s/x")
		must(os.Remove(filepath.Join(dir, "d/s")))
		must(os.Symlink(dir, filepath.Join(dir, "d/s")))
		h.refuse(1, []string{"symbolic link", "not followed"}, "cp", "evil:/tmp/d/.", filepath.Join(dir, "d"))
		h.must("exec", "evil", "--", "sh", "-c", "rm -r /tmp/d/s && ln -s "+dir+"/secret /tmp/d/s")
		must(os.RemoveAll(filepath.Join(dir, "d")))
	}
	if text, err := os.ReadFile(filepath.Join(dir, "secret")); err != nil || string(text) != "the host's" {
		t.Errorf("the host's file holds %q, %v", text, err)
	}
}

// TestCopyEnds breaks copies off: by the caller, by the daemon's end and by a
// delete; what a stopped sandbox's copy took is given back each time.
func TestCopyEnds(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "a")
	h.must("stop", "a")
	// A tar that does not end, until the test ends it.
	begin := func() (write io.WriteCloser, wait func() (string, int)) {
		t.Helper()
		cmd := h.command(t.Context(), "cp", "-", "a:/tmp")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		w, err := cmd.StdinPipe()
		must(err)
		must(cmd.Start())
		h.eventually("the copy", func() bool { return h.inspect("a").Op == lifecycle.OpCopy && h.inspect("a").Running != nil })
		return w, func() (string, int) {
			code := exitStatus(t, cmd.Wait())
			return stderr.String(), code
		}
	}
	w, wait := begin()
	h.refuse(1, []string{"cp is under way"}, "start", "a")
	h.refuse(1, []string{"cp is under way"}, "cp", "a:/etc/hostname", "-")
	h.refuse(1, []string{"stopped"}, "exec", "a", "--", "true")
	h.must("label", "a", "k=v")
	must(w.Close())
	if text, code := wait(); code != 0 {
		t.Errorf("an empty tar: %d %s", code, text)
	}
	h.must("start", "a")
	h.must("stop", "a")

	w, wait = begin()
	h.kill()
	if text, code := wait(); code != 1 || strings.Count(text, "\n") != 1 {
		t.Errorf("the daemon's end: %d %s", code, text)
	}
	_ = w.Close()
	h.must("daemon", "start")
	settle(h)
	if d := h.inspect("a"); d.State != lifecycle.Stopped || d.Reason == nil || d.Reason.Kind != lifecycle.ReasonUser || d.Running != nil {
		t.Errorf("after the daemon's end it is %s, %v", d.State, d.Reason)
	}
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
		t.Errorf("leaks:\n%s%s", out, stderr)
	}

	w, wait = begin()
	h.must("rm", "a")
	if text, code := wait(); code != 1 {
		t.Errorf("a delete: %d %s", code, text)
	}
	_ = w.Close()
}

// lay makes files below dir.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(os.MkdirAll(filepath.Dir(path), 0o755))
		must(os.WriteFile(path, []byte(text), 0o644))
	}
}

// members are the names in a tar.
func members(t *testing.T, text string) string {
	t.Helper()
	var names []string
	r := tar.NewReader(strings.NewReader(text))
	for {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(names, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, hdr.Name)
	}
}

// same compares two trees by diff(1) and by what find(1) says of them.
func same(t *testing.T, a, b string) {
	t.Helper()
	list := func(dir string) string {
		out, err := asUID(0, os.Environ(), "find", dir, "-printf", "%P %y %m %n %T@ %l\n")
		if err != nil {
			t.Fatal(out)
		}
		lines := strings.Split(out, "\n")
		lines = lines[1:] // the directory itself is found first
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if d := cmp.Diff(list(a), list(b)); d != "" {
		t.Errorf("%s and %s differ: %s", a, b, d)
	}
	if out, err := asUID(0, os.Environ(), "diff", "-r", a, b); err != nil {
		t.Errorf("%s and %s differ: %s", a, b, out)
	}
}
