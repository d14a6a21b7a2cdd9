package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/lifecycle"
)

// tree makes directories and files of an owner below the test's directory:
// names that end in a slash are directories. Modes are those of the umask 022.
func (h *host) tree(uid int, names ...string) string {
	h.t.Helper()
	base := filepath.Dir(h.run)
	for _, name := range names {
		path := filepath.Join(base, name)
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(name), 0o644)
		}
		if err == nil {
			err = os.Chown(path, uid, uid)
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return base
}

// owner is who a file on the host belongs to.
func owner(t testing.TB, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
}

// members starts the daemon with a user database in which ann (1001) and bob
// (1002) are members of cove's group, and gives what runs cove as one of them in
// a directory.
func (h *host) members() (cove func(uid uint32, dir string, args ...string) (string, error)) {
	h.t.Helper()
	dir := filepath.Dir(h.run)
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	for path, text := range map[string]string{
		passwd: "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/:/bin/sh\nbob:x:1002:1002::/:/bin/sh\n",
		group:  "root:x:0:\ncove:x:990:ann,bob\nann:x:1001:\nbob:x:1002:\nteam:x:1100:ann\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	h.startBehind(map[string]string{passwd: "/etc/passwd", group: "/etc/group"})
	env := append(slices.Clone(h.env), "HOME=/")
	return func(uid uint32, dir string, args ...string) (string, error) {
		return asUID(uid, env, "/bin/sh", append([]string{"-c", `cd "$1" && shift && exec cove "$@"`, "sh", dir}, args...)...)
	}
}

func TestMountsOfMembers(t *testing.T) {
	h := realHost(t)
	base := h.tree(1001, "ann/", "ann/proj/", "ann/proj/mine")
	h.tree(1002, "bob/", "bob/private", "bob/public")
	h.tree(0, "vault/", "vault/secret")
	for path, mode := range map[string]os.FileMode{"bob/private": 0o600, "vault": 0o700} {
		if err := os.Chmod(filepath.Join(base, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	cove := h.members()
	proj := base + "/ann/proj"

	if out, err := cove(1001, proj, "run", "--rm", "--mount", ".:/workspace:rw", "--", "sh", "-c", "echo x > /workspace/f && mkdir d && cat mine"); err != nil || out != "ann/proj/mine" {
		t.Errorf("the line to work with: %q, %v", out, err)
	}
	for _, f := range []string{"f", "d", "mine"} {
		if got := owner(t, proj+"/"+f); !strings.HasPrefix(got, "1001:1001 ") {
			t.Errorf("%s belongs to %s", f, got)
		}
	}

	refused := func(what string, words []string, args ...string) {
		t.Helper()
		out, err := cove(1001, proj, append([]string{"run", "--rm", "--mount"}, args...)...)
		if err == nil || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %q, %v", what, out, err)
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("%s: it lacks %q: %s", what, w, out)
			}
		}
	}
	refused("one she cannot open", []string{base + "/vault", "you may not open it"}, base+"/vault:/v", "--", "true")
	refused("bob's, to write to", []string{base + "/bob", "1002", "ro"}, base+"/bob:/b:rw", "--", "true")
	refused("her own, as root", []string{"only root"}, ".:/b:rw-as-root", "--", "true")
	refused("a file", []string{"no directory"}, "mine:/b", "--", "true")
	refused("nothing", []string{"no such directory", "mkdir"}, "nothing:/b", "--", "true")

	// In bob's directory she is what she is outside, her sandbox's root as well.
	out, err := cove(1001, proj, "run", "--rm", "-p", "base", "--mount", base+"/bob:/b", "--", "sh", "-c",
		"cat /b/public; cat /b/private; sudo -n cat /b/private; sudo -n touch /b/new; sudo -n chmod 644 /b/private; sudo -n chown 0 /b/public; true")
	if err != nil || !strings.HasPrefix(out, "bob/public") || strings.Contains(out, "bob/private"+"\n") || strings.Count(out, "Permission denied") < 2 {
		t.Errorf("in bob's directory: %q, %v", out, err)
	}
	if got := owner(t, base+"/bob/private"); got != "1002:1002 600" {
		t.Errorf("bob's file is %s now", got)
	}

	// A start opens the path as she may now, not as she once could.
	if out, err := cove(1001, proj, "create", "-n", "a", "--mount", ".:/workspace:rw"); err != nil {
		t.Fatal(out)
	}
	again := func() (string, error) {
		if out, err := cove(1001, "/", "stop", "a"); err != nil {
			t.Fatal(out)
		}
		return cove(1001, "/", "start", "a")
	}
	if out, err := again(); err != nil {
		t.Errorf("start again: %s", out)
	}
	if err := os.Chmod(base+"/ann", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(base+"/ann", 0, 0); err != nil {
		t.Fatal(err)
	}
	if out, err := again(); err == nil || !strings.Contains(out, "permission denied") || strings.Count(out, "\n") != 1 {
		t.Errorf("start of what she can no longer reach: %q, %v", out, err)
	}
	if s := stateOf(h, "a"); s != lifecycle.Stopped {
		t.Errorf("then it is %s", s)
	}
}

// Whoever swaps a directory for a symbolic link while it is being opened gets
// no other one mounted.
func TestMountSwapped(t *testing.T) {
	h := realHost(t)
	base := h.tree(1001, "ann/", "ann/proj/", "ann/proj/mine")
	h.tree(0, "vault/", "vault/secret")
	h.tree(1002, "bob/", "bob/secret")
	for _, dir := range []string{"vault", "bob"} {
		if err := os.Symlink(base+"/"+dir, base+"/ann/to-"+dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(base+"/vault", 0o700); err != nil {
		t.Fatal(err)
	}
	cove := h.members()
	proj := base + "/ann/proj"
	if out, err := cove(1001, proj, "create", "-n", "a", "--mount", ".:/workspace:rw"); err != nil {
		t.Fatal(out)
	}
	for _, link := range []string{"to-vault", "to-bob"} {
		var swaps atomic.Int64
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := unix.Renameat2(unix.AT_FDCWD, proj, unix.AT_FDCWD, base+"/ann/"+link, unix.RENAME_EXCHANGE); err != nil {
					t.Error(err)
					return
				}
				swaps.Add(1)
			}
		}()
		won := 0
		for range rounds(4) {
			if out, err := cove(1001, "/", "stop", "a"); err != nil {
				t.Fatal(out)
			}
			out, err := cove(1001, "/", "start", "a")
			if err == nil {
				won++
				if got, err := cove(1001, "/", "exec", "a", "--", "ls", "/workspace"); err != nil || got != "mine\n" {
					t.Errorf("mounted is %q, %v", got, err)
				}
			} else if strings.Count(out, "\n") != 1 || !strings.Contains(out, proj) {
				t.Errorf("start: %q", out)
			}
			out, err = cove(1001, base+"/ann", "run", "--rm", "--mount", proj+":/w:rw", "--", "ls", "/w")
			if err == nil && out != "mine\n" || strings.Contains(out, "secret") {
				t.Errorf("a new one mounts %q, %v", out, err)
			}
		}
		close(stop)
		<-stopped
		if swaps.Load()%2 == 1 {
			if err := unix.Renameat2(unix.AT_FDCWD, proj, unix.AT_FDCWD, base+"/ann/"+link, unix.RENAME_EXCHANGE); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: %d swaps, %d of the starts found the directory", link, swaps.Load(), won)
	}
	if out, err := cove(1001, "/", "start", "a"); err != nil {
		t.Errorf("with the directory back: %s", out)
	}
}

func TestMountsOfRoot(t *testing.T) {
	h := realHost(t)
	base := h.tree(1001, "proj/", "proj/mine", "proj/sub/", "data/", "data/d")
	h.tree(0, "roots/", "roots/r")
	proj := base + "/proj"

	// The directory's owner, not root who called.
	h.must("create", "-p", "base", "-n", "a", "--mount", "proj:/workspace:rw", "--mount", proj+"/sub:/ro", "--mount", "data:/workspace/sub", "--mount", "roots:/home/dev/x/roots")
	in := func(script string) string {
		t.Helper()
		out, stderr, _ := h.cove("exec", "a", "--", "sh", "-c", script)
		return out + stderr
	}
	if got := in("echo x > /workspace/f; ls -A /workspace /workspace/sub /ro ~/x/roots; stat -c %U:%G ~/x ~/x/roots /workspace/f"); got != "/home/dev/x/roots:\nr\n\n/ro:\n\n/workspace:\nf\nmine\nsub\n\n/workspace/sub:\nd\ndev:dev\ndev:dev\ndev:dev\n" {
		t.Errorf("inside: %q", got)
	}
	if got := owner(t, proj+"/f"); got != "1001:1001 644" {
		t.Errorf("what it wrote belongs to %s", got)
	}
	for _, script := range []string{
		"echo x > /ro/f", "sudo -n sh -c 'echo x > /ro/f'", "sudo -n mount -o remount,rw /ro", "sudo -n mount -o remount,rw,bind /ro",
		"sudo -n umount /ro", "sudo -n sh -c 'echo x >> ~dev/x/roots/r'", "sudo -n mknod /workspace/dev b 7 0", "sudo -n touch /workspace/sub/e",
	} {
		if got := in(script + " && echo DONE"); strings.Contains(got, "DONE") {
			t.Errorf("inside it can %s: %s", script, got)
		}
	}
	// The sandbox's own mounts, its propagation, are seen by nobody else.
	if got, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(got), base) {
		t.Errorf("the test's own mounts have the sandbox's, %v", err)
	}
	// Setuid programs of the directory's do not work inside.
	if err := os.WriteFile(proj+"/suid", []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := in("grep -c nosuid,nodev /proc/mounts"); got < "2" {
		t.Errorf("nosuid mounts: %q", got)
	}

	kept := func(when string) {
		t.Helper()
		if got := in("cat /workspace/mine && ls /workspace/sub"); got != "proj/mine"+"d\n" {
			t.Errorf("after %s: %q", when, got)
		}
	}
	kept("creation")
	h.must("restart", "a")
	kept("restart")
	h.kill()
	kept("a killed daemon")
	h.must("restart", "a")
	kept("a killed daemon and restart")
	h.reboot("a")
	h.must("start", "a")
	kept("a reboot")

	// Renamed, replaced, back. What runs is not stopped for a restart that
	// could not be.
	if err := os.Rename(base+"/data", base+"/else"); err != nil {
		t.Fatal(err)
	}
	h.refuse(1, []string{"a:", base + "/data", "no such file"}, "restart", "a")
	kept("a restart that could not be")
	h.must("stop", "a")
	h.refuse(1, []string{"a:", base + "/data", "no such file", "put it back"}, "start", "a")
	h.refuse(1, []string{base + "/data", "no such file", "put it back"}, "cp", "a:/workspace/mine", base+"/copy")
	h.tree(1001, "data/", "data/d")
	h.refuse(1, []string{"a:", base + "/data", "another one now"}, "start", "a")
	if err := os.RemoveAll(base + "/data"); err != nil {
		t.Fatal(err)
	}
	h.tree(1001, "data/") // perhaps with the number of the one before
	h.refuse(1, []string{"a:", base + "/data", "another one now"}, "start", "a")
	if err := os.Remove(base + "/data"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(base+"/else", base+"/data"); err != nil {
		t.Fatal(err)
	}
	// Stopped, its mounts are there for copies, as whom they belong to.
	h.must("cp", base+"/data/d", "a:/workspace/copied")
	if got := owner(t, proj+"/copied"); !strings.HasPrefix(got, "1001:1001 ") {
		t.Errorf("what is copied in belongs to %s", got)
	}
	h.must("start", "a")
	kept("having been away")

	h.refuse(2, []string{"mounts[0]", base + "/roots", "belongs to root", "rw-as-root"}, "create", "--mount", "roots:/workspace:rw")
	h.refuse(2, []string{"1001", "rw"}, "create", "--mount", "proj:/workspace:rw-as-root")
	h.refuse(2, []string{"/proc", "proc"}, "create", "--mount", "/proc/self:/workspace")
	h.refuse(2, []string{"another mount", "/workspace/none"}, "create", "--mount", "proj:/workspace:rw", "--mount", "data:/workspace/none")
	if _, err := os.Stat(proj + "/none"); err == nil {
		t.Error("a mount point was made in the host's directory")
	}
	h.must("run", "--rm", "--mount", "roots:/workspace:rw-as-root", "--", "sh", "-c", "echo x > /workspace/f")
	if got := owner(t, base+"/roots/f"); got != "0:0 644" {
		t.Errorf("as root it wrote what belongs to %s", got)
	}
}

// Each of these is about something else, and none needs a host of its own.
func TestMounts(t *testing.T) {
	h := realHost(t)
	for name, test := range map[string]func(*testing.T, *host){
		"clone": cloneAsksForKeys, "setuid": noSetuidAsRoot, "hostile": mountPointsAreHostile,
		"killed": mountsAndKilledDaemons, "descriptors": mountsLeaveNoDescriptor,
	} {
		t.Run(name, func(t *testing.T) { test(t, h.in(t)) })
	}
}

// A clone whose own profile asks for the user's keys gets them when the user
// has said so, and no sooner, whatever it does with links.
func cloneAsksForKeys(t *testing.T, h *host) {
	base := h.tree(1001, ".ssh/", ".ssh/id", "clone/", "clone/src/")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(base+"/clone/cove.toml", []byte("extends = \"base\"\nnetwork.block_all = true\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cove := func(args ...string) (string, error) {
		return asUID(0, h.env, "/bin/sh", append([]string{"-c", `cd "$1" && shift && exec cove "$@"`, "sh", base + "/clone"}, args...)...)
	}
	write("[[mounts]]\nsource = \"~/.ssh\"\ntarget = \"/keys\"\n")
	for _, args := range [][]string{{"run", "--rm", "--", "cat", "/keys/id"}, {"run", "--rm", "-p", "./cove.toml", "--", "cat", "/keys/id"}, {"create"}} {
		if out, err := cove(args...); err == nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "mounts[0].source") || !strings.Contains(out, "cove trust cove.toml") {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
	if out, err := cove("trust", "--yes"); err != nil {
		t.Fatal(out)
	}
	if out, err := cove("run", "--rm", "--", "cat", "/keys/id"); err != nil || out != ".ssh/id" {
		t.Errorf("trusted: %q, %v", out, err)
	}
	// Of the project itself no trust is needed, and a link does not make more
	// of it.
	write("[[mounts]]\nsource = \"src\"\ntarget = \"/mnt/keys\"\n")
	if out, err := cove("run", "--rm", "-p", "./cove.toml", "--", "ls", "/mnt/keys"); err != nil || out != "" {
		t.Errorf("its own directory: %q, %v", out, err)
	}
	if out, err := cove("trust", "--yes"); err != nil {
		t.Fatal(out)
	}
	if err := os.Rename(base+"/clone/src", base+"/clone/was"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../.ssh", base+"/clone/src"); err != nil {
		t.Fatal(err)
	}
	if out, err := cove("run", "--rm", "--", "cat", "/keys/id"); err == nil || !strings.Contains(out, "leads out of the project") {
		t.Errorf("a link in place of it: %q, %v", out, err)
	}
	if n := len(h.list()); n != 0 {
		t.Errorf("%d sandboxes are left", n)
	}
}

// What a sandbox makes as the host's root makes nobody root there.
func noSetuidAsRoot(t *testing.T, h *host) {
	base := h.tree(0, "roots/")
	const try = `
import os, subprocess, sys
os.chdir("/workspace")
def tried(what, f):
    try:
        f()
        print("DONE", what)
    except OSError as e:
        print(what, e.strerror)
open("f", "w").close()
tried("chmod", lambda: os.chmod("f", 0o4755))
tried("setgid", lambda: os.chmod("f", 0o2755))
fd = os.open("f", os.O_RDWR)
tried("fchmod", lambda: os.fchmod(fd, 0o6755))
tried("open", lambda: os.open("g", os.O_CREAT | os.O_WRONLY, 0o4755))
tried("tmpfile", lambda: os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o4755))
tried("mknod", lambda: os.mknod("h", 0o104755))
os.chmod("f", 0o755); os.chmod("f", 0o1755)
print(open("f").read(), subprocess.run(["/usr/bin/cp", "f", "copy"]).returncode)
`
	for _, user := range []string{"dev", "root"} {
		profile := filepath.Join(base, "config", "cove", "profiles", user+".toml")
		if err := os.MkdirAll(filepath.Dir(profile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(profile, []byte("extends = \"base\"\nnetwork.block_all = true\nuser = \""+user+"\"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		out, stderr, code := h.cove("run", "--rm", "-p", user, "--mount", "roots:/workspace:rw-as-root", "--", "python3", "-c", try)
		if code != 0 || strings.Contains(out, "DONE") || strings.Count(out, "not permitted") != 6 || !strings.HasSuffix(out, " 0\n") {
			t.Errorf("as %s: status %d\n%s%s", user, code, out, stderr)
		}
		for _, name := range []string{"f", "g", "h", "copy"} {
			if got := owner(t, base+"/roots/"+name); strings.HasSuffix(got, " 4755") || strings.HasSuffix(got, " 2755") || strings.HasSuffix(got, " 6755") {
				t.Errorf("as %s: %s is %s", user, name, got)
			}
		}
		if err := os.RemoveAll(base + "/roots/f"); err != nil {
			t.Fatal(err)
		}
	}
	// File capabilities, where the host has setcap(8): the sandbox's root lacks
	// the right to set them.
	out, stderr, _ := h.cove("run", "--rm", "-p", "root", "--mount", "roots:/workspace:rw-as-root", "--", "python3", "-c",
		"import os; open('/workspace/c','w').close()\ntry:\n os.setxattr('/workspace/c', 'security.capability', bytes.fromhex('0100000280000000000000000000000000000000')); print('DONE')\nexcept OSError as e: print(e.strerror)")
	if !strings.Contains(out, "not permitted") {
		t.Errorf("capabilities: %s%s", out, stderr)
	}
}

// What a sandbox left in the place of a mount point leads the next start
// nowhere.
func mountPointsAreHostile(t *testing.T, h *host) {
	base := h.tree(1001, "points/", "points/mine")
	for what, c := range map[string]struct{ script, word string }{
		"a link to the host's etc": {"rmdir /workspace && ln -s /etc /workspace", "symbolic link at /workspace"},
		"a link up":                {"rmdir /workspace && ln -s ../../../../../.. /workspace", "symbolic link at /workspace"},
		"a file":                   {"rmdir /workspace && touch /workspace", "file at /workspace"},
		"a pipe":                   {"rmdir /workspace && mkfifo /workspace", "file at /workspace"},
	} {
		t.Run(what, func(t *testing.T) {
			h := h.in(t)
			// Mounted below, so that the sandbox can change what is above.
			h.must("create", "-p", "base", "-n", "a", "--mount", base+"/points:/workspace/deep:rw")
			defer h.must("rm", "a")
			h.must("stop", "a")
			if out, err := upperScript(h, "a", c.script); err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			h.refuse(1, []string{c.word}, "start", "a")
			if s := stateOf(h, "a"); s != lifecycle.Stopped {
				t.Errorf("it is %s", s)
			}
			if got, err := os.ReadDir(base + "/points"); err != nil || len(got) != 1 {
				t.Errorf("in the directory is %v, %v", got, err)
			}
		})
	}
}

// upperScript changes what a stopped sandbox has written, as its root could
// have: paths below / are those in its upper directory.
func upperScript(h *host, name, script string) (string, error) {
	upper := filepath.Join(h.state, "sandboxes", h.inspect(name).ID, "upper", "root")
	script = strings.ReplaceAll(script, "/workspace", upper+"/workspace")
	script = strings.ReplaceAll(script, "rmdir ", "rm -rf ")
	return asUID(0, h.env, "/bin/sh", "-c", script)
}

// Killed in the middle, nothing of the mounts is left, and the sandbox is what
// it was.
func mountsAndKilledDaemons(t *testing.T, h *host) {
	base := h.tree(1001, "killed/", "killed/mine")
	for _, at := range []string{"create.prepared", "create.created", "create.configured", "start.prepared", "start.running", "start.configured"} {
		t.Run(at, func(t *testing.T) {
			h := h.in(t)
			h.must("daemon", "start")
			create := []string{"create", "-p", "shell", "-n", "s", "--mount", base + "/killed:/workspace:rw"}
			op, _, _ := strings.Cut(at, ".")
			args := create
			if op == "start" {
				h.must(create...)
				h.must("stop", "s")
				args = []string{"start", "s"}
			}
			h.must("daemon", "stop")
			ended := h.daemonThatDies(at)
			h.cove(args...)
			ended()
			h.must("daemon", "start")
			settle(h)
			switch stateOf(h, "s") {
			case lifecycle.Destroyed:
				h.must(create...)
			case lifecycle.Stopped:
				h.must("start", "s")
			}
			if got := h.must("exec", "s", "--", "cat", "/workspace/mine"); got != "killed/mine" {
				t.Errorf("inside is %q", got)
			}
			h.must("rm", "s")
			if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
				t.Errorf("leaks:\n%s%s", out, stderr)
			}
		})
	}
	if _, err := os.Stat(base + "/killed/mine"); err != nil {
		t.Errorf("a delete took the host's file: %v", err)
	}
}

// A running sandbox's mounts keep no descriptor of the daemon's open.
func mountsLeaveNoDescriptor(t *testing.T, h *host) {
	base := h.tree(1001, "held/")
	h.must("run", "--rm", "--mount", base+"/held:/workspace:rw", "--", "true")
	// Namespaces of id maps and networks are kept for the next sandboxes; what
	// has a path is not.
	open := func() (what []string) {
		t.Helper()
		dir := fmt.Sprintf("/proc/%d/fd/", h.pid())
		fds, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			// Of control groups it has those that it measures at this moment.
			if to, err := os.Readlink(dir + fd.Name()); err == nil && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
				what = append(what, to)
			}
		}
		slices.Sort(what)
		return what
	}
	// The last root is let go of in the background.
	rest := func(ok func([]string) bool) []string {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; {
			what := open()
			if ok(what) || time.Now().After(deadline) {
				return what
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	before := rest(func(what []string) bool { return !slices.Contains(what, "/") })
	for range 3 {
		h.must("run", "--rm", "--mount", base+"/held:/workspace:rw", "--", "true")
		h.cove("create", "--mount", base+"/held:/workspace:rw-as-root")
		h.must("create", "-n", "r", "--mount", base+"/held:/workspace:rw")
		h.must("restart", "r")
		h.must("rm", "r")
	}
	if after := rest(func(what []string) bool { return slices.Equal(what, before) }); !slices.Equal(after, before) {
		t.Errorf("the daemon has open after: %q\nbefore: %q", after, before)
	}
}
