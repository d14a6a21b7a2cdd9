package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func detect(t *testing.T, rungs ...Rung) (*Mounter, *IDMaps, string) {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	ids := NewIDMaps(4)
	t.Cleanup(func() { _ = ids.Close() })
	for _, d := range []string{"scratch", "attach"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Detect(context.Background(), Config{
		Scratch: filepath.Join(dir, "scratch"), AttachDir: filepath.Join(dir, "attach"), IDMaps: ids, Rungs: rungs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, ids, dir
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("left in %s: %v", dir, left)
	}
}

func TestDetectTakesTheBestRung(t *testing.T) {
	m, _, dir := detect(t)
	checks := m.Checks()
	if len(checks) == 0 || !checks[len(checks)-1].OK || checks[len(checks)-1].Name != m.Rung().String() {
		t.Errorf("rung %v with checks %+v", m.Rung(), checks)
	}
	t.Logf("this kernel: %+v", checks)
	wantEmpty(t, filepath.Join(dir, "scratch"))
	wantEmpty(t, filepath.Join(dir, "attach"))
}

func TestDetectSaysWhatIsMissing(t *testing.T) {
	needRoot(t)
	ids := NewIDMaps(2)
	defer func() { _ = ids.Close() }()
	// proc can neither be id-mapped nor hold layers.
	_, err := Detect(context.Background(), Config{Scratch: t.TempDir(), AttachDir: "/proc/nothing", IDMaps: ids, Rungs: []Rung{RungPath}})
	if !errors.Is(err, ErrNoIDMap) || !strings.Contains(err.Error(), RungPath.String()) {
		t.Errorf("err = %v", err)
	}
}

func TestCloneRefusesAFileSystemThatCannotShift(t *testing.T) {
	needRoot(t)
	ids := NewIDMaps(2)
	defer func() { _ = ids.Close() }()
	id, err := ids.Get(context.Background(), testBase)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = id.Close() }()
	tree, err := Clone("/proc", id, true)
	if err == nil {
		_ = tree.Close()
	}
	if !errors.Is(err, ErrNoIDMap) || !strings.Contains(err.Error(), "/proc") {
		t.Errorf("err = %v", err)
	}
}

// needKernelOf skips on a kernel that is older than a rung. On others the rung
// must work.
func needKernelOf(t *testing.T, r Rung) {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	release := unix.ByteSliceToString(name.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	since := map[Rung][2]int{RungFD: {6, 15}, RungPath: {6, 7}, RungClassic: {5, 19}}[r]
	if major < since[0] || major == since[0] && minor < since[1] {
		t.Skipf("Linux %s has no %s", release, r)
	}
}

// TestOverlayOnEveryRung makes, on each rung that this kernel has, two overlays
// with two layers from one upper clone, as a sandbox's root and /usr are.
func TestOverlayOnEveryRung(t *testing.T) {
	for _, rung := range []Rung{RungFD, RungPath, RungClassic} {
		t.Run(rung.String(), func(t *testing.T) {
			needKernelOf(t, rung)
			m, ids, dir := detect(t, rung)
			get(t, ids, testBase) // the set keeps a descriptor of its own
			fdsBefore := countFDs(t)
			for _, d := range []string{"top/d", "bottom/d", "s/upper/a", "s/upper/b", "s/work/a", "s/work/b", "at/a", "at/b"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write(t, filepath.Join(dir, "bottom/both"), "bottom")
			write(t, filepath.Join(dir, "top/both"), "top")
			write(t, filepath.Join(dir, "bottom/five"), "5")
			write(t, filepath.Join(dir, "bottom/hidden"), "secret")
			if err := errors.Join(os.Chown(filepath.Join(dir, "bottom/five"), 5, 6),
				unix.Mknod(filepath.Join(dir, "top/hidden"), unix.S_IFCHR, 0)); err != nil {
				t.Fatal(err)
			}
			id, err := ids.Get(context.Background(), testBase)
			if err != nil {
				t.Fatal(err)
			}
			trees := []*Tree{}
			for _, d := range []string{"top", "bottom", "s"} {
				tree, err := Clone(filepath.Join(dir, d), id, d != "s")
				if err != nil {
					t.Fatal(err)
				}
				trees = append(trees, tree)
			}
			for _, name := range []string{"a", "b"} {
				merged, err := m.Overlay(Overlay{Lower: trees[:2], Upper: trees[2], UpperDir: "upper/" + name, WorkDir: "work/" + name})
				if err != nil {
					t.Fatal(err)
				}
				at, err := os.Open(filepath.Join(dir, "at", name))
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(merged.Attach(at), at.Close(), merged.Close()); err != nil {
					t.Fatal(err)
				}
			}
			for _, tree := range trees {
				if err := tree.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := id.Close(); err != nil {
				t.Error(err)
			}
			a, b := filepath.Join(dir, "at/a"), filepath.Join(dir, "at/b")
			if got := read(t, filepath.Join(a, "both")); got != "top" {
				t.Errorf("the upper layer does not win: %q", got)
			}
			if _, err := os.Lstat(filepath.Join(a, "hidden")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a whiteout of a lower layer hides nothing: %v", err)
			}
			wantID(t, filepath.Join(a, "five"), testBase+5, testBase+6)
			// A change of metadata copies up, and on disk the ids are unshifted.
			if err := os.Chmod(filepath.Join(a, "five"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantID(t, filepath.Join(dir, "s/upper/a/five"), 5, 6)
			if err := os.Chown(filepath.Join(a, "five"), testBase, testBase+65535); err != nil {
				t.Fatal(err)
			}
			wantID(t, filepath.Join(dir, "s/upper/a/five"), 0, 65535)
			if err := os.Remove(filepath.Join(a, "both")); err != nil {
				t.Fatal(err)
			}
			if read(t, filepath.Join(b, "both")) != "top" {
				t.Error("the two overlays share an upper")
			}
			opts := mountOptions(t, a)
			for _, want := range []string{"nodev", "rw"} {
				if !contains(strings.Split(opts, ","), want) {
					t.Errorf("mount options %s lack %s", opts, want)
				}
			}
			for _, bad := range []string{"userxattr", "metacopy=on", "index=on", "redirect_dir=on", "nosuid"} {
				if contains(strings.Split(opts, ","), bad) {
					t.Errorf("mount options %s have %s", opts, bad)
				}
			}
			for _, at := range []string{a, b} {
				if err := errors.Join(Unmount(at), Unmount(at)); err != nil {
					t.Error(err)
				}
				wantEmpty(t, at)
			}
			wantEmpty(t, filepath.Join(dir, "attach"))
			wantEmpty(t, filepath.Join(dir, "scratch"))
			if n := countFDs(t); n != fdsBefore {
				t.Errorf("%d descriptors before, %d after", fdsBefore, n)
			}
		})
	}
}

// The trap that the extra extent is for: without it the overlay would come up
// read-only, and Overlay must say so rather than hand it out.
func TestOverlayWithoutTheExtraExtentIsRefused(t *testing.T) {
	m, _, dir := detect(t)
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"x"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: extents(testBase)[:1], GidMappings: extents(testBase)[:1],
		Ptrace: true, Pdeathsig: unix.SIGKILL,
	}})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err := errors.Join(err, killHolder(pid)); err != nil {
		t.Fatal(err)
	}
	id := &IDMap{ns: ns, base: testBase}
	defer func() { _ = id.Close() }()
	for _, d := range []string{"lower", "s/upper", "s/work"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lower, err := Clone(filepath.Join(dir, "lower"), id, true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lower.Close() }()
	s, err := Clone(filepath.Join(dir, "s"), id, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	merged, err := m.Overlay(Overlay{Lower: []*Tree{lower}, Upper: s, UpperDir: "upper", WorkDir: "work"})
	if err == nil {
		_ = merged.Close()
		t.Fatal("no error")
	}
	if !errors.Is(err, ErrReadOnly) && !errors.Is(err, unix.EOVERFLOW) {
		t.Errorf("err = %v", err)
	}
}

func TestOverlayNeedsLayers(t *testing.T) {
	if _, err := (&Mounter{rung: RungFD}).Overlay(Overlay{}); err == nil {
		t.Error("an overlay of nothing")
	}
	if _, err := (&Mounter{rung: RungFD}).Overlay(Overlay{Lower: make([]*Tree, MaxLower+1)}); err == nil {
		t.Error("too many layers are accepted")
	}
}

func TestOpenBeneath(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "secret")
	in := filepath.Join(dir, "in")
	if err := errors.Join(os.MkdirAll(filepath.Join(in, "d/e"), 0o755),
		os.Symlink("../secret", filepath.Join(in, "out")),
		os.Symlink("/", filepath.Join(in, "abs")),
		os.Symlink("d", filepath.Join(in, "inner"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(in, "d/e/f"), "f")
	d, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	tests := []struct {
		path string
		err  error
	}{
		{"d/e/f", nil}, {"d/../d/e/f", nil},
		{"../secret", unix.EXDEV}, {"/etc/passwd", unix.EXDEV}, {"d/../../secret", unix.EXDEV},
		{"out", unix.ELOOP}, {"abs/etc/passwd", unix.ELOOP}, {"inner/e/f", unix.ELOOP}, {"d/nothing", unix.ENOENT},
	}
	for _, tc := range tests {
		for name, open := range map[string]func(*os.File, string, int, uint32) (*os.File, error){"OpenBeneath": OpenBeneath, "OpenWithin": OpenWithin} {
			f, err := open(d, tc.path, unix.O_RDONLY, 0)
			if err == nil {
				_ = f.Close()
			}
			if !errors.Is(err, tc.err) {
				t.Errorf("%s(%q) = %v, want %v", name, tc.path, err, tc.err)
			}
		}
	}
}

func TestOpenWithinStaysOnItsMount(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", sub, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Unmount(sub); err != nil {
			t.Error(err)
		}
	}()
	write(t, filepath.Join(sub, "f"), "f")
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if _, err := OpenWithin(d, "sub/f", unix.O_RDONLY, 0); !errors.Is(err, unix.EXDEV) {
		t.Errorf("crossed into a mount: %v", err)
	}
	f, err := OpenBeneath(d, "sub/f", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

func TestUnmountOfNothing(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := errors.Join(Unmount(dir), Unmount(filepath.Join(dir, "gone"))); err != nil {
		t.Error(err)
	}
}

// The private namespace: what is mounted here is in no one else's table.
func TestMountsAreNotSeenOutside(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = Unmount(dir) }()
	outside, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", os.Getppid()))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(outside), dir) {
		t.Error("a mount leaked out of the private namespace")
	}
	if mountOptions(t, dir) == "" {
		t.Error("the mount is not here either")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantID(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid != uid || st.Gid != gid {
		t.Errorf("%s is owned by %d:%d, not %d:%d", path, st.Uid, st.Gid, uid, gid)
	}
}

// mountOptions are the options, of the mount and of its file system, at path.
func mountOptions(t *testing.T, path string) string {
	t.Helper()
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		f := strings.Fields(line)
		if f[4] == path {
			return f[5] + "," + f[len(f)-1]
		}
	}
	return ""
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
