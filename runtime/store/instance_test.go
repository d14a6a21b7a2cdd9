package store

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func instanceOf(t *testing.T, state, leases, boot string) string {
	t.Helper()
	inst := must[string](t)(Instance(t.Context(), state, leases, boot))
	if !validInst(inst) {
		t.Errorf("%q", inst)
	}
	kept := must[[]byte](t)(os.ReadFile(filepath.Join(state, instFile)))
	if strings.TrimSpace(string(kept)) != inst {
		t.Errorf("%q is kept, not %q", kept, inst)
	}
	return inst
}

func TestInstance(t *testing.T) {
	needRoot(t)
	leases, a, b := leaseDir(t), private(t), private(t)
	first := instanceOf(t, a, leases, "boot")
	if other := instanceOf(t, b, leases, "boot"); other == first {
		t.Error("two directories, one instance")
	}
	for _, boot := range []string{"boot", "boot", "boot2"} {
		if again := instanceOf(t, a, leases, boot); again != first {
			t.Errorf("%s became %s", first, again)
		}
	}
	// Moved, it stays the same; damaged, it is found again.
	moved := a + "-moved"
	ok(t, os.Rename(a, moved))
	if again := instanceOf(t, moved, leases, "boot2"); again != first {
		t.Errorf("%s became %s", first, again)
	}
	for _, damaged := range []string{"", "xyz", "../../etc"} {
		ok(t, os.WriteFile(filepath.Join(moved, instFile), []byte(damaged), 0o600))
		if again := instanceOf(t, moved, leases, "boot2"); again != first {
			t.Errorf("%s became %s", first, again)
		}
	}
}

// TestCopiedStateDir: a copy brings the original's digits along.
func TestCopiedStateDir(t *testing.T) {
	needRoot(t)
	leases, a := leaseDir(t), private(t)
	first := instanceOf(t, a, leases, "boot")
	b := a + "-copy"
	if out, err := exec.Command("cp", "-a", a, b).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	second := instanceOf(t, b, leases, "boot")
	if second == first {
		t.Error("the copy has the same instance")
	}
	for range 2 {
		if got := instanceOf(t, b, leases, "boot"); got != second {
			t.Errorf("the copy became %s after %s", got, second)
		}
		if got := instanceOf(t, a, leases, "boot"); got != first {
			t.Errorf("the original became %s after %s", got, first)
		}
	}
}

func TestForgottenInstances(t *testing.T) {
	needRoot(t)
	leases := leaseDir(t)
	registered := func(inst string) bool {
		_, err := os.Lstat(filepath.Join(leases, instKind+"-"+inst))
		return err == nil
	}
	gone, used := private(t), private(t)
	// Now, or they get the numbers of those that go, and so their names.
	third, fourth := private(t), private(t)
	g, u := instanceOf(t, gone, leases, "boot"), instanceOf(t, used, leases, "boot")
	acquire(t, owner(t, leases, u, used, "boot"), things(3), "x")
	ok(t, os.RemoveAll(gone))
	ok(t, os.RemoveAll(used))
	instanceOf(t, third, leases, "boot")
	if registered(g) || !registered(u) {
		t.Errorf("gone is registered: %v; gone with a lease: %v", registered(g), registered(u))
	}
	instanceOf(t, fourth, leases, "boot2")
	if registered(u) {
		t.Error("one of another boot is registered")
	}
}
