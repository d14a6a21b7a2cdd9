package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

func TestRemove(t *testing.T) {
	for name, fill := range map[string]func(t *testing.T, dir string){
		"empty": func(*testing.T, string) {},
		"many": func(t *testing.T, dir string) {
			for i := range 3 * removeBatch {
				plant(t, dir, 0o644, strings.Repeat("x", i%7)+"/"+string(rune('a'+i%26))+strings.Repeat("y", i/26))
			}
		},
		"links to elsewhere": func(t *testing.T, dir string) {
			plant(t, dir, 0o644, "a/b -> ../../../outside", "a/c -> "+filepath.Dir(dir), "d -> /etc", "loop -> loop")
		},
		"closed and special": func(t *testing.T, dir string) {
			plant(t, dir, 0o644, "work/work/x", "shut/file")
			plant(t, dir, 0, "work/work/", "shut/")
			plant(t, dir, 0, "none")
			if err := errors.Join(unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600), unix.Mknod(filepath.Join(dir, "white"), unix.S_IFCHR, 0),
				unix.Mknod(filepath.Join(dir, "sock"), unix.S_IFSOCK|0o600, 0)); err != nil {
				t.Fatal(err)
			}
		},
		"immutable": func(t *testing.T, dir string) {
			plant(t, dir, 0o644, "a/f", "a/d/g", "log/l")
			for p, flag := range map[string]int{"a/f": immutableFlag, "a/d": immutableFlag, "a": immutableFlag, "log": appendOnlyFlag} {
				freeze(t, filepath.Join(dir, p), flag)
			}
		},
		"deeper than any path": func(t *testing.T, dir string) { nest(t, dir, 5000) },
		"deep with our names": func(t *testing.T, dir string) {
			plant(t, dir, 0o644, ".cove-lifted-1/x", ".cove-lifted-2")
			nest(t, dir, 500)
		},
	} {
		t.Run(name, func(t *testing.T) {
			needRoot(t)
			top := t.TempDir()
			plant(t, top, 0o644, "outside/file")
			dir := filepath.Join(top, "dir")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			fill(t, dir)
			if err := Remove(context.Background(), dir); err != nil {
				t.Fatal(err)
			}
			if exists(dir) {
				t.Error("it is still there")
			}
			if !exists(filepath.Join(top, "outside/file")) {
				t.Error("something outside was removed")
			}
			if err := Remove(context.Background(), dir); err != nil {
				t.Errorf("again: %v", err)
			}
		})
	}
}

func freeze(t *testing.T, path string, flag int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flag); err != nil {
		t.Skipf("this file system or process cannot set flags: %v", err)
	}
}

// nest makes a chain of n directories with long names and a file at its end.
func nest(t *testing.T, dir string, n int) {
	t.Helper()
	cur, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 100)
	for range n {
		if err := unix.Mkdirat(int(cur.Fd()), name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := mount.OpenWithin(cur, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		_ = cur.Close()
		if err != nil {
			t.Fatal(err)
		}
		cur = next
	}
	defer func() { _ = cur.Close() }()
	if err := unix.Mknodat(int(cur.Fd()), "end", unix.S_IFREG|0o644, 0); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveRefusesALink(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	plant(t, top, 0o644, "real/file", "link -> real")
	if err := Remove(context.Background(), filepath.Join(top, "link")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("err = %v", err)
	}
	if !exists(filepath.Join(top, "real/file")) {
		t.Error("the link was followed")
	}
}

func TestRemoveDoesNotEnterMounts(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	plant(t, top, 0o755, "dir/mnt/", "dir/other/")
	mnt := filepath.Join(top, "dir/mnt")
	plant(t, top, 0o644, "outside/file")
	// A bind mount is the same file system: only the mount tells it apart.
	if err := unix.Mount(filepath.Join(top, "outside"), mnt, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	err := Remove(context.Background(), filepath.Join(top, "dir"))
	if err == nil || !exists(filepath.Join(top, "outside/file")) {
		t.Errorf("err = %v", err)
	}
	if exists(filepath.Join(top, "dir/other")) {
		t.Error("one obstacle stopped the rest")
	}
	if err := mount.Unmount(mnt); err != nil {
		t.Fatal(err)
	}
	if err := Remove(context.Background(), filepath.Join(top, "dir")); err != nil {
		t.Error(err)
	}
}

func TestRemoveGoesOnAfterCancel(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "dir")
	plant(t, dir, 0o644, "a/b", "c")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Remove(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if err := Remove(context.Background(), dir); err != nil || exists(dir) {
		t.Errorf("err = %v", err)
	}
}
