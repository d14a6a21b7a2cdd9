package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cove/config"
)

// unheld is a Still for groups whose processes do nothing.
func unheld(context.Context) (func() error, error) { return func() error { return nil }, nil }

// holder starts a process in the group that holds 64 MiB.
func holder(t *testing.T, dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperVar+"=hold")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	enter(t, cmd, []string{dir})
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has them
		t.Fatal(err)
	}
}

func TestResizeMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	tree, id, dir, v2 := limited(t, "memory")
	const held = 64 << 20
	counts := tree.limitsSwap()
	is := func(memory, swap config.Size) {
		t.Helper()
		if v2 {
			holds(t, dir, "memory.max", orMax(int64(memory)))
			holds(t, dir, "memory.high", "max")
			return
		}
		if got, err := readLimit(filepath.Join(dir, "memory.limit_in_bytes")); err != nil || got != int64(memory) {
			t.Errorf("the limit is %d, %v, want %d", got, err, memory)
		}
		if got, err := readLimit(filepath.Join(dir, "memory.memsw.limit_in_bytes")); counts && (err != nil || memory > 0 && got != int64(memory+swap)) {
			t.Errorf("with swap the limit is %d, %v, want %d", got, err, memory+swap)
		}
	}
	resize := func(memory, swap config.Size) error {
		t.Helper()
		return tree.ResizeMemory(t.Context(), id, memory, swap, unheld)
	}
	if err := resize(4*held, 0); err != nil {
		t.Fatal(err)
	}
	holder(t, dir)
	kills, err := tree.OOMKills(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, memory := range []config.Size{held / 2, held, held + 1<<19} {
		err := resize(memory, 0)
		used, ok := errors.AsType[*InUseError](err)
		if !ok || !errors.Is(err, ErrInUse) || used.Quantity != Memory || used.Limit != int64(memory) || used.Used < held || used.Used > 2*held || used.Least <= used.Used {
			t.Fatalf("to %v: %v", memory, err)
		}
		is(4*held, 0)
		// What it says can be had, can.
		least := config.Size(used.Least+4095) &^ 4095 // the kernel counts in pages
		if err := resize(least, 0); err != nil {
			t.Errorf("to the least, %d: %v", least, err)
		}
		is(least, 0)
		if err := resize(4*held, 0); err != nil {
			t.Error(err)
		}
	}
	if counts {
		// In every order that v1 wants.
		for _, c := range []struct{ memory, swap config.Size }{{2 * held, held}, {3 * held, 0}, {2 * held, 4 * held}, {4 * held, held}, {0, 0}, {2 * held, 0}} {
			if err := resize(c.memory, c.swap); err != nil {
				t.Errorf("to %v and %v: %v", c.memory, c.swap, err)
			}
			is(c.memory, c.swap)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.ResizeMemory(ended, id, held/2, 0, unheld); err == nil {
		t.Error("a limit below what is in use, with an ended context")
	}
	broken := errors.New("broken")
	err = tree.ResizeMemory(t.Context(), id, held+held/2, 0, func(context.Context) (func() error, error) { return nil, broken })
	if v2 && !errors.Is(err, broken) || !v2 && err != nil {
		t.Errorf("it does not stand still: %v", err)
	}
	if v2 {
		is(2*held, 0)
	}
	if n, err := tree.OOMKills(id); err != nil || n != kills {
		t.Errorf("the kernel has killed %d: %v", n-kills, err)
	}
}

func TestResizePids(t *testing.T) {
	tree, id, dir, _ := limited(t, "pids")
	if err := tree.ResizePids(id, 100); err != nil {
		t.Fatal(err)
	}
	holder(t, dir)
	used, ok := errors.AsType[*InUseError](tree.ResizePids(id, 1))
	if !ok || used.Quantity != Pids || used.Used < 2 || used.Limit != 1 {
		t.Errorf("one process: %+v", used)
	}
	holds(t, dir, "pids.max", "100")
	if err := tree.ResizePids(id, 0); err != nil {
		t.Error(err)
	}
	holds(t, dir, "pids.max", "max")
}

func TestCheckChange(t *testing.T) {
	none, err := New(Layout{Mode: Legacy, Hierarchies: []Hierarchy{{Path: t.TempDir(), Controllers: []string{"name=systemd"}}}, Parent: "/"}, "abcdef")
	if err != nil {
		t.Fatal(err)
	}
	all := config.Resources{CPU: 1, Memory: config.GiB, Swap: config.GiB, Pids: 100}
	for _, want := range []config.Resources{{CPU: 2}, {Memory: config.MiB}, {Swap: config.MiB}, {Pids: 7}} {
		if err := none.CheckChange(config.Resources{}, want); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%+v: %v", want, err)
		}
	}
	// What is as it was, or is no limit any more, needs nothing.
	for _, want := range []config.Resources{all, {}} {
		if err := none.CheckChange(all, want); err != nil {
			t.Error(err)
		}
	}
}
