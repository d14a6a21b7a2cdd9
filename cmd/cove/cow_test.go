package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cove/runtime/api"
)

// project makes a directory of ann's with one of everything, and a second like it.
func (h *host) project() (proj, like string) {
	h.t.Helper()
	base := h.tree(1001, "ann/", "ann/proj/")
	proj, like = base+"/ann/proj", base+"/like"
	script := `cd "$1" && mkdir -p sub gone/deep empty .git/hooks && printf 'one\ntwo\nthree\n' > edit && echo b > delete && echo s > sub/same &&
		echo m > script && printf 'b\0x' > bin && echo 1 > gone/x && echo 2 > gone/deep/y && echo r > old && echo h > host &&
		echo q > "$(printf 'we"ird\nname')" && ln -s sub link && echo f > becomes-dir && mkdir becomes-file && echo i > becomes-file/i &&
		cp -a "$1" "$2" && chown -hR 1001:1001 "$1"`
	h.run1("sh", "-ec", script, "sh", proj, like)
	return proj, like
}

func (h *host) run1(name string, args ...string) string {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// edits are what the sandbox does to it: an edit, a rename, deletions, a mode, links,
// binary and new files, types.
const edits = `cd /workspace
	sed -i s/two/TWO/ edit; rm delete; mv old new; rm -r gone; chmod 755 script; ln -s edit ln; printf 'b\0y' > bin
	echo Q >> "$(printf 'we"ird\nname')"; mkdir -p nd/e; echo n > nd/n; cat sub/same > /dev/null; touch sub/same
	rm becomes-dir; mkdir becomes-dir; echo j > becomes-dir/j; rm -r becomes-file; echo k > becomes-file
	chmod 600 host; chmod 644 host; rmdir empty; mkdir empty`

func TestCopyOnWrite(t *testing.T) {
	h := realHost(t)
	proj, like := h.project()
	cove := h.members()
	ann := func(args ...string) string {
		t.Helper()
		out, err := cove(1001, proj, args...)
		if err != nil {
			t.Fatalf("cove %q: %v\n%s", args, err, out)
		}
		return out
	}
	same := func(when string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "diff", "-r", "--no-dereference", proj, like).CombinedOutput(); err != nil {
			t.Fatalf("%s the host's directory is another:\n%s", when, out)
		}
	}

	// All gone inside, nothing outside; the directory is there again for another.
	ann("create", "-n", "wild", "-p", "base", "--block-all", "--mount", ".:/workspace:cow")
	if out := ann("exec", "wild", "--", "sh", "-c", "rm -rf /workspace/* /workspace/.git; ls -A /workspace"); out != "" {
		t.Errorf("what is left inside: %q", out)
	}
	same("after rm -rf")
	if n := strings.Count(ann("diff", "wild", "--name-only"), "\n"); n != 20 {
		t.Errorf("%d names are deleted:\n%s", n, ann("diff", "wild", "--name-only"))
	}
	ann("discard", "wild", "--all")
	if out := ann("diff", "wild", "--stat"); out != "" {
		t.Errorf("after all was discarded: %s", out)
	}
	if out := ann("exec", "wild", "--", "cat", "/workspace/gone/deep/y", "/workspace/edit"); out != "2\none\ntwo\nthree\n" {
		t.Errorf("after all was discarded it has %q", out)
	}

	ann("create", "-n", "a", "-p", "base", "--block-all", "--disk", "64MiB", "--mount", ".:/workspace:cow")
	ann("exec", "a", "--", "sh", "-ec", edits)
	same("after edits")
	want := `T  becomes-dir/  file -> dir
A  becomes-dir/j  +1 -0
T  becomes-file  dir -> file
D  becomes-file/i  +0 -1
M  bin  binary 3 -> 3 bytes
D  delete  +0 -1
M  edit  +1 -1
D  gone/
D  gone/deep/
D  gone/deep/y  +0 -1
D  gone/x  +0 -1
A  ln  +1 -0  -> edit
A  nd/
A  nd/e/
A  nd/n  +1 -0
A  new  +1 -0
D  old  +0 -1
m  script  mode 644 -> 755  [executable]
M  "we\"ird\nname"  +1 -0
`
	for _, state := range []string{"start", "stop"} {
		ann(state, "a")
		if got := ann("diff", "a", "--stat"); got != want {
			t.Errorf("%s: the changes are\n%s\nnot\n%s", state, got, want)
		}
	}
	ann("start", "a")
	var sets []api.ChangeSet
	if err := json.Unmarshal([]byte(ann("diff", "a", "--json", "edit")), &sets); err != nil || len(sets) != 1 || len(sets[0].Changes) != 1 ||
		sets[0].Source != proj || sets[0].Target != "/workspace" || sets[0].Changes[0].Kind != api.ChangeModified || sets[0].Changes[0].Added != 1 {
		t.Errorf("as JSON: %+v, %v", sets, err)
	}
	if got := ann("diff", "a", "/workspace/edit"); !strings.Contains(got, "-two\n+TWO\n") || strings.Contains(got, "delete") {
		t.Errorf("the diff of one: %s", got)
	}

	// As a patch it makes the same of a copy, but for what git does not know.
	patched := filepath.Join(filepath.Dir(proj), "patched")
	h.run1("cp", "-a", like, patched)
	if err := os.WriteFile(patched+".patch", []byte(ann("diff", "a", "--patch")), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run1("sh", "-ec", `cd "$1" && rm -rf .git && git init -q && git apply --whitespace=nowarn "$1.patch" && rm -rf .git`, "sh", patched)

	// Without a yes nothing is done, nor where the host has changed.
	out, err := cove(1001, proj, "apply", "a")
	if err == nil || !strings.Contains(out, "script") || !strings.Contains(out, "--yes") {
		t.Errorf("what is to be looked at: %v %s", err, out)
	}
	if err := os.WriteFile(proj+"/edit", []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err = cove(1001, proj, "apply", "a", "--yes"); err == nil || !strings.Contains(out, "edit: changed on the host since") || !strings.Contains(out, "size 14 -> 5") {
		t.Errorf("a conflict: %v %s", err, out)
	}
	h.run1("cp", "-p", proj+"/edit", like+"/edit")
	same("after refused applies")
	if got := ann("diff", "a", "--stat", "edit"); !strings.Contains(got, "CONFLICT: changed on the host since") {
		t.Errorf("the conflict is not shown: %s", got)
	}
	if _, err = cove(1001, proj, "apply", "a", "--yes", "--force"); err == nil {
		t.Error("--force without paths is taken")
	}
	ann("apply", "a", "--force", "edit")
	ann("apply", "a", "--yes")
	if out, err := exec.CommandContext(t.Context(), "diff", "-r", "--no-dereference", "--exclude=.git", proj, patched).CombinedOutput(); err == nil ||
		strings.TrimSpace(string(out)) != "Only in "+proj+"/nd: e" {
		t.Errorf("applied and patched differ:\n%s", out)
	}
	for name, mode := range map[string]string{"edit": "644", "script": "755", "nd": "755", "nd/n": "644", "becomes-file": "644", "becomes-dir/j": "644", "ln": "777"} {
		if got := owner(t, proj+"/"+name); got != "1001:1001 "+mode {
			t.Errorf("%s is %s", name, got)
		}
	}
	if got := ann("diff", "a", "--stat"); got != "" {
		t.Errorf("after apply there is left:\n%s", got)
	}
	h.run1("sh", "-c", `! find "$1" -name '.cove-apply-*' | grep .`, "sh", proj)

	// And again: while it runs, and after a start.
	ann("exec", "a", "--", "sh", "-c", "echo four >> /workspace/edit; rm -r /workspace/nd")
	ann("apply", "a")
	ann("restart", "a")
	ann("exec", "a", "--", "sh", "-c", "echo five >> /workspace/edit")
	ann("apply", "a")
	if got, _ := os.ReadFile(proj + "/edit"); string(got) != "one\nTWO\nthree\nfour\nfive\n" {
		t.Errorf("after two more rounds it is %q", got)
	}
	if _, err := os.Lstat(proj + "/nd"); err == nil {
		t.Error("a deleted directory is still there")
	}

	// A stopped one gives changes back, too.
	ann("exec", "a", "--", "sh", "-c", "rm /workspace/edit /workspace/bin; echo x > /workspace/sub/new")
	ann("stop", "a")
	ann("discard", "a", "edit", "sub")
	if got := ann("diff", "a", "--stat"); got != "D  bin\n" && !strings.HasPrefix(got, "D  bin  ") || strings.Count(got, "\n") != 1 {
		t.Errorf("after a discard there is left:\n%s", got)
	}
	ann("start", "a")
	if got := ann("exec", "a", "--", "cat", "/workspace/edit"); !strings.HasSuffix(got, "five\n") {
		t.Errorf("it has %q again", got)
	}

	// To others none of it exists.
	for _, args := range [][]string{{"diff", "a"}, {"apply", "a"}, {"discard", "a", "--all"}} {
		if out, err := cove(1002, "/", args...); err == nil || !strings.Contains(out, "no such sandbox") {
			t.Errorf("bob's cove %q: %v %s", args, err, out)
		}
	}
}

// What a sandbox makes to have an apply write elsewhere, or more than it may.
func TestApplyOfHostileChanges(t *testing.T) {
	h := realHost(t)
	proj, _ := h.project()
	base := filepath.Dir(filepath.Dir(proj))
	h.tree(0, "vault/", "vault/secret")
	write := func(name string, uid int, mode os.FileMode) {
		if err := errors.Join(os.WriteFile(proj+"/"+name, []byte("old"), 0o600), os.Chown(proj+"/"+name, uid, uid), os.Chmod(proj+"/"+name, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("closed", 1001, 0)
	write("roots", 0, 0o600)
	cove := h.members()
	ann := func(args ...string) (string, error) { return cove(1001, proj, args...) }
	if out, err := ann("create", "-n", "a", "-p", "base", "--block-all", "--mount", ".:/workspace:cow"); err != nil {
		t.Fatal(out)
	}
	inside := `cd /workspace
		ln -s ` + base + `/vault out; rm -rf sub; ln -s ` + base + `/vault sub; echo x > setuid; chmod 6755 setuid
		echo '#!' > .git/hooks/post-checkout; echo evil > .envrc; mkfifo pipe; echo ok > plain
		chmod 600 closed; echo new > closed; ! cat roots; ! rm -f roots; ! sudo -n cat roots`
	if out, err := ann("exec", "a", "--", "sh", "-ec", inside); err != nil {
		t.Fatal(out)
	}
	out, _ := ann("diff", "a", "--stat")
	if strings.Contains(out, "roots") {
		t.Errorf("root's file was changed:\n%s", out)
	}
	for _, want := range []string{"M  closed  binary", "out  +1 -0  -> " + base + "/vault  [link out]", "T  sub", "[executable, setuid]", "post-checkout  +1 -0  [hook]", ".envrc  +1 -0  [envrc]", "CONFLICT: a socket, pipe"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	if out, err := ann("apply", "a", "--yes"); err == nil || !strings.Contains(out, "pipe") {
		t.Errorf("a pipe: %v %s", err, out)
	}
	if out, err := ann("apply", "a", "--yes", "setuid", "out", "sub", "plain", "closed"); err != nil {
		t.Error(out)
	}
	if got := owner(t, proj+"/closed"); got != "1001:1001 600" {
		t.Errorf("what was closed is %s", got)
	}
	if got := owner(t, proj+"/setuid"); got != "1001:1001 755" {
		t.Errorf("the setuid program is %s", got)
	}
	// Below the links that are there now, the sandbox makes directories of its own.
	if out, err := ann("exec", "a", "--", "sh", "-ec", "cd /workspace; rm pipe out sub; mkdir out sub; echo mine > out/secret; echo mine > sub/new"); err != nil {
		t.Fatal(out)
	}
	// A person's link, made where the sandbox has a directory, is not followed either.
	if out, err := ann("exec", "a", "--", "sh", "-ec", "echo mine > /workspace/gone/x; echo mine > /workspace/gone/secret"); err != nil {
		t.Fatal(out)
	}
	if err := os.RemoveAll(proj + "/gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(base+"/vault", proj+"/gone"); err != nil {
		t.Fatal(err)
	}
	out, err := ann("apply", "a", "--yes", "--force", "out", "sub", "gone")
	t.Logf("%v\n%s", err, out)
	// As root, ann's directory swapped for another: it is not the one that was given.
	if err := os.Rename(proj, proj+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(base+"/vault", proj); err != nil {
		t.Fatal(err)
	}
	if out, err := cove(0, "/", "apply", "a", "--yes"); err == nil || !strings.Contains(out, "another one now") {
		t.Errorf("root's apply to another directory: %v %s", err, out)
	}
	got, _ := os.ReadFile(base + "/vault/secret")
	names, _ := os.ReadDir(base + "/vault")
	if !bytes.Equal(got, []byte("vault/secret")) || len(names) != 1 {
		t.Errorf("the vault holds %q and %v", got, names)
	}
}
