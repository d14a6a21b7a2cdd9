package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// variants are the ways in which groups are ended.
func variants() map[string]func(Hierarchy) bool {
	return map[string]func(Hierarchy) bool{
		"as the machine is": nil,
		"v1 only":           func(h Hierarchy) bool { return !h.V2 },
		"v2 only":           func(h Hierarchy) bool { return h.V2 },
	}
}

func TestKillAndRemove(t *testing.T) {
	for name, keep := range variants() {
		t.Run(name, func(t *testing.T) {
			tree := realTree(t, keep)
			id, other := randomHex(t, 12), randomHex(t, 12)
			mkdir(t, tree, tree.dirs(id)...)
			mkdir(t, tree, tree.dirs(other)...)
			var all []*exec.Cmd
			for range 3 {
				all = append(all, start(t, tree.dirs(id), "sleep", "1000"))
			}
			bystander := start(t, tree.dirs(other), "sleep", "1000")
			pids, err := tree.Procs(id)
			if err != nil || len(pids) != 3 {
				t.Fatalf("processes %v, %v", pids, err)
			}
			kill(t, tree, id)
			for _, cmd := range all {
				killedBySignal(t, cmd)
			}
			remove(t, tree, id)
			if pids, err := tree.Procs(other); err != nil || !slices.Equal(pids, []int{bystander.Process.Pid}) {
				t.Errorf("another sandbox's processes: %v, %v", pids, err)
			}
			if ids, err := tree.List(); err != nil || !slices.Equal(ids, []string{other}) {
				t.Errorf("left: %v, %v", ids, err)
			}
			if err := tree.RemoveTop(); err != nil {
				t.Errorf("RemoveTop with a sandbox in it: %v", err)
			}
			if ids, err := tree.List(); err != nil || len(ids) != 1 {
				t.Errorf("after RemoveTop: %v, %v", ids, err)
			}
		})
	}
}

func TestNothingThere(t *testing.T) {
	tree := realTree(t, nil)
	id := randomHex(t, 12)
	if pids, err := tree.Procs(id); err != nil || len(pids) > 0 {
		t.Errorf("Procs: %v, %v", pids, err)
	}
	for range 2 {
		kill(t, tree, id)
		remove(t, tree, id)
	}
	if ids, err := tree.List(); err != nil || len(ids) > 0 {
		t.Errorf("List: %v, %v", ids, err)
	}
	if err := tree.RemoveTop(); err != nil {
		t.Error(err)
	}
}

// TestHalfJoined has a process in one hierarchy only, as a create leaves it that
// was killed half way.
func TestHalfJoined(t *testing.T) {
	tree := realTree(t, nil)
	for _, h := range tree.layout.Hierarchies {
		id := randomHex(t, 12)
		dir := tree.dir(h, id)
		mkdir(t, tree, dir)
		cmd := start(t, []string{dir}, "sleep", "1000")
		kill(t, tree, id)
		killedBySignal(t, cmd)
		remove(t, tree, id)
	}
}

func TestGroupsBelow(t *testing.T) {
	for name, keep := range variants() {
		t.Run(name, func(t *testing.T) {
			tree := realTree(t, keep)
			id := randomHex(t, 12)
			var below []string
			for _, dir := range tree.dirs(id) {
				mkdir(t, tree, dir, filepath.Join(dir, "a"), filepath.Join(dir, "a", "b"), filepath.Join(dir, "c"))
				below = append(below, filepath.Join(dir, "a", "b"))
			}
			cmd := start(t, below, "sleep", "1000")
			kill(t, tree, id)
			killedBySignal(t, cmd)
			remove(t, tree, id)
		})
	}
}

// TestForkBomb ends what makes more of itself and ignores all that can be ignored.
func TestForkBomb(t *testing.T) {
	for name, keep := range variants() {
		t.Run(name, func(t *testing.T) {
			tree := realTree(t, keep)
			id := randomHex(t, 12)
			mkdir(t, tree, tree.dirs(id)...)
			if h, ok := tree.with("pids"); ok && tree.Has("pids") {
				if err := writeFile(filepath.Join(tree.dir(h, id), "pids.max"), "60"); err != nil {
					t.Fatal(err)
				}
			}
			// Each round ends of itself after a while: a bug here must not
			// take the machine along.
			bomb := `trap '' TERM HUP INT; n=0; while [ $n -lt 300 ]; do (trap '' TERM; sleep 20) & n=$((n+1)); sleep 0.001; done; wait`
			cmd := start(t, tree.dirs(id), "sh", "-c", bomb)
			deadline := time.Now().Add(enough)
			for {
				pids, err := tree.Procs(id)
				if err != nil {
					t.Fatal(err)
				}
				if len(pids) >= 20 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the bomb has %d processes", len(pids))
				}
			}
			kill(t, tree, id)
			// Killed, or given up because it could not fork any more.
			if err := cmd.Wait(); err == nil {
				t.Error("the bomb ended well")
			}
			remove(t, tree, id)
		})
	}
}

func TestFrozen(t *testing.T) {
	for name, keep := range variants() {
		t.Run(name, func(t *testing.T) {
			tree := realTree(t, keep)
			id := randomHex(t, 12)
			mkdir(t, tree, tree.dirs(id)...)
			cmd := start(t, tree.dirs(id), "sleep", "1000")
			file, word := "freezer.state", "FROZEN"
			h, ok := tree.with("freezer")
			if !ok {
				file, word = "cgroup.freeze", "1"
				h = tree.layout.Hierarchies[0]
			}
			if err := writeFile(filepath.Join(tree.dir(h, id), file), word); err != nil {
				t.Fatal(err)
			}
			kill(t, tree, id)
			killedBySignal(t, cmd)
			remove(t, tree, id)
		})
	}
}

// TestRemoveWaits proves that a group with a process in it is not lost: Remove
// waits for the process, or for the end of its context.
func TestRemoveWaits(t *testing.T) {
	for name, keep := range variants() {
		t.Run(name, func(t *testing.T) {
			tree := realTree(t, keep)
			id := randomHex(t, 12)
			mkdir(t, tree, tree.dirs(id)...)
			cmd := start(t, tree.dirs(id), "sleep", "1000")
			cause := errors.New("enough of it")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
			defer cancel()
			begun := time.Now()
			if err := tree.Remove(ctx, id); !errors.Is(err, cause) {
				t.Fatalf("Remove of a group in use: %v", err)
			}
			if took := time.Since(begun); took > enough/2 {
				t.Errorf("it took %v", took)
			}
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), enough)
				defer cancel()
				done <- tree.Remove(ctx, id)
			}()
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killedBySignal(t, cmd)
			if err := <-done; err != nil {
				t.Error(err)
			}
			remove(t, tree, id)
		})
	}
}

func TestKillWithEndedContext(t *testing.T) {
	tree := realTree(t, func(h Hierarchy) bool { return !h.V2 })
	id := randomHex(t, 12)
	mkdir(t, tree, tree.dirs(id)...)
	cmd := start(t, tree.dirs(id), "sleep", "1000")
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the daemon ends")
	cancel(cause)
	if err := tree.Kill(ctx, id); !errors.Is(err, cause) {
		t.Errorf("Kill: %v, want the cause", err)
	}
	if cmd.Process.Signal(nil) == nil {
		kill(t, tree, id)
	}
}

func TestOOMKills(t *testing.T) {
	tree := realTree(t, nil)
	h, ok := tree.with("memory")
	if !ok || !tree.Has("memory") {
		t.Skip("no memory controller here")
	}
	id := randomHex(t, 12)
	dir := tree.dir(h, id)
	mkdir(t, tree, dir)
	limit, swap, noSwap := "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "33554432"
	if h.V2 {
		limit, swap, noSwap = "memory.max", "memory.swap.max", "0"
	}
	if err := writeFile(filepath.Join(dir, limit), "33554432"); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(dir, swap), noSwap); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if n, err := tree.OOMKills(id); n != 0 || err != nil {
		t.Fatalf("before: %d, %v", n, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperVar+"=eat")
	killedBySignal(t, enter(t, cmd, []string{dir}))
	if n, err := tree.OOMKills(id); n != 1 || err != nil {
		t.Errorf("after: %d, %v", n, err)
	}
	kill(t, tree, id)
	remove(t, tree, id)
	if _, err := tree.OOMKills(id); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a removed group: %v", err)
	}
}

// TestDelegate has a unit's group as systemd hands it over, on the machine's v2
// hierarchy, with a process in it.
func TestDelegate(t *testing.T) {
	tree := realTree(t, func(h Hierarchy) bool { return h.V2 })
	if err := tree.RemoveTop(); err != nil { // it is about to be elsewhere
		t.Fatal(err)
	}
	h := tree.layout.Hierarchies[0]
	unit := "/covetest" + randomHex(t, 6) + ".service"
	group := filepath.Join(h.Path, unit)
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, dir := range []string{filepath.Join(group, daemonLeaf), group} {
			if err := rmdir(dir); err != nil {
				t.Error(err)
			}
		}
	})
	tree.layout.Mode, tree.layout.Parent, tree.layout.Delegated = Unified, unit, true
	cmd := start(t, []string{group}, "sleep", "1000")
	for range 2 { // the second daemon finds everything done
		if err := tree.Delegate(); err != nil {
			t.Fatal(err)
		}
	}
	leaf, err := readProcs(filepath.Join(group, daemonLeaf))
	if err != nil || !slices.Equal(leaf, []int{cmd.Process.Pid}) {
		t.Errorf("in the leaf: %v, %v", leaf, err)
	}
	if pids, err := readProcs(group); err != nil || len(pids) > 0 {
		t.Errorf("left in the unit's group: %v, %v", pids, err)
	}
	for _, c := range wanted() {
		enabled, err := os.ReadFile(filepath.Join(h.Path, tree.top(), "cgroup.subtree_control"))
		if err != nil {
			t.Fatal(err)
		}
		has, offered := slices.Contains(strings.Fields(string(enabled)), c), slices.Contains(h.Controllers, c)
		if has != tree.Has(c) || has != offered {
			t.Errorf("%s: offered %v, enabled %v, Has %v", c, offered, has, tree.Has(c))
		}
	}
	id := randomHex(t, 12)
	mkdir(t, tree, tree.dirs(id)...)
	start(t, tree.dirs(id), "sleep", "1000")
	kill(t, tree, id)
	remove(t, tree, id)
	if err := tree.RemoveTop(); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	killedBySignal(t, cmd)
}

func BenchmarkOOMKills(b *testing.B) {
	tree := realTree(b, nil)
	id := randomHex(b, 12)
	mkdir(b, tree, tree.dirs(id)...)
	for b.Loop() {
		if _, err := tree.OOMKills(id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKillAndRemove(b *testing.B) {
	tree := realTree(b, nil)
	for b.Loop() {
		b.StopTimer()
		id := randomHex(b, 12)
		mkdir(b, tree, tree.dirs(id)...)
		cmd := start(b, tree.dirs(id), "sleep", "1000")
		b.StartTimer()
		kill(b, tree, id)
		remove(b, tree, id)
		b.StopTimer()
		_ = cmd.Wait()
		b.StartTimer()
	}
}
