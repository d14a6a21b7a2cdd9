package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cove/runtime/disk"
	"cove/runtime/mount"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("volumes need root")
	}
	disks, err := disk.New(disk.Options{StateDir: dir, Dir: dir, Inst: "0c0de0v"})
	if err != nil {
		t.Fatal(err)
	}
	maps := mount.NewIDMaps(2)
	s, err := OpenStore(StoreOptions{Dir: dir, Scratch: t.TempDir(), Disks: disks, IDMaps: maps})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), disks.Close(), maps.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A name is its owner's own, and what is kept is found again.
func TestStoreOwners(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	mine, err := s.Create(t.Context(), 1000, "data", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), 1000, "data", 0); !errors.Is(err, ErrExists) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := s.Find(1001, "data"); !errors.Is(err, ErrNoVolume) {
		t.Errorf("of somebody else: %v", err)
	}
	theirs, err := s.Create(t.Context(), 1001, "data", 16<<20)
	if err != nil || theirs.ID == mine.ID {
		t.Fatalf("%+v, %v", theirs, err)
	}
	if err := s.Remove(mine, filepath.Join(t.TempDir(), "grave")); err != nil {
		t.Fatal(err)
	}
	// As a killed daemon leaves them: one half made, one that nobody can read.
	half, bad := filepath.Join(dir, newPrefix+"0123456789ab"), filepath.Join(dir, "ba9876543210")
	for _, d := range []string{half, bad} {
		if err := os.MkdirAll(filepath.Join(d, dataDir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	again := openStore(t, dir)
	if list := again.List(); len(list) != 1 || list[0] != theirs {
		t.Errorf("found again: %+v", list)
	}
	if _, err := os.Lstat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was half made: %v", err)
	}
	if _, err := os.Lstat(bad); err != nil {
		t.Errorf("what cannot be read was not left alone: %v", err)
	}
}
