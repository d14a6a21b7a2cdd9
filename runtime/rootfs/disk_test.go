package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/disk"
)

// withDisks is a world whose sandboxes may have disks.
func withDisks(t testing.TB) (*world, *disk.Driver) {
	t.Helper()
	w := newWorld(t, fixture(t))
	disks, err := disk.New(disk.Options{StateDir: w.state, Inst: fmt.Sprintf("%06x", os.Getpid()&0xffffff)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disks.Close(); err != nil {
			t.Error(err)
		}
	})
	w.host.opts.Disks = disks
	return w, disks
}

// TestRootOnADisk has what a sandbox writes on its disk, for both parts of its root,
// and the disk closed after the root.
func TestRootOnADisk(t *testing.T) {
	w, disks := withDisks(t)
	s := disk.Spec{Size: 32 << 20}
	if err := os.MkdirAll(w.dir("a"), 0o700); err != nil {
		t.Fatal(err)
	}
	top, err := disks.Create(t.Context(), "a", w.dir("a"), s)
	if err == nil {
		err = errors.Join(Create(top, Fresh{Hostname: "box", GitConfig: ""}), top.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, base := range []uint32{baseA, baseB} {
		if err := disks.Open(t.Context(), "a", s); err != nil {
			t.Fatal(err)
		}
		if err := w.host.Mount(context.Background(), w.dir("a"), w.target("a"), base, HostBase()); err != nil {
			t.Fatal(err)
		}
		at := w.target("a")
		for _, dir := range []string{"", "usr/"} {
			var st unix.Statfs_t
			if err := unix.Statfs(filepath.Join(at, dir), &st); err != nil || st.Blocks*uint64(st.Bsize) != uint64(s.Size) {
				t.Errorf("/%s has %d blocks of %d: %v", dir, st.Blocks, st.Bsize, err)
			}
			name := filepath.Join(at, dir, fmt.Sprint("new", base))
			if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
				t.Error(err)
			}
		}
		// Owners inside are those on the disk, whatever the range.
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(at, "etc/hostname"), &st); err != nil || st.Uid != base {
			t.Errorf("the host name's owner is %d, want %d: %v", st.Uid, base, err)
		}
		if err := unix.Stat(filepath.Join(at, "usr/bin/sudo"), &st); err != nil || st.Mode&unix.S_ISUID == 0 {
			t.Errorf("setuid: %o, %v", st.Mode, err)
		}
		w.down("a")
		if err := w.host.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if all, err := disks.Attached(); err != nil || len(all) > 0 {
			t.Errorf("attached after the end: %v, %v", all, err)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir("a"), "upper")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files beside the disk: %v", err)
	}
	if err := w.host.Mount(context.Background(), w.dir("a"), w.target("a"), baseA, HostBase()); !errors.Is(err, disk.ErrNotOpen) {
		t.Errorf("with a disk that is not open: %v", err)
	}
}
