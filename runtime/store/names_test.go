package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openNames(t *testing.T, dir string) *Names {
	t.Helper()
	n := must[*Names](t)(OpenNames(dir))
	t.Cleanup(func() { ok(t, n.Close()) })
	return n
}

func (n *Names) expect(t *testing.T, want map[string]string) {
	t.Helper()
	got := must[map[string]string](t)(n.List())
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNames(t *testing.T) {
	dir := private(t)
	n := openNames(t, dir)
	n.expect(t, map[string]string{})
	ok(t, n.Take("a", "1"))
	ok(t, n.Take("b", "2"))
	for _, id := range []string{"1", "3"} {
		if err := n.Take("a", id); !errors.Is(err, ErrExists) {
			t.Errorf("a second a, for %s: %v", id, err)
		}
	}
	ok(t, n.Release("a", "2")) // it is not 2's
	ok(t, n.Release("no", "2"))
	n.expect(t, map[string]string{"a": "1", "b": "2"})

	if err := n.Rename("a", "b", "1"); !errors.Is(err, ErrExists) {
		t.Errorf("rename to a taken name: %v", err)
	}
	ok(t, n.Rename("a", "c", "1"))
	openNames(t, dir).expect(t, map[string]string{"b": "2", "c": "1"})

	ok(t, n.Release("b", "2"))
	ok(t, n.Release("c", "1"))
	n.expect(t, map[string]string{})
	ok(t, n.Take("b", "3"))
}

func TestNamesLeavesOthersAlone(t *testing.T) {
	dir := private(t)
	n := openNames(t, dir)
	ok(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600))
	ok(t, os.Symlink("/etc/passwd", filepath.Join(dir, "outside")))
	ok(t, os.Symlink("1", filepath.Join(dir, ".hidden")))
	n.expect(t, map[string]string{})
	for _, name := range []string{"file", "outside"} {
		if err := n.Take(name, "1"); !errors.Is(err, ErrExists) {
			t.Errorf("take %s: %v", name, err)
		}
		ok(t, n.Release(name, "1"))
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", ".", "..", ".x", "a/b", "../a", "x\x00", fmt.Sprintf("%0256d", 1)} {
		for what, err := range map[string]error{
			"take": n.Take(bad, "1"), "take for": n.Take("x", bad), "release": n.Release(bad, "1"), "rename": n.Rename("a", bad, "1"),
		} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s %q: %v", what, bad, err)
			}
		}
	}
}

func TestNamesAreTakenOnce(t *testing.T) {
	dir := private(t)
	var wins atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		n := openNames(t, dir)
		all.Go(func() {
			err := n.Take("wanted", fmt.Sprint(i))
			switch {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d have it", wins.Load())
	}
}

func TestNamesOnFullDisk(t *testing.T) {
	dir := smallDisk(t, 64<<10)
	n := openNames(t, dir)
	free := fillDisk(t, dir)
	long := fmt.Sprintf("%0200d", 1) // too long to lie in the inode
	var err error
	for i := 0; err == nil && i < 10000; i++ {
		err = n.Take(fmt.Sprint("n", i), long)
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("on a full disk: %v", err)
	}
	free()
	ok(t, n.Take("more", long))
}
