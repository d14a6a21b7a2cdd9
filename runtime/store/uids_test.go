package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUIDLeases(t *testing.T) {
	needRoot(t)
	dir, state := leaseDir(t), private(t)
	u := must[*UIDLeases](t)(OpenUIDLeases(dir, "aaaaaa", state, "boot"))
	a, b := must[uint32](t)(u.Acquire(t.Context(), "sa")), must[uint32](t)(u.Acquire(t.Context(), "sb"))
	for _, base := range []uint32{a, b} {
		if a == b || base < uidFirst || (base-uidFirst)%uidRange != 0 || uint64(base)+uidRange-1 > 2147352575 {
			t.Errorf("ranges at %d and %d", a, b)
		}
	}
	ok(t, u.Own(a, os.Getpid(), must[uint64](t)(ProcStart(os.Getpid()))))
	// The daemon after this one finds them.
	next := must[*UIDLeases](t)(OpenUIDLeases(dir, "aaaaaa", state, "boot"))
	if d := cmp.Diff(map[uint32]string{a: "sa", b: "sb"}, must[map[uint32]string](t)(next.Mine())); d != "" {
		t.Error(d)
	}
	ok(t, next.Release(a))
	if d := cmp.Diff(map[uint32]string{b: "sb"}, must[map[uint32]string](t)(u.Mine())); d != "" {
		t.Error(d)
	}
	for _, base := range []uint32{0, 1, uidFirst - 1, uidFirst + 1, uidFirst - uidRange, uidBase(uidCount), math.MaxUint32} {
		if err := u.Release(base); !errors.Is(err, ErrInvalid) {
			t.Errorf("release %d: %v", base, err)
		}
		if err := u.Own(base, 1, 1); !errors.Is(err, ErrInvalid) {
			t.Errorf("own %d: %v", base, err)
		}
	}
}

// TestUIDLeasesKeepClear: no range overlaps what the machine's users have.
func TestUIDLeasesKeepClear(t *testing.T) {
	needRoot(t)
	// All but two ranges are theirs: from the first to the middle of the 9th,
	// the last id of the 11th alone, and from the 13th on.
	sub := filepath.Join(t.TempDir(), "sub")
	ok(t, os.WriteFile(sub+"uid", fmt.Appendf(nil, "user:%d:%d\n# comment\nbad:x:y\nempty:%d:0\n", uidFirst-5, 8*uidRange+100, uidBase(9)), 0o600))
	ok(t, os.WriteFile(sub+"gid", fmt.Appendf(nil, "u:%d:1\nu:%d:%d\n", uidBase(11)-1, uidBase(12), uint32(math.MaxUint32)-uidBase(12)), 0o600))
	u := must[*UIDLeases](t)(OpenUIDLeases(leaseDir(t), "aaaaaa", private(t), "boot"))
	u.subIDs = []string{sub + "uid", sub + "gid", sub + "no"}
	got := map[uint32]bool{must[uint32](t)(u.Acquire(t.Context(), "x")): true, must[uint32](t)(u.Acquire(t.Context(), "x")): true}
	if d := cmp.Diff(map[uint32]bool{uidBase(9): true, uidBase(11): true}, got); d != "" {
		t.Error(d)
	}
	if base, err := u.Acquire(t.Context(), "x"); !errors.Is(err, ErrExhausted) {
		t.Errorf("%d, %v", base, err)
	}
	// useradd while we run: a released range that is a user's now is not ours.
	ok(t, os.WriteFile(sub+"no", fmt.Appendf(nil, "new:%d:65536\n", uidBase(9)), 0o600))
	ok(t, u.Release(uidBase(11)))
	ok(t, u.Release(uidBase(9)))
	if base := must[uint32](t)(u.Acquire(t.Context(), "x")); base != uidBase(11) {
		t.Errorf("range at %d", base)
	}
}

func TestUIDsInUse(t *testing.T) {
	needRoot(t)
	const n = uidCount - 1
	if used := must[bool](t)(uidsInUse(n)); used {
		t.Skip("somebody has the last range")
	}
	for name, cred := range map[string]*syscall.Credential{
		"uid": {Uid: uidBase(n) + 7, NoSetGroups: true}, "gid": {Gid: uidBase(n) + 7, NoSetGroups: true}, "group": {Groups: []uint32{uidBase(n) + uidRange - 1}},
	} {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		ok(t, cmd.Start())
		used, err := uidsInUse(n)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err != nil || !used {
			t.Errorf("with such a %s: %v, %v", name, used, err)
		}
	}
	if used := must[bool](t)(uidsInUse(n)); used {
		t.Error("in use after they ended")
	}
}

func FuzzSubIDs(f *testing.F) {
	f.Add([]byte("user:100000:65536\n"))
	f.Add([]byte(":4294967295:4294967295\n::\na:b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, r := range parseSubIDs(data) {
			if r.last < r.first || r.last > 2*math.MaxUint32 {
				t.Errorf("%+v", r)
			}
		}
	})
}
