package rootfs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scanLater scans as if it were an hour later, when the times of what was
// changed just now can be trusted.
func scanLater(t *testing.T, root *os.File, table usrTable, paths []string) usrTable {
	t.Helper()
	s := &scanner{ctx: context.Background(), root: root, now: time.Now().Add(time.Hour), table: table, queue: paths}
	table, err := s.run()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestRecheckSeesWhatChanged(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	plant(t, root, 0o755, "a/b/c/", "d/", "e/f/", "moved/")
	plant(t, root, 0o644, "a/b/c/open", "d/open", "moved/x/open")
	plant(t, root, 0o600, "a/b/shut", "e/f/shut")
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	table := scanLater(t, dir, usrTable{}, []string{"."})
	want := func(table usrTable, paths string) {
		t.Helper()
		if got := strings.Join(table.hidden(), " "); got != paths {
			t.Errorf("hidden: %q, want %q", got, paths)
		}
	}
	want(table, "a/b/shut e/f/shut")

	same, err := recheck(context.Background(), dir, table)
	if err != nil {
		t.Fatal(err)
	}
	if !sameTable(table, same) {
		t.Error("something was read again though nothing changed")
	}

	plant(t, root, 0o600, "a/b/c/new", "new/deep/er/shut")
	if err := os.RemoveAll(filepath.Join(root, "e/f")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "d"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "moved"), filepath.Join(root, "a/moved")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "a/moved/x/pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	after, err := recheck(context.Background(), dir, table)
	if err != nil {
		t.Fatal(err)
	}
	want(after, "a/b/c/new a/b/shut a/moved/x/pipe d new/deep/er/shut")
	if after["e/f"] != nil || after["moved"] != nil || after["moved/x"] != nil {
		t.Error("directories that are gone are remembered")
	}
	full, err := scanAll(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if full.maskName() != after.maskName() {
		t.Errorf("a check finds %v, a scan %v", after.hidden(), full.hidden())
	}
	// A directory becomes a link to one that holds secrets.
	if err := os.RemoveAll(filepath.Join(root, "a/b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(root, "a/b")); err != nil {
		t.Fatal(err)
	}
	after, err = recheck(context.Background(), dir, after)
	if err != nil {
		t.Fatal(err)
	}
	want(after, "a/moved/x/pipe d new/deep/er/shut")
}

// A change within the resolution of the file system's clock must not be missed.
func TestRecentDirectoriesAreReadAgain(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	table, err := scanAll(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if table["."].Changed != 0 {
		t.Error("the time of a directory made just now is trusted")
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	needRoot(t)
	dir, err := os.Open("/usr")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := scanAll(ctx, dir); err == nil {
		t.Error("no error")
	}
}

func TestTableSurvivesAndDamageIsNoticed(t *testing.T) {
	needRoot(t)
	root, keep := t.TempDir(), t.TempDir()
	plant(t, root, 0o600, "a/secret")
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	if loadTable(keep, dir) != nil {
		t.Error("a table out of nothing")
	}
	table := scanLater(t, dir, usrTable{}, []string{"."})
	if err := saveTable(keep, dir, table); err != nil {
		t.Fatal(err)
	}
	if got := loadTable(keep, dir); got == nil || got.maskName() != table.maskName() || got["a"] == nil {
		t.Errorf("loaded: %+v", got)
	}
	other, err := os.Open(keep)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if loadTable(keep, other) != nil {
		t.Error("the table of another directory is used")
	}
	raw, err := os.ReadFile(filepath.Join(keep, tableName))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 10, 40, len(raw) / 2, len(raw) - 1} {
		if err := os.WriteFile(filepath.Join(keep, tableName), raw[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if loadTable(keep, dir) != nil {
			t.Errorf("a table torn at %d of %d is used", n, len(raw))
		}
	}
}

func TestMaskKeepsTheAttributesOfDirectories(t *testing.T) {
	needRoot(t)
	root, mask := t.TempDir(), t.TempDir()
	plant(t, root, 0o600, "a/b/secret", "a/b/secret.d")
	if err := os.Chown(filepath.Join(root, "a/b"), 3, 50); err != nil {
		t.Fatal(err)
	}
	plant(t, root, 0o2775, "a/b/")
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	table := scanLater(t, dir, usrTable{}, []string{"."})
	if err := table.buildMask(mask); err != nil {
		t.Fatal(err)
	}
	var want, got unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "a/b"), &want); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(filepath.Join(mask, "a/b"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Mode != want.Mode || got.Uid != 3 || got.Gid != 50 || got.Mtim != want.Mtim {
		t.Errorf("mode %o owner %d:%d time %v, want %o 3:50 %v", got.Mode, got.Uid, got.Gid, got.Mtim, want.Mode, want.Mtim)
	}
	if err := unix.Lstat(filepath.Join(mask, "a/b/secret"), &got); err != nil || got.Mode&unix.S_IFMT != unix.S_IFCHR || got.Rdev != 0 {
		t.Errorf("no whiteout: %v, mode %o", err, got.Mode)
	}
}
