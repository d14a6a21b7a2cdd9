package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A sandbox's changes become a layer whole, from whatever moment it is begun again.
func TestTake(t *testing.T) {
	needRoot(t)
	state, run := t.TempDir(), t.TempDir()
	l, err := OpenLayers(context.Background(), state, run)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(state, "sandboxes", "a")
	if err := createAt(dir, "box", ""); err != nil {
		t.Fatal(err)
	}
	plant(t, filepath.Join(dir, upperRoot), 0o644, "srv/data")
	plant(t, filepath.Join(dir, upperUsr), 0o644, "bin/tool")
	plant(t, filepath.Join(dir, Cow("0")), 0o644, "changed")
	top := filepath.Join(dir, upperRoot)
	if err := errors.Join(unix.Setxattr(top, "user.k", []byte("v"), 0), unix.Chmod(top, 0o751)); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for _, f := range []string{"layers/l-1/root/srv/data", "layers/l-1/usr/bin/tool", "sandboxes/a/upper/usr", "sandboxes/a/upper/cow/0/changed", "sandboxes/a/work/root"} {
			if _, err := os.Lstat(filepath.Join(state, f)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		entries, err := os.ReadDir(top)
		if err != nil || len(entries) != 0 {
			t.Errorf("%s: the changes are %v, %v", when, entries, err)
		}
		var v [8]byte
		st, err := os.Stat(top)
		n, xerr := unix.Getxattr(top, "user.k", v[:])
		if err != nil || xerr != nil || st.Mode().Perm() != 0o751 || string(v[:n]) != "v" {
			t.Errorf("%s: the root is not as it was: %v, %v, %v", when, st.Mode(), err, xerr)
		}
	}
	if err := l.Take(dir, "l-1"); err != nil {
		t.Fatal(err)
	}
	check("taken")
	if err := l.Take(dir, "l-1"); err != nil {
		t.Fatal(err)
	}
	check("taken again")
	// Killed behind the rename, and once more before the end.
	if err := errors.Join(os.Rename(filepath.Join(dir, Upper), filepath.Join(dir, Upper+".new")), os.Remove(filepath.Join(dir, Upper+".new", layerUsr))); err != nil {
		t.Fatal(err)
	}
	if err := l.Take(dir, "l-1"); err != nil {
		t.Fatal(err)
	}
	check("finished")
	// What is new since is not touched.
	plant(t, top, 0o644, "later")
	if err := l.Take(dir, "l-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(top, "later")); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, upperUsr)); err != nil {
		t.Fatal(err)
	}
	if err := l.Take(dir, "l-2"); !errors.Is(err, ErrDamaged) || l.Has("l-2") {
		t.Errorf("half of a sandbox: %v", err)
	}
	if err := l.Take(dir, skeletonPrefix+"x"); err == nil {
		t.Error("a layer of the host image's")
	}
}
