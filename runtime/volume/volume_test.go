package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/mount"
)

// TestMain runs the tests in a mount namespace of their own, entered the way
// the daemon does it, and is the child that opens directories.
func TestMain(m *testing.M) {
	if os.Args[0] == OpenerName {
		os.Exit(Opener())
	}
	if os.Getuid() == 0 && os.Getenv("COVE_TEST_PRIVATE") == "" {
		err := mount.EnterPrivateNamespace()
		if err == nil {
			err = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), "COVE_TEST_PRIVATE=1"))
		}
		fmt.Fprintln(os.Stderr, "cannot enter a private mount namespace:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	ann, bob  = 1001, 1002
	team      = 1100
	testBase  = 1<<30 + 5*mount.IDs
	passwdTxt = "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/:/bin/sh\nannalias:x:1001:7::/:/bin/sh\nbob:x:1002:1002::/:/bin/sh\nbad:x:x:1::/:/bin/sh\n"
	groupTxt  = "root:x:0:ann\nann:x:1001:\nteam:x:1100:bob,ann\nannalias:x:1200:annalias\nlike:x:1300:annabel\nbad:x:y:ann\nteam2:x:1100:ann\n"
)

// house is a directory that all may pass, and a Host with the test's users.
func house(t testing.TB) (string, *Host) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: owners and mounts are real")
	}
	dir, err := os.MkdirTemp("", "cove-volume-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	must(t, os.WriteFile(dir+"/passwd", []byte(passwdTxt), 0o644))
	must(t, os.WriteFile(dir+"/group", []byte(groupTxt), 0o644))
	return dir, New(Options{PasswdFile: dir + "/passwd", GroupFile: dir + "/group"})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func makeDir(t testing.TB, path string, uid, gid int, mode uint32) string {
	t.Helper()
	must(t, os.Mkdir(path, 0o755))
	must(t, os.Chown(path, uid, gid))
	must(t, unix.Chmod(path, mode))
	return path
}

func openDir(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestParseAccount(t *testing.T) {
	for uid, want := range map[uint32]string{ann: "[1001 0 1100]", bob: "[1002 1100]", 1003: "", 0: "[0]"} {
		got, ok := parseAccount(uid, []byte(passwdTxt), []byte(groupTxt))
		text := ""
		if ok {
			text = fmt.Sprint(got.gids)
		}
		if text != want {
			t.Errorf("uid %d is in %s, want %s", uid, text, want)
		}
	}
}

// What a caller is granted is never more than the caller is outside.
func TestGrant(t *testing.T) {
	annIs := account{uid: ann, gids: []uint32{ann, team}}
	rootIs := account{gids: []uint32{0}}
	lookup := func(uid uint32) (account, bool) { return annIs, uid == ann }
	for _, c := range []struct {
		name     string
		caller   account
		dir      look
		mode     string
		want     string
		mistaken string
	}{
		{"her own", annIs, look{uid: ann, gid: ann}, "rw", "1001:1001 1001 false", ""},
		{"her own, of the team", annIs, look{uid: ann, gid: team}, "rw", "1001:1100 1001 false", ""},
		{"her own, ro", annIs, look{uid: ann, gid: ann}, "ro", "1001:1001 1001 true", ""},
		{"her own, of a foreign group", annIs, look{uid: ann, gid: 33}, "rw", "", "group 33"},
		{"her own, of a foreign group, ro", annIs, look{uid: ann, gid: 33}, "ro", "1001:1001 1001 true", ""},
		{"his", annIs, look{uid: bob, gid: bob}, "rw", "", "uid 1002"},
		{"his, of the team", annIs, look{uid: bob, gid: team}, "rw", "", "uid 1002"},
		{"his, ro", annIs, look{uid: bob, gid: bob}, "ro", "1001:1001 1001 true", ""},
		{"his, of the team, ro", annIs, look{uid: bob, gid: team}, "ro", "1001:1100 1001 true", ""},
		{"root's, ro", annIs, look{}, "ro", "1001:1001 1001 true", ""},
		{"root's", annIs, look{}, "rw", "", "uid 0"},
		{"root's, as root", annIs, look{}, "rw-as-root", "", "only root"},
		{"her own, as root", annIs, look{uid: ann, gid: ann}, "rw-as-root", "", "only root"},
		{"on a read-only file system", annIs, look{uid: ann, gid: ann, readOnly: true}, "rw", "", "read-only"},
		{"on a read-only file system, ro", annIs, look{uid: ann, gid: ann, readOnly: true}, "ro", "1001:1001 1001 true", ""},
		{"root, hers", rootIs, look{uid: ann, gid: team}, "rw", "1001:1100 1001 false", ""},
		{"root, a stranger's", rootIs, look{uid: 77, gid: 78}, "rw", "77:78 78 false", ""},
		{"root, root's", rootIs, look{}, "rw", "", "rw-as-root"},
		{"root, root's, of the team", rootIs, look{gid: team}, "rw", "", "rw-as-root"},
		{"root, root's, as root", rootIs, look{gid: team}, "rw-as-root", "0:1100 1100 false", ""},
		{"root, root's, ro", rootIs, look{}, "ro", "0:0 0 true", ""},
		{"root, hers, as root", rootIs, look{uid: ann, gid: ann}, "rw-as-root", "", "1001"},
		{"hers, cow", annIs, look{uid: ann, gid: team}, "cow", "1001:1100 1001 true", ""},
		{"hers on a read-only file system, cow", annIs, look{uid: ann, gid: ann, readOnly: true}, "cow", "1001:1001 1001 true", ""},
		{"root's, cow", annIs, look{}, "cow", "", "not yours"},
		{"hers, a stranger's group, cow", annIs, look{uid: ann, gid: 78}, "cow", "", "group 78"},
		{"root, root's, cow", rootIs, look{}, "cow", "0:0 0 true", ""},
		{"none", rootIs, look{uid: ann, gid: ann}, "", "", "no mode"},
	} {
		a, err := grant(c.caller, c.dir, c.mode, lookup)
		got := ""
		if err == nil {
			got = fmt.Sprintf("%d:%d %d %v", a.uid, a.gid, a.primary, a.readOnly)
		}
		if got != c.want || c.mistaken != "" && (err == nil || !strings.Contains(err.Error(), c.mistaken)) {
			t.Errorf("%s: %q, %v; want %q, %q", c.name, got, err, c.want, c.mistaken)
		}
	}
}

func TestAdmitLooksAtTheDescriptor(t *testing.T) {
	dir, h := house(t)
	proj := makeDir(t, dir+"/proj", ann, ann, 0o755)
	must(t, os.WriteFile(dir+"/file", nil, 0o644))
	gone := makeDir(t, dir+"/gone", ann, ann, 0o755)
	removed := openDir(t, gone, unix.O_RDONLY)
	must(t, os.Remove(gone))
	rw := config.Mount{Source: proj, Target: "/w", Mode: "rw"}
	for _, c := range []struct {
		name   string
		uid    int
		mounts []config.Mount
		dirs   []*os.File
		want   string
	}{
		{"one that is not for reading", ann, []config.Mount{rw}, []*os.File{openDir(t, proj, unix.O_PATH)}, "does not show that you may read it"},
		{"a file", ann, []config.Mount{rw}, []*os.File{openDir(t, dir+"/file", unix.O_RDONLY)}, "it is no directory"},
		{"one that is gone", ann, []config.Mount{rw}, []*os.File{removed}, "it has been removed"},
		{"too few", ann, []config.Mount{rw, rw}, []*os.File{openDir(t, proj, unix.O_RDONLY)}, "1 directories came with the request, for 2 mounts"},
		{"too many", ann, nil, []*os.File{openDir(t, proj, unix.O_RDONLY)}, "1 directories came with the request, for 0 mounts"},
		{"nobody known", 4711, []config.Mount{rw}, []*os.File{openDir(t, proj, unix.O_RDONLY)}, "does not know uid 4711"},
		{"of proc", 0, []config.Mount{{Source: "/proc", Target: "/w", Mode: "ro"}}, []*os.File{openDir(t, "/proc/self", unix.O_RDONLY)}, ""},
	} {
		set, err := h.Admit(t.Context(), c.uid, c.mounts, c.dirs)
		if c.want == "" && err == nil {
			must(t, set.Close())
			continue
		}
		if bad, ok := errors.AsType[*Error](err); !ok || !strings.Contains(bad.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if set, err := h.Admit(t.Context(), ann, nil, nil); set != nil || err != nil {
		t.Errorf("nothing: %v, %v", set, err)
	}
}

// A directory that is removed and made again is another one, also where the
// file system gives it the number of the old one.
func TestIdentity(t *testing.T) {
	dir, _ := house(t)
	path := dir + "/d"
	see := func() Identity {
		f, err := os.Open(path)
		must(t, err)
		defer f.Close() // or its number could not be given again
		l, err := lookAt(f)
		must(t, err)
		return l.id
	}
	makeDir(t, path, 0, 0, 0o755)
	first := see()
	must(t, os.Chmod(path, 0o700))
	must(t, os.WriteFile(path+"/f", nil, 0o600))
	if !first.is(see()) {
		t.Error("a change of it makes it another one")
	}
	reused := false
	for range 50 {
		must(t, os.RemoveAll(path))
		makeDir(t, path, 0, 0, 0o755)
		now := see()
		reused = reused || now.Ino == first.Ino
		if first.is(now) {
			t.Fatalf("%+v is taken for %+v", now, first)
		}
	}
	t.Logf("the number was given again: %v", reused)
	other := first
	other.Dev++
	if other.FS == "" || !first.is(other) {
		t.Errorf("after a reboot the device may have another number: %+v", first)
	}
	other.FS = "another"
	if first.is(other) {
		t.Error("another file system's is taken for it")
	}
}

func TestFindUser(t *testing.T) {
	dir, _ := house(t)
	must(t, os.Mkdir(dir+"/etc", 0o755))
	write := func(name, text string) { must(t, os.WriteFile(dir+"/etc/"+name, []byte(text), 0o644)) }
	write("passwd", "root:x:0:0::/:/bin/sh\ndev:x:1000:1000::/:/bin/sh\nbig:x:70000:1::/:/bin/sh\nsix:x:6:60::/:/bin/sh\n")
	write("group", "dev:x:1000:\nwheel:x:10:\n")
	top := openDir(t, dir, unix.O_PATH|unix.O_DIRECTORY)
	for spec, want := range map[string]string{
		"dev": "1000 1000", "root": "0 0", "": "0 0", "0": "0 0", "6": "6 60", "77": "77 0", "77:78": "77 78", "dev:wheel": "1000 10", "dev:5": "1000 5",
		"six": "6 60", "nobody": "", "big": "", "70000": "", "dev:nope": "", "1:70000": "",
	} {
		uid, gid, err := findUser(top, spec)
		got := fmt.Sprint(uid, gid)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%q is %q, %v; want %q", spec, got, err, want)
		}
	}
	// What its root may have put there.
	passwd := dir + "/etc/passwd"
	for what, put := range map[string]func() error{
		"a link":      func() error { return os.Symlink("/etc/passwd", passwd) },
		"a pipe":      func() error { return unix.Mkfifo(passwd, 0o666) },
		"a directory": func() error { return os.Mkdir(passwd, 0o755) },
		"too much":    func() error { return os.WriteFile(passwd, make([]byte, maxUserFile+1), 0o644) },
	} {
		must(t, os.RemoveAll(passwd))
		must(t, put())
		if _, _, err := findUser(top, "dev"); err == nil {
			t.Errorf("%s is read", what)
		}
	}
	must(t, os.RemoveAll(passwd))
	if uid, gid, err := findUser(top, "root"); err != nil || uid != 0 || gid != 0 {
		t.Errorf("without a file root is %d:%d, %v", uid, gid, err)
	}
}

// The child has the user's ids, with all groups, and no others.
func TestOpenAs(t *testing.T) {
	dir, _ := house(t)
	paths := []string{
		makeDir(t, dir+"/hers", ann, ann, 0o700), makeDir(t, dir+"/teams", 0, team, 0o750), makeDir(t, dir+"/roots", 0, 0, 0o700),
		dir + "/none", dir + "/passwd", dir + "/link", "/proc/self/fd/0/..", makeDir(t, dir+"/writeonly", ann, ann, 0o300),
	}
	must(t, os.Symlink(dir+"/hers", dir+"/link"))
	results, err := openAs(t.Context(), account{uid: ann, gids: []uint32{ann, team}}, paths, nil, func() {})
	must(t, err)
	defer closeOpened(results)
	want := []error{nil, nil, unix.EACCES, unix.ENOENT, unix.ENOTDIR, nil, unix.ELOOP, unix.EACCES}
	for i, r := range results {
		if !errors.Is(r.err, want[i]) || (r.dir != nil) != (want[i] == nil) {
			t.Errorf("%s: %v, want %v", paths[i], r.err, want[i])
		}
	}
	results, err = openAs(t.Context(), account{uid: ann, gids: []uint32{ann}}, paths[1:2], nil, func() {})
	must(t, err)
	defer closeOpened(results)
	if !errors.Is(results[0].err, unix.EACCES) {
		t.Errorf("outside of the team: %v", results[0].err)
	}
	// As root it is root.
	results, err = openAs(t.Context(), account{gids: []uint32{0}}, paths[2:3], nil, func() {})
	must(t, err)
	defer closeOpened(results)
	must(t, results[0].err)
}

// A child that does not come to its end holds nobody up.
func TestOpenAsIsBounded(t *testing.T) {
	dir, _ := house(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Nanosecond, errors.New("over"))
	defer cancel()
	<-ctx.Done()
	begin := time.Now()
	if _, err := openAs(ctx, account{uid: ann, gids: []uint32{ann}}, []string{dir}, nil, func() {}); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// elsewhere opens a directory in a mount namespace that is nobody else's, where
// hidden, if it is not "", has an empty file system over it.
func elsewhere(t *testing.T, dir, hidden string) *os.File {
	t.Helper()
	type answer struct {
		f   *os.File
		err error
	}
	got := make(chan answer, 1)
	var open func()
	open = func() {
		runtime.LockOSThread() // and never back: the thread ends with this
		if unix.Gettid() == unix.Getpid() {
			// Not the first thread, whose namespaces are the process's.
			defer runtime.UnlockOSThread()
			done := make(chan struct{})
			go func() { defer close(done); open() }()
			<-done
			return
		}
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil && hidden != "" {
			err = unix.Mount("hides", hidden, "tmpfs", 0, "")
		}
		var f *os.File
		if err == nil {
			f, err = os.Open(dir)
		}
		got <- answer{f, err}
	}
	go open()
	a := <-got
	must(t, a.err)
	t.Cleanup(func() { _ = a.f.Close() })
	return a.f
}

// A directory that was opened among other mounts is taken where the path is that
// very directory here, and found out by the caller's child alone.
func TestAdmitFromElsewhere(t *testing.T) {
	dir, h := house(t)
	hers, other := makeDir(t, dir+"/hers", ann, ann, 0o755), makeDir(t, dir+"/other", ann, ann, 0o755)
	mounts := []config.Mount{{Source: hers, Target: "/w", Mode: config.MountRW}}
	set, err := h.Admit(t.Context(), ann, mounts, []*os.File{elsewhere(t, hers, "")})
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(hers, &st))
	if ids := set.Identities(); len(ids) != 1 || ids[0].Ino != st.Ino {
		t.Errorf("taken: %+v", ids)
	}
	must(t, set.Close())
	for name, f := range map[string]*os.File{"another": elsewhere(t, other, ""), "one that is only there": elsewhere(t, hers, hers)} {
		set, err := h.Admit(t.Context(), ann, mounts, []*os.File{f})
		if refused, ok := errors.AsType[*Error](err); !ok || set != nil || !strings.Contains(refused.Error(), "cannot take it") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Children that cannot end are of a number, for each user; all that can end give
// their places back.
func TestOpenersAreCounted(t *testing.T) {
	dir, h := house(t)
	his := account{uid: bob, gids: []uint32{bob}}
	for range 3 {
		results, err := h.openAs(t.Context(), his, []string{dir}, nil)
		must(t, err)
		closeOpened(results)
	}
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.openAs(cut, account{uid: bob}, []string{dir}, nil); err == nil {
		t.Error("broken off, and done")
	}
	for range maxOpeners { // what is left of those before ends within the time
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := h.opener(ctx, bob)
		must(t, err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("over"))
	defer cancel()
	if _, err := h.openAs(ctx, his, []string{dir}, nil); err == nil || !strings.Contains(err.Error(), "do not answer") {
		t.Errorf("one more: %v", err)
	}
	results, err := h.openAs(t.Context(), account{uid: ann, gids: []uint32{ann}}, []string{dir}, nil)
	must(t, err)
	closeOpened(results)
}

// Through the mount the owner's files are the sandbox's user's, and what that
// user makes is the owner's; nobody else's can be written to.
func TestOwnersAreShifted(t *testing.T) {
	dir, h := house(t)
	proj := makeDir(t, dir+"/proj", ann, team, 0o2775)
	for name, ids := range map[string][2]int{"hers": {ann, ann}, "teams": {ann, team}, "his": {bob, team}, "alls": {bob, bob}, "foreign": {ann, 33}} {
		must(t, os.WriteFile(proj+"/"+name, []byte(name), 0o664))
		must(t, os.Chown(proj+"/"+name, ids[0], ids[1]))
	}
	must(t, os.Chmod(proj+"/alls", 0o666))
	root := makeDir(t, dir+"/root", 0, 0, 0o755)
	must(t, os.Mkdir(root+"/etc", 0o755))
	must(t, os.WriteFile(root+"/etc/passwd", []byte("dev:x:1000:1000::/:/bin/sh\n"), 0o644))
	must(t, os.Mkdir(root+"/w", 0o755))
	mounts := []config.Mount{{Source: proj, Target: "/w", Mode: "rw"}}
	set, err := h.Admit(t.Context(), ann, mounts, []*os.File{openDir(t, proj, unix.O_RDONLY)})
	must(t, err)
	must(t, set.Attach(t.Context(), root, testBase, "dev"))
	must(t, set.Close())
	t.Cleanup(func() { must(t, mount.Unmount(root+"/w")) })

	const nobody = 65534
	for name, want := range map[string][2]uint32{
		"": {testBase + 1000, testBase + 1000}, "hers": {testBase + 1000, testBase + primaryInside}, "teams": {testBase + 1000, testBase + 1000},
		"his": {nobody, testBase + 1000}, "alls": {nobody, nobody}, "foreign": {testBase + 1000, nobody},
	} {
		var st unix.Stat_t
		must(t, unix.Lstat(root+"/w/"+name, &st))
		if got := [2]uint32{st.Uid, st.Gid}; got != want {
			t.Errorf("%q belongs to %v there, want %v", name, got, want)
		}
	}
	as := func(id uint32, script string) string {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
		cmd.Dir = root + "/w"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testBase + id, Gid: testBase + id, Groups: []uint32{testBase + id}}}
		out, err := cmd.CombinedOutput()
		return fmt.Sprintf("%s%v", out, err)
	}
	if got := as(1000, "echo x >new && echo x >>hers && echo x >>teams && mkdir d"); got != "<nil>" {
		t.Errorf("the user: %s", got)
	}
	for _, name := range []string{"his", "alls", "foreign"} {
		if got := as(1000, "echo x >>"+name); !strings.Contains(got, "ermission denied") {
			t.Errorf("the user writes to %s: %s", name, got)
		}
	}
	if got := as(1001, "echo x >>hers"); !strings.Contains(got, "ermission denied") {
		t.Errorf("another user inside: %s", got)
	}
	for name, want := range map[string]string{"new": "1001:1100", "d": "1001:1100"} { // the directory's group, by its setgid bit
		var st unix.Stat_t
		must(t, unix.Lstat(proj+"/"+name, &st))
		if got := fmt.Sprintf("%d:%d", st.Uid, st.Gid); got != want {
			t.Errorf("%s belongs to %s on disk, want %s", name, got, want)
		}
	}
	if set.Identities() != nil && len(set.Identities()) != 0 {
		t.Errorf("a closed set holds %v", set.Identities())
	}
}

// A set is mounted from the outside in, and nothing is made in what is the
// host's.
func TestAttachNested(t *testing.T) {
	dir, h := house(t)
	a, b := makeDir(t, dir+"/a", ann, ann, 0o755), makeDir(t, dir+"/b", ann, ann, 0o755)
	must(t, os.Mkdir(a+"/in", 0o755))
	must(t, os.WriteFile(b+"/f", nil, 0o644))
	root := makeDir(t, dir+"/root", 0, 0, 0o755)
	attach := func(targets ...string) error {
		t.Helper()
		t.Cleanup(func() {
			for _, target := range []string{"/w/in", "/w"} {
				must(t, mount.Unmount(root+target))
			}
		})
		var mounts []config.Mount
		var dirs []*os.File
		for _, target := range targets {
			path, at, _ := strings.Cut(target, ":")
			mounts = append(mounts, config.Mount{Source: path, Target: at, Mode: "rw"})
			dirs = append(dirs, openDir(t, path, unix.O_RDONLY))
		}
		set, err := h.Admit(t.Context(), ann, mounts, dirs)
		must(t, err)
		defer set.Close()
		return set.Attach(t.Context(), root, testBase, "0")
	}
	must(t, attach(b+":/w/in", a+":/w"))
	if _, err := os.Stat(root + "/w/in/f"); err != nil {
		t.Error(err)
	}
	if names, err := os.ReadDir(a + "/in"); err != nil || len(names) != 0 {
		t.Errorf("the mount in the mount shows outside: %v, %v", names, err)
	}
	must(t, mount.Unmount(root+"/w/in"))
	must(t, mount.Unmount(root+"/w"))
	if err := attach(b+":/w/none", a+":/w"); err == nil || !strings.Contains(err.Error(), "another mount") {
		t.Errorf("a mount point that is missing: %v", err)
	}
	entries, err := os.ReadDir(a)
	must(t, err)
	if names := slices.Collect(func(yield func(string) bool) {
		for _, e := range entries {
			if !yield(e.Name()) {
				return
			}
		}
	}); !slices.Equal(names, []string{"in"}) {
		t.Errorf("in the host's directory is %v", names)
	}
}
