package rootfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// Ranges far from those of anything else.
const (
	baseA = 1<<30 + 5*mount.IDs
	baseB = 1<<30 + 6*mount.IDs
)

// world is a daemon's directories, on the way to which everyone may pass.
type world struct {
	t          testing.TB
	state, run string
	host       *Host
}

func newWorld(t testing.TB, hostRoot string) *world {
	t.Helper()
	needRoot(t)
	top, err := os.MkdirTemp("", "cove-rootfs-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, state: filepath.Join(top, "state"), run: filepath.Join(top, "run")}
	t.Cleanup(func() {
		if err := Remove(context.Background(), top); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	if err := errors.Join(os.Chmod(top, 0o711), os.Mkdir(w.state, 0o700), os.Mkdir(w.run, 0o711)); err != nil {
		t.Fatal(err)
	}
	w.open(hostRoot)
	return w
}

// open starts a Host, as a daemon that starts does.
func (w *world) open(hostRoot string) {
	w.t.Helper()
	ids := mount.NewIDMaps(8)
	h, err := New(context.Background(), Options{StateDir: w.state, RunDir: w.run, HostRoot: hostRoot, IDMaps: ids})
	if err != nil {
		w.t.Fatal(err)
	}
	w.host = h
	w.t.Cleanup(func() {
		if err := errors.Join(h.Close(), ids.Close()); err != nil {
			w.t.Error(err)
		}
	})
}

// sub is the same world with failures told to a subtest.
func (w *world) sub(t *testing.T) *world {
	return &world{t: t, state: w.state, run: w.run, host: w.host}
}

func (w *world) dir(id string) string    { return filepath.Join(w.state, "sandboxes", id) }
func (w *world) target(id string) string { return filepath.Join(w.run, "sandboxes", id, "root") }

// createAt is Create in a directory that is made where it is missing.
func createAt(dir, hostname, gitconfig string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	top, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(Create(top, Fresh{Hostname: hostname, GitConfig: gitconfig}), top.Close())
}

// up creates, where needed, and mounts a sandbox's root; it is unmounted when
// the test ends.
func (w *world) up(id string, base uint32) string {
	w.t.Helper()
	if err := createAt(w.dir(id), "box-"+id, ""); err != nil {
		w.t.Fatal(err)
	}
	if err := w.host.Mount(context.Background(), w.dir(id), w.target(id), base, HostBase()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.down(id) })
	return w.target(id)
}

func (w *world) down(id string) {
	w.t.Helper()
	if err := w.host.Unmount(w.dir(id), w.target(id)); err != nil {
		w.t.Error(err)
	}
}

// devices gives a mounted root the devices that runc would.
func (w *world) devices(id string) {
	w.t.Helper()
	dev := filepath.Join(w.target(id), "dev")
	if err := unix.Mount("tmpfs", dev, "tmpfs", 0, "mode=755"); err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{"null", "zero", "urandom"} {
		at := filepath.Join(dev, name)
		if err := os.WriteFile(at, nil, 0o666); err != nil {
			w.t.Fatal(err)
		}
		if err := unix.Mount(filepath.Join("/dev", name), at, "", unix.MS_BIND, ""); err != nil {
			w.t.Fatal(err)
		}
	}
}

// inside runs a shell script in a mounted root, in namespaces like a sandbox's,
// as the user with this id there.
func (w *world) inside(id string, base uint32, uid int, script string) (string, error) {
	w.t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "mount -t proc proc /proc && exec setpriv --reuid $0 --regid $0 --clear-groups /bin/sh -c \"$1\"",
		strconv.Itoa(uid), script)
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(base), Size: mount.IDs}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: one, GidMappings: one, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{}, Chroot: w.target(id), Pdeathsig: syscall.SIGKILL,
	}
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

func (w *world) mustInside(id string, base uint32, uid int, script string) string {
	w.t.Helper()
	out, err := w.inside(id, base, uid, script)
	if err != nil {
		w.t.Errorf("as %d: %s\n%v: %s", uid, script, err, out)
	}
	return out
}

// TestRealHost makes sandboxes from the very system the test runs on.
func TestRealHost(t *testing.T) {
	w := newWorld(t, "/")
	w.up("a", baseA)
	w.devices("a")
	w.up("b", baseB)

	t.Run("tools", func(t *testing.T) {
		w := w.sub(t)
		if got, want := w.mustInside("a", baseA, 0, "id -u; cat /proc/self/uid_map | tr -s ' '"), "0\n 0 "+strconv.Itoa(baseA)+" 65536"; got != want {
			t.Fatalf("the test's sandbox is not what it should be: %q, want %q", got, want)
		}
		for tool, script := range map[string]string{
			"python3": `python3 -c 'import json, ssl; print(6*7)'`,
			"git":     `cd /tmp && git init -q r && cd r && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git log --oneline | wc -l | sed s/1/42/`,
			"gcc":     `cd /tmp && printf '#include <stdio.h>\nint main(){printf("%%d\\n",6*7);}' > a.c && gcc a.c -o a && ./a`,
			"perl":    `perl -e 'print 6*7'`,
		} {
			if _, err := exec.LookPath(tool); err != nil {
				t.Logf("no %s on this host", tool)
				continue
			}
			for _, uid := range []int{0, DevUID} {
				if got := w.mustInside("a", baseA, uid, "rm -rf /tmp/r /tmp/a*; "+script); got != "42" {
					t.Errorf("%s as %d: %q", tool, uid, got)
				}
				w.mustInside("a", baseA, 0, "rm -rf /tmp/r /tmp/a*")
			}
		}
		if exists("/etc/ssl/openssl.cnf") {
			w.mustInside("a", baseA, 0, "test -s /etc/ssl/openssl.cnf")
		}
		if _, err := exec.LookPath("dpkg"); err == nil {
			if got := w.mustInside("a", baseA, 0, "dpkg -s bash | grep ^Status"); got != "Status: install ok installed" {
				t.Errorf("dpkg: %s", got)
			}
		}
	})

	t.Run("changes land in the upper with the ids of inside", func(t *testing.T) {
		w := w.sub(t)
		w.mustInside("a", baseA, 0, "touch /usr/bin/newtool && chown 5:6 /usr/bin/newtool && touch /etc/mine && mkdir /usr/share/mine")
		wantOwner(t, filepath.Join(w.dir("a"), upperUsr, "bin/newtool"), 5, 6)
		wantOwner(t, filepath.Join(w.dir("a"), upperUsr, "share/mine"), 0, 0)
		wantOwner(t, filepath.Join(w.dir("a"), upperRoot, "etc/mine"), 0, 0)
		w.mustInside("a", baseA, DevUID, "echo hi > /home/dev/f && echo hi > /workspace/f && test $(stat -c %u /home/dev/f) = 1000")
		wantOwner(t, filepath.Join(w.dir("a"), upperRoot, "home/dev/f"), DevUID, DevUID)
		if _, err := os.Lstat("/usr/bin/newtool"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the host got it: %v", err)
		}
		if out, err := w.inside("b", baseB, 0, "ls /usr/bin/newtool"); err == nil {
			t.Errorf("another sandbox got it: %s", out)
		}
		if out, err := w.inside("a", baseA, DevUID, "touch /usr/bin/x || touch /etc/x"); err == nil {
			t.Errorf("dev may write where only root may: %s", out)
		}
	})

	t.Run("renames, removals, whiteouts", func(t *testing.T) {
		w := w.sub(t)
		w.mustInside("a", baseA, 0, `set -e
			rm /usr/bin/env; ! test -e /usr/bin/env; printf x > /usr/bin/env; test "$(cat /usr/bin/env)" = x
			mkdir -p /opt/d/e; mv /opt/d /opt/f; rmdir /opt/f/e /opt/f
			mv /usr/share/mine /usr/share/mine2; rm -r /usr/share/mine2
			rm -r /etc/alternatives; mkdir /etc/alternatives; test -z "$(ls /etc/alternatives)"
			mknod /opt/null c 1 3 2>/dev/null && exit 1 || true`)
		if _, err := os.Stat("/usr/bin/env"); err != nil {
			t.Errorf("the host's file is gone: %v", err)
		}
	})

	t.Run("nothing of the host's people and secrets", func(t *testing.T) {
		w := w.sub(t)
		if got := w.mustInside("b", baseB, 0, "cd / && find root srv opt mnt boot media home -mindepth 1 -maxdepth 1"); got != "home/dev" {
			t.Errorf("something is there:\n%s", got)
		}
		if got := w.mustInside("b", baseB, 0, "ls -A / | tr '\\n' ' '"); strings.TrimLeft(got, "abcdefghijklmnopqrstuvwxyz0123456789 ") != "" || strings.Contains(got, "lost") {
			t.Errorf("in the root: %s", got)
		}
		for _, p := range []string{"/etc/ssh", "/etc/ssl/private", "/etc/fstab", "/etc/npmrc", "/etc/environment", "/usr/local/etc", "/etc/postgresql", "/etc/gitconfig", "/.dockerenv", "/work"} {
			if out, err := w.inside("b", baseB, 0, "ls -d "+p); err == nil {
				t.Errorf("%s is inside", out)
			}
		}
		if got := w.mustInside("b", baseB, 0, "ls -A /etc/sudoers.d; cat /etc/machine-id"); got != "" {
			t.Errorf("inside: %s", got)
		}
		shadow := w.mustInside("b", baseB, 0, "cut -d: -f2 /etc/shadow | sort -u")
		if shadow != "*" {
			t.Errorf("password hashes: %s", shadow)
		}
		for _, uid := range []int{0, DevUID} {
			want := map[int]string{0: "root", DevUID: "dev"}[uid]
			if got := w.mustInside("b", baseB, uid, "id -un; id -gn"); got != want+"\n"+want {
				t.Errorf("uid %d is %q", uid, got)
			}
		}
		if out, err := w.inside("b", baseB, DevUID, "cat /etc/shadow"); err == nil {
			t.Errorf("dev reads shadow: %s", out)
		}
		if got := w.mustInside("b", baseB, 0, "cat /etc/hostname; grep -c box-b /etc/hosts"); got != "box-b\n1" {
			t.Errorf("host name: %s", got)
		}
		if got := w.mustInside("b", baseB, 0, "find / -xdev -nouser -o -xdev -nogroup | head; find /usr -xdev ! -perm -o+r ! -type l ! -path /usr/bin/sudo | head"); got != "" {
			t.Errorf("owned by nobody, or not for everyone to read:\n%s", got)
		}
	})

	t.Run("sudo", func(t *testing.T) {
		w := w.sub(t)
		if _, err := os.Stat("/usr/bin/sudo"); err != nil {
			t.Skip("no sudo on this host")
		}
		out, err := w.inside("a", baseA, DevUID, "sudo -n id -u")
		if err != nil || lastLine(out) != "0" {
			t.Errorf("%v: %s", err, out)
		}
	})

	t.Run("the base's range and no other", func(t *testing.T) {
		w := w.sub(t)
		wantOwner(t, w.target("a"), baseA, baseA)
		wantOwner(t, w.target("b"), baseB, baseB)
		wantOwner(t, filepath.Join(w.target("b"), "usr/bin"), baseB, baseB)
		wantOwner(t, filepath.Join(w.target("b"), "home/dev"), baseB+DevUID, baseB+DevUID)
		// Root of a, let loose on b's tree, is a stranger there.
		one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: baseA, Size: mount.IDs}}
		cmd := exec.Command("/usr/bin/touch", filepath.Join(w.target("b"), "etc/x"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: one, GidMappings: one, Credential: &syscall.Credential{}}
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("one sandbox's root writes into another: %s", out)
		}
		for p := w.target("a"); len(p) > len(w.run); p = filepath.Dir(p) {
			var st unix.Stat_t
			if err := unix.Stat(p, &st); err != nil || st.Mode&0o001 == 0 {
				t.Errorf("%s: %v, mode %o", p, err, st.Mode)
			}
		}
	})
}

// TestRealHostAgain stops and starts sandboxes, in every way that kernels offer.
func TestRealHostAgain(t *testing.T) {
	w := newWorld(t, "/")
	t.Run("remount under another base", func(t *testing.T) { testRemount(t, w.sub(t)) })
	t.Run("every rung", func(t *testing.T) { testEveryRung(t, w.sub(t)) })
	t.Run("the next daemon", func(t *testing.T) { testNextDaemon(t, w.sub(t)) })
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

func wantOwner(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Error(err)
		return
	}
	if st.Uid != uid || st.Gid != gid {
		t.Errorf("%s is owned by %d:%d, not %d:%d", path, st.Uid, st.Gid, uid, gid)
	}
}

// Stop and start: the changes are there again, under other ids.
func testRemount(t *testing.T, w *world) {
	w.up("a", baseA)
	w.mustInside("a", baseA, DevUID, "echo kept > /workspace/f")
	w.mustInside("a", baseA, 0, "rm /usr/bin/env; mkdir /usr/lib/x")
	if err := w.host.Mount(context.Background(), w.dir("a"), w.target("a"), baseA, HostBase()); !errors.Is(err, ErrMounted) {
		t.Errorf("mounted twice: %v", err)
	}
	w.down("a")
	w.down("a")
	if _, err := os.Lstat(w.target("a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target is left: %v", err)
	}
	if info, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(info), w.run) {
		t.Errorf("mounts are left (%v)", err)
	}
	if refs, err := os.ReadDir(w.host.refDir); err != nil || len(refs) != 0 {
		t.Errorf("references are left: %v %v", refs, err)
	}
	w.up("a", baseB)
	if got := w.mustInside("a", baseB, DevUID, "cat /workspace/f; stat -c %u /workspace/f; ls -d /usr/lib/x"); got != "kept\n1000\n/usr/lib/x" {
		t.Errorf("after another start: %q", got)
	}
	if out, err := w.inside("a", baseB, 0, "ls /usr/bin/env"); err == nil {
		t.Errorf("what was deleted is back: %s", out)
	}
	wantOwner(t, filepath.Join(w.target("a"), "workspace/f"), baseB+DevUID, baseB+DevUID)
}

// mountCow mounts a directory of root's copy-on-write in a root, for its user dev.
func (w *world) mountCow(t *testing.T, id, dir, at string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	opened, err := os.Open(dir)
	must(err)
	defer opened.Close()
	lower, err := mount.CloneOpened(opened, true)
	must(err)
	owners := []mount.Owner{{Disk: 0, Host: baseA + DevUID}}
	ids, err := mount.NewOwnerMap(owners, owners)
	must(err)
	must(lower.Shift(ids))
	must(ids.Close())
	merged, err := w.host.MountCow(t.Context(), w.dir(id), w.target(id), baseA, lower, "0")
	must(errors.Join(err, lower.Close()))
	place, err := os.OpenFile(filepath.Join(w.target(id), at), unix.O_PATH|unix.O_DIRECTORY, 0)
	must(err)
	must(errors.Join(merged.Attach(place), merged.Close(), place.Close()))
}

// A root is mounted each way that older kernels offer.
func testEveryRung(t *testing.T, w *world) {
	attach := filepath.Join(w.run, "layers-attached")
	best := w.host.mounter.Rung()
	for _, rung := range []mount.Rung{mount.RungFD, mount.RungPath, mount.RungClassic} {
		if rung < best {
			continue // which this kernel does not offer; mount's own tests see to that
		}
		if err := w.host.detect(context.Background(), attach, []mount.Rung{rung}); err != nil {
			t.Fatal(err)
		}
		id := strconv.Itoa(int(rung))
		w.up(id, baseA)
		if got := w.mustInside(id, baseA, 0, "touch /usr/bin/x /etc/x && ls /usr/bin/x"); got != "/usr/bin/x" {
			t.Errorf("%s: %s", rung, got)
		}
		wantOwner(t, filepath.Join(w.dir(id), upperUsr, "bin/x"), 0, 0)
		project := t.TempDir()
		plant(t, project, 0o600, "edited", "kept", "deleted")
		w.mountCow(t, id, project, "mnt")
		if got := w.mustInside(id, baseA, DevUID, "cd /mnt && echo mine > edited && rm deleted && echo new > new && cat kept && ls -A && stat -c %u kept edited new"); got != "content of kept\nedited\nkept\nnew\n1000\n1000\n1000" {
			t.Errorf("%s: a copy-on-write mount: %s", rung, got)
		}
		for _, name := range []string{"edited", "kept", "deleted"} {
			if text, err := os.ReadFile(filepath.Join(project, name)); err != nil || string(text) != "content of "+name+"\n" {
				t.Errorf("%s: the host's %s is %q, %v", rung, name, text, err)
			}
		}
		wantOwner(t, filepath.Join(w.dir(id), Cow("0"), "new"), DevUID, DevUID)
		if left, err := os.ReadDir(attach); err != nil || len(left) != 0 {
			t.Errorf("%s leaves %v %v", rung, left, err)
		}
		w.down(id)
	}
}

func TestDamagedRootsAreRefused(t *testing.T) {
	w := newWorld(t, fixture(t))
	tests := map[string]func(dir string) error{
		"link at dev":  func(d string) error { return replace(d+"/"+upperRoot+"/dev", "/etc") },
		"link at proc": func(d string) error { return replace(d+"/"+upperRoot+"/proc", "../..") },
		"link at usr":  func(d string) error { return replace(d+"/"+upperRoot+"/usr", "/") },
		"file at sys":  func(d string) error { return os.WriteFile(d+"/"+upperRoot+"/sys", nil, 0o644) },
		"no upper":     func(d string) error { return os.RemoveAll(d + "/upper/usr") },
		"link as upper": func(d string) error {
			return errors.Join(os.RemoveAll(d+"/upper/root"), os.Symlink("/etc", d+"/upper/root"))
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			id := strings.ReplaceAll(name, " ", "")
			if err := errors.Join(createAt(w.dir(id), "", ""), damage(w.dir(id))); err != nil {
				t.Fatal(err)
			}
			err := w.host.Mount(context.Background(), w.dir(id), w.target(id), baseA, HostBase())
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("err = %v", err)
			}
			if info, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(info), w.target(id)) {
				t.Errorf("a mount is left (%v)", err)
			}
			if err := w.host.Unmount(w.dir(id), w.target(id)); err != nil {
				t.Error(err)
			}
		})
	}
}

func replace(path, target string) error { return os.Symlink(target, path) }

func TestTargetsOutsideOfTheRunDirectoryAreRefused(t *testing.T) {
	w := newWorld(t, fixture(t))
	if err := createAt(w.dir("a"), "", ""); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{w.run, w.state, filepath.Join(w.run, "../x"), "/"} {
		if err := w.host.Mount(context.Background(), w.dir("a"), target, baseA, HostBase()); err == nil {
			t.Errorf("mounted on %s", target)
			_ = mount.Unmount(target)
		}
	}
	if err := os.Symlink(w.state, filepath.Join(w.run, "link")); err != nil {
		t.Fatal(err)
	}
	if err := w.host.Mount(context.Background(), w.dir("a"), filepath.Join(w.run, "link/root"), baseA, HostBase()); err == nil {
		t.Error("a link in the run directory was followed")
	}
}

func TestCreateChecksTheHostName(t *testing.T) {
	needRoot(t)
	for _, bad := range []string{"a b", "a\nb", "-a", "a..b", "ü", strings.Repeat("a", 64) + "b", "a\t127.0.0.1"} {
		if err := createAt(filepath.Join(t.TempDir(), "s"), bad, ""); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	dir := filepath.Join(t.TempDir(), "s")
	if err := errors.Join(createAt(dir, "one", "first"), createAt(dir, "two", "second")); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, upperRoot, "etc/hostname")); err != nil || string(raw) != "one\n" {
		t.Errorf("%q %v", raw, err)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, upperRoot, "etc/gitconfig")); err != nil || string(raw) != "first" {
		t.Errorf("%q %v", raw, err)
	}
}

func TestProbe(t *testing.T) {
	w := newWorld(t, fixture(t))
	for _, c := range w.host.Probe(context.Background()) {
		t.Logf("%-40s %v %s", c.Name, c.OK, c.Detail)
		if !c.OK {
			t.Errorf("%s: %s", c.Name, c.Detail)
		}
	}
	if err := os.Chmod(w.state, 0o755); err != nil {
		t.Fatal(err)
	}
	checks := w.host.Probe(context.Background())
	if last := checks[len(checks)-1]; last.OK {
		t.Error("an open state directory is fine with it")
	}
}

func testNextDaemon(t *testing.T, w *world) {
	w.up("c", baseA)
	if err := w.host.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.host.Prepare(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("err = %v", err)
	}
	before := layerNames(t, w)
	// The next daemon finds everything made, and leaves what is mounted alone.
	w.open("/")
	w.up("d", baseB)
	if got := w.mustInside("c", baseA, 0, "echo still here"); got != "still here" {
		t.Errorf("the older sandbox: %s", got)
	}
	if after := layerNames(t, w); after != before {
		t.Errorf("layers were %s, are %s", before, after)
	}
	w.down("c")
}
