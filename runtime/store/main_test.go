package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Some tests need other processes: this test binary, called with helperVar set.
const (
	helperVar = "COVE_STORE_TEST_HELPER"
	// enough is far more than anything here takes, on a loaded machine too.
	enough = 20 * time.Second
)

func TestMain(m *testing.M) {
	switch os.Getenv(helperVar) {
	case "":
		os.Exit(m.Run())
	case "lock":
		helperLock(os.Args[1])
	case "leases":
		helperLeases(os.Args[1], os.Args[2], os.Args[3])
	case "append":
		helperAppend(os.Args[1])
	}
}

func die(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// helperLock holds a directory until it is killed.
func helperLock(dir string) {
	if _, err := LockDir(dir, 0o700); err != nil {
		die(err)
	}
	fmt.Println("locked")
	for {
		_ = unix.Pause()
	}
}

// helperLeases takes leases as fast as it can, prints them, and is done.
func helperLeases(dir, inst, stateDir string) {
	l, err := OpenUIDLeases(dir, inst, stateDir, "boot")
	if err != nil {
		die(err)
	}
	for i := range 50 {
		base, err := l.Acquire(context.Background(), fmt.Sprintf("%012x", i))
		if err != nil {
			die(err)
		}
		fmt.Println(base)
	}
}

// helperAppend appends to a journal, telling each number once it is there,
// until it is killed.
func helperAppend(dir string) {
	j, err := OpenJournal(dir, "boot")
	if err != nil {
		die(err)
	}
	for i := 0; ; i++ {
		r, err := j.Append(json.RawMessage(fmt.Sprintf(`{"i":%d,"pad":"%0100d"}`, i, i)))
		if err != nil {
			die(err)
		}
		fmt.Printf("%s %d\n", r.Epoch, r.Seq)
	}
}

func helper(t testing.TB, what string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), helperVar+"="+what)
	cmd.Stderr = os.Stderr
	return cmd
}

// private is a directory as only root's are: t.TempDir's are open to all.
func private(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("directories must be root's")
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// smallDisk is a file system of so many bytes, seen by this test's thread's
// process: a tmpfs of its own, unmounted at the end.
func smallDisk(t testing.TB, size int) string {
	t.Helper()
	needRoot(t)
	dir := private(t)
	err := unix.Mount("cove-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=0700", size))
	if errors.Is(err, unix.EPERM) {
		t.Skip("may not mount here")
	}
	ok(t, err)
	t.Cleanup(func() { ok(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// fillDisk leaves no byte free, and returns what gives the space back.
func fillDisk(t testing.TB, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f := must[*os.File](t)(os.Create(path))
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return func() { ok(t, os.Remove(path)) }
}

// within fails the test when f takes longer than anything here may.
func within(t testing.TB, d time.Duration, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}
