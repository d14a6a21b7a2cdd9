package disk

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSpaceAt(t *testing.T) {
	dir := t.TempDir()
	got, err := SpaceAt(dir)
	if err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if got.Total != int64(fs.Blocks)*fs.Frsize || got.Free <= 0 || got.Free > got.Total {
		t.Errorf("%+v of %+v", got, fs)
	}
	if _, err := SpaceAt(dir + "/none"); err == nil {
		t.Error("measured what is not there")
	}
}

func TestUnwritten(t *testing.T) {
	if n, err := Unwritten(); err != nil || n < 0 {
		t.Errorf("of this machine: %d, %v", n, err)
	}
	n, err := unwritten([]byte("MemTotal: 1 kB\nDirty:               5 kB\nWriteback:        2 kB\nWritebackTmp:    100 kB\n"))
	if err != nil || n != 7<<10 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := unwritten([]byte("MemTotal: 1 kB\n")); err == nil {
		t.Error("made up numbers")
	}
}
