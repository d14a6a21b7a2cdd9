package mount

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// elsewhere opens a directory in a mount namespace of its own.
func elsewhere(t *testing.T, path string) (dir *os.File, where *Namespace) {
	t.Helper()
	type result struct {
		dir *os.File
		ns  int
		err error
	}
	made := make(chan result)
	go onceOnAThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			made <- result{err: err}
			return
		}
		d, err := os.Open(path)
		if err != nil {
			made <- result{err: err}
			return
		}
		ns, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY, 0)
		made <- result{d, ns, err}
	})
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	where, err := InheritedNamespace(r.ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.dir.Close(); _ = where.Close() })
	return r.dir, where
}

func TestCloneOpenedElsewhere(t *testing.T) {
	needRoot(t)
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir, where := elsewhere(t, path)
	if tree, err := CloneOpened(dir, true); !errors.Is(err, ErrForeign) {
		t.Fatalf("%v, %v", tree, err)
	}
	_, other := elsewhere(t, path)
	if tree, err := CloneOpened(dir, true, other); !errors.Is(err, ErrForeign) {
		t.Fatalf("%v, %v", tree, err)
	}
	before, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		tree, err := CloneOpened(dir, true, other, where)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := OpenWithin(tree.Dir(), "f", unix.O_RDONLY, 0); err != nil {
			t.Error(err)
		} else {
			_ = f.Close()
		}
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}
	// No thread of this process stays there.
	away := func() (threads []string) {
		tasks, err := filepath.Glob("/proc/self/task/*/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if at, err := os.Readlink(task); err == nil && at != before {
				threads = append(threads, task+" in "+at)
			}
		}
		return threads
	}
	for deadline := time.Now().Add(5 * time.Second); len(away()) > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("elsewhere are %q", away())
		}
	}
}

// The first thread of the process, which cannot end, is never sent away.
func TestTheFirstThreadStays(t *testing.T) {
	for range 200 {
		ran := make(chan bool)
		go onceOnAThread(func() { ran <- unix.Gettid() == unix.Getpid() })
		if <-ran {
			t.Fatal("it ran on the first thread")
		}
	}
}

// The clone is the directory alone: not what is mounted below it, nor what will
// be, on either side; and it has none of the rights that a mount can take away.
func TestCloneOpenedIsPrivate(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	shared, at := filepath.Join(top, "shared"), filepath.Join(top, "at")
	for _, d := range []string{shared, at} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []struct {
		target string
		flags  uintptr
	}{{shared, 0}, {shared, unix.MS_SHARED}} {
		source := "tmpfs"
		if err := unix.Mount(source, m.target, "tmpfs", m.flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = Unmount(at); _ = Unmount(shared) })
	for _, d := range []string{"now", "later", "inside"} {
		if err := os.Mkdir(filepath.Join(shared, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cover := func(path string) {
		t.Helper()
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "cover"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cover(filepath.Join(shared, "now"))
	dir, err := os.Open(shared)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	tree, err := CloneOpened(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	to, err := os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := errors.Join(tree.Attach(to), tree.Close()); err != nil {
		t.Fatal(err)
	}
	cover(filepath.Join(shared, "later"))
	cover(filepath.Join(at, "inside"))
	for _, path := range []string{at + "/now/cover", at + "/later/cover", shared + "/inside/cover"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is there", path)
		}
	}
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); f[4] == at && (!strings.Contains(f[5], "nosuid,nodev") || strings.Contains(line, "shared:")) {
			t.Errorf("the mount is %s", line)
		}
	}
}

func TestOwnerMap(t *testing.T) {
	needRoot(t)
	for _, bad := range [][]Owner{nil, {{Disk: 1, Host: 0}}, {{Disk: 1, Host: IDs - 1}}, {{Disk: 1<<32 - 1, Host: IDs}}, {{Disk: 1, Host: 1<<32 - 1}}, make([]Owner, MaxOwners+1)} {
		good := []Owner{{Disk: 1, Host: testBase}}
		if m, err := NewOwnerMap(bad, good); err == nil {
			_ = m.Close()
			t.Errorf("users %v are accepted", bad)
		}
		if m, err := NewOwnerMap(good, bad); err == nil {
			_ = m.Close()
			t.Errorf("groups %v are accepted", bad)
		}
	}
	// No method may hand out what would let a process enter the namespace.
	typ := reflect.TypeFor[*OwnerMap]()
	if typ.NumMethod() != 1 || typ.Method(0).Name != "Close" || typ.Elem().Field(0).IsExported() {
		t.Errorf("%v has more than Close", typ)
	}
	// What cannot be shifted is said to be, with its name.
	proc, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	tree, err := CloneOpened(proc, true)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	m, err := NewOwnerMap([]Owner{{0, testBase}}, []Owner{{0, testBase}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := tree.Shift(m); !errors.Is(err, ErrNoIDMap) || !strings.Contains(err.Error(), "(proc)") {
		t.Errorf("proc: %v", err)
	}
}
