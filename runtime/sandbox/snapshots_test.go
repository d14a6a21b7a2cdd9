package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

func (c *cove) snap(name, as string) (SnapshotInfo, error) {
	return c.m.Snapshot(context.Background(), everybody, name, as)
}

// found gives the file that a sandbox sees, as its layers have it, topmost first.
func (c *cove) found(id, file string) string {
	c.t.Helper()
	dirs := []string{filepath.Join(c.m.stateDir(id), "upper")}
	for _, name := range slices.Backward(c.m.boxes[id].record().Base.Layers) {
		dirs = append(dirs, c.layers.Path(name))
	}
	for _, d := range dirs {
		if data, err := os.ReadFile(filepath.Join(d, "root", file)); err == nil {
			return string(data)
		}
	}
	return ""
}

func (c *cove) listed(who Caller) []SnapshotInfo {
	c.t.Helper()
	list, err := c.m.Snapshots(context.Background(), who)
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

func (c *cove) layerNames() []string {
	c.t.Helper()
	if err := c.m.trash.drain(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	if err := c.m.collectLayers(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(c.dir, "state", "layers"))
	if err != nil {
		c.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") { // on its way out
			names = append(names, e.Name())
		}
	}
	return names
}

func (c *cove) createOf(who Caller, name, snapshot string) (Info, error) {
	s := testSpec()
	s.Image, s.User, s.Workdir, s.Shell = config.SnapshotPrefix+snapshot, "", "", nil
	return c.m.Create(context.Background(), who, CreateRequest{Name: name, Spec: s})
}

// A state that is kept is what new sandboxes are made of, whatever becomes of the
// one that it was taken of.
func TestSnapshot(t *testing.T) {
	c := newCove(t)
	id := c.keepsake("a", 0)
	one, err := c.snap("a", "")
	if err != nil {
		t.Fatal(err)
	}
	if one.Name != "a-1" || one.Parent != "" || one.Image != "host" || !one.Base.Host || len(one.Base.Layers) != 1 || one.Copied != 0 || one.Frozen != 0 || !slices.Equal(one.Used, []string{"a"}) {
		t.Errorf("the first: %+v", one)
	}
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonUser)
	if got := c.found(id, "keepsake"); got != "a" {
		t.Errorf("the sandbox has %q", got)
	}
	if err := os.WriteFile(filepath.Join(c.m.stateDir(id), "upper/root/second"), []byte("2"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.must("start", "a")
	two, err := c.snap("a", "two")
	if err != nil {
		t.Fatal(err)
	}
	c.expectState("a", lifecycle.Started, "")
	if two.Parent != one.ID || two.Copied == 0 || two.Frozen <= 0 || len(two.Base.Layers) != 2 {
		t.Errorf("of one that runs: %+v", two)
	}
	if _, err := c.m.Pause(context.Background(), everybody, "a"); err != nil {
		t.Fatal(err)
	}
	if three, err := c.snap("a", ""); err != nil || three.Frozen != 0 || three.Name != "a-2" {
		t.Errorf("of one that is paused: %+v, %v", three, err)
	}
	c.expectState("a", lifecycle.Paused, "")
	if _, err := c.m.RemoveSnapshot(context.Background(), everybody, "a-2"); err != nil {
		t.Error(err)
	}
	if _, err := c.snap("a", "two"); !errors.Is(err, ErrExists) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := c.snap("a", "No Name"); err == nil {
		t.Error("no name")
	}
	if _, err := c.m.Delete(context.Background(), everybody, "a", true); err != nil {
		t.Fatal(err)
	}
	b, err := c.createOf(everybody, "b", "two")
	if err != nil {
		t.Fatal(err)
	}
	if c.found(b.ID, "keepsake") != "a" || c.found(b.ID, "second") != "2" || c.m.boxes[b.ID].record().Snapshot != two.ID {
		t.Errorf("made of it: %+v", c.m.boxes[b.ID].record())
	}
	if got := c.m.boxes[b.ID].record().effective(); got.User != "dev" || got.Workdir != "/workspace" {
		t.Errorf("its user is %q in %q", got.User, got.Workdir)
	}
	c.abandon()
	c.open()
	list := c.listed(everybody)
	if len(list) != 2 || list[1].Parent != one.ID || !slices.Equal(list[1].Used, []string{"b"}) || list[1].Size == 0 {
		t.Errorf("listed: %+v", list)
	}
	// What is removed goes when nothing is on it.
	if _, err := c.m.RemoveSnapshot(context.Background(), everybody, one.ID[:6]); err != nil {
		t.Fatal(err)
	}
	if got := c.listed(everybody); len(got) != 1 || got[0].Name != "two" {
		t.Errorf("left: %+v", got)
	}
	if got := c.layerNames(); !slices.Equal(got, sorted(two.Base.Layers)) {
		t.Errorf("the layers are %v, used are %v", got, two.Base.Layers)
	}
	if _, err := c.m.RemoveSnapshot(context.Background(), everybody, "two"); err != nil {
		t.Fatal(err)
	}
	if got := c.layerNames(); !slices.Equal(got, sorted(two.Base.Layers)) {
		t.Errorf("the sandbox's layers: %v", got)
	}
	if _, err := c.m.Delete(context.Background(), everybody, "b", true); err != nil {
		t.Fatal(err)
	}
	if got := c.layerNames(); len(got) != 0 {
		t.Errorf("layers of nothing: %v", got)
	}
	c.leakless()
}

func isImageError(err error) bool {
	var bad *ImageError
	return errors.As(err, &bad)
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// A snapshot is its owner's.
func TestSnapshotsOfOthers(t *testing.T) {
	c := newCove(t)
	ada, bob := Caller{UID: 4711}, Caller{UID: 4712}
	if _, err := c.m.Create(context.Background(), ada, CreateRequest{Name: "a", Spec: testSpec()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.m.Snapshot(context.Background(), bob, "a", "mine"); !errors.Is(err, ErrNotFound) {
		t.Errorf("of a foreign sandbox: %v", err)
	}
	one, err := c.m.Snapshot(context.Background(), ada, "a", "mine")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.listed(bob); len(got) != 0 {
		t.Errorf("seen: %+v", got)
	}
	for _, ref := range []string{"mine", one.ID} {
		if _, err := c.m.RemoveSnapshot(context.Background(), bob, ref); !errors.Is(err, ErrNoSnapshot) {
			t.Errorf("removed: %v", err)
		}
		if _, err := c.createOf(bob, "b", ref); !isImageError(err) {
			t.Errorf("used: %v", err)
		}
	}
	if _, err := c.m.Fork(context.Background(), bob, "a", ForkRequest{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("forked: %v", err)
	}
	// The name is another's own, and a fork whose it is that asked for it.
	if _, err := c.m.Create(context.Background(), bob, CreateRequest{Name: "b", Spec: testSpec()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.m.Snapshot(context.Background(), bob, "b", "mine"); err != nil {
		t.Error(err)
	}
	res, err := c.m.Fork(context.Background(), everybody, "a", ForkRequest{})
	if err != nil || res.Errors[0] != nil || res.Sandboxes[0].Owner != 0 {
		t.Errorf("by root: %+v, %v", res, err)
	}
}

// Forks go their own ways, at once, and each has its own error.
func TestFork(t *testing.T) {
	for _, state := range []lifecycle.State{lifecycle.Stopped, lifecycle.Started} {
		t.Run(string(state), func(t *testing.T) {
			c := newCove(t)
			id := c.keepsake("a", 0)
			if state == lifecycle.Started {
				c.must("start", "a")
			}
			c.made("try-3", func(*config.Automation) {})
			res, err := c.m.Fork(context.Background(), everybody, "a", ForkRequest{Name: "try", Count: 5})
			if err != nil {
				t.Fatal(err)
			}
			if errors.Join(res.Errors...) != nil || len(res.Sandboxes) != 5 {
				t.Fatalf("%d made, failed: %v", len(res.Sandboxes), res.Errors)
			}
			if got := res.Sandboxes[4].Name; got != "try-6" {
				t.Errorf("the last is %s", got)
			}
			if one, err := c.m.Fork(context.Background(), everybody, "a", ForkRequest{Name: "try-3"}); err != nil || !errors.Is(one.Errors[0], ErrExists) {
				t.Errorf("a name that is taken: %v, %v", one.Errors, err)
			}
			if got := c.state("a"); got != state {
				t.Errorf("it is %s, want %s", got, state)
			}
			if _, err := c.m.Delete(context.Background(), everybody, "a", true); err != nil {
				t.Fatal(err)
			}
			c.layerNames()
			for n, i := range res.Sandboxes {
				if got := c.found(i.ID, "keepsake"); got != "a" {
					t.Errorf("%s has %q", i.Name, got)
				}
				if err := os.WriteFile(filepath.Join(c.m.stateDir(i.ID), "upper/root/keepsake"), fmt.Append(nil, n), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for n, i := range res.Sandboxes {
				if got := c.found(i.ID, "keepsake"); got != fmt.Sprint(n) {
					t.Errorf("%s has %q by now", i.Name, got)
				}
				c.must("stop", i.Name)
				c.must("start", i.Name)
			}
			if id == "" || c.m.boxes[id] != nil {
				t.Error("the first is still there")
			}
			c.leakless()
		})
	}
}

// Whatever moment the daemon dies at, a sandbox has its files, and goes on.
func TestSnapshotKilled(t *testing.T) {
	for _, tt := range []struct {
		from lifecycle.State
		at   []string
	}{
		{lifecycle.Stopped, []string{"pending", "committed", "kept"}},
		{lifecycle.Started, []string{"copying", "frozen", "thawed", "kept"}},
		{lifecycle.Paused, []string{"copying", "kept"}},
	} {
		for _, stage := range tt.at {
			for _, op := range []string{"snapshot", "fork"} {
				t.Run(fmt.Sprintf("%s/%s/%s", op, tt.from, stage), func(t *testing.T) {
					c := newCove(t)
					id := c.keepsake("a", 0)
					if tt.from.Running() {
						c.must("start", "a")
					}
					if tt.from == lifecycle.Paused {
						if _, err := c.m.Pause(context.Background(), everybody, "a"); err != nil {
							t.Fatal(err)
						}
					}
					c.dies(stage)
					err := c.do(func(ctx context.Context) error {
						if op == "fork" {
							_, err := c.m.Fork(ctx, everybody, "a", ForkRequest{Count: 2})
							return err
						}
						_, err := c.m.Snapshot(ctx, everybody, "a", "s")
						return err
					})
					c.dies("")
					if op == "fork" && stage == "kept" {
						if err != nil {
							t.Fatal(err)
						}
					} else if err == nil {
						t.Fatal("it was not cut off")
					}
					c.abandon()
					c.open()
					c.rest()
					if got := c.state("a"); got != tt.from {
						t.Errorf("it is %s, want %s", got, tt.from)
					}
					if c.isFrozen(id) != (tt.from == lifecycle.Paused) {
						t.Errorf("it is frozen: %v", c.isFrozen(id))
					}
					if got := c.found(id, "keepsake"); got != "a" {
						t.Errorf("it has %q", got)
					}
					if rec := c.m.boxes[id].record(); rec.Pending != "" {
						t.Errorf("half done: %+v", rec.Base)
					}
					for _, dir := range []string{"upper/root", "upper/usr", "work/root"} {
						if _, err := os.Lstat(filepath.Join(c.m.stateDir(id), dir)); err != nil {
							t.Error(err)
						}
					}
					switch tt.from {
					case lifecycle.Stopped:
						c.must("start", "a")
					case lifecycle.Paused:
						c.must("stop", "a")
						c.must("start", "a")
					default:
						c.must("stop", "a")
					}
					if _, err := c.snap("a", "after"); err != nil {
						t.Error(err)
					}
					c.leakless()
				})
			}
		}
	}
}

// A long chain becomes short, for all who are on it, and what they have stays.
func TestChainsAreMerged(t *testing.T) {
	c := newCove(t)
	id := c.keepsake("a", 0)
	var last SnapshotInfo
	for n := range 60 {
		if err := os.WriteFile(filepath.Join(c.m.stateDir(id), "upper/root", fmt.Sprintf("f%d", n)), fmt.Append(nil, n), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if last, err = c.snap("a", fmt.Sprintf("s%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	c.mergesAll()
	depth := len(c.m.boxes[id].record().Base.Layers)
	if depth > mergeAt {
		t.Errorf("the sandbox lies on %d layers", depth)
	}
	for _, one := range c.listed(everybody) {
		if len(one.Base.Layers) > mergeAt {
			t.Errorf("%s lies on %d layers", one.Name, len(one.Base.Layers))
		}
	}
	c.abandon()
	c.open()
	c.layerNames()
	if got := len(c.m.boxes[id].record().Base.Layers); got > depth {
		t.Errorf("after a restart it lies on %d layers", got)
	}
	for n := range 60 {
		if got := c.found(id, fmt.Sprintf("f%d", n)); got != fmt.Sprint(n) {
			t.Errorf("f%d has %q", n, got)
		}
	}
	if c.found(id, "keepsake") != "a" {
		t.Error("the first is lost")
	}
	b, err := c.createOf(everybody, "b", last.Name)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.found(b.ID, "f0"); got != "0" {
		t.Errorf("made of the last: %q", got)
	}
	for _, name := range append(c.m.boxes[b.ID].record().Base.Layers, c.m.boxes[id].record().Base.Layers...) {
		if !c.layers.Has(name) {
			t.Errorf("%s was collected", name)
		}
	}
}

// mergesAll waits until nothing lies on too many layers.
func (c *cove) mergesAll() {
	c.t.Helper()
	for until := time.Now().Add(time.Minute); ; runtime.Gosched() {
		if _, more := c.m.tooLong(nil); !more {
			return
		}
		if time.Now().After(until) {
			c.t.Fatal("chains are not merged")
		}
	}
}

// Whatever moment the daemon dies at while layers are merged, all have their files,
// and the next one merges them.
func TestMergeKilled(t *testing.T) {
	for _, stage := range []string{"merged", "rebased"} {
		t.Run(stage, func(t *testing.T) {
			c := newCove(t)
			id := c.keepsake("a", 0)
			died := false
			c.dies(stage)
			gone := c.died
			for n := range mergeAt + 1 {
				if err := os.WriteFile(filepath.Join(c.m.stateDir(id), "upper/root", fmt.Sprintf("f%d", n)), fmt.Append(nil, n), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := c.snap("a", ""); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-gone:
				died = true
			case <-time.After(time.Minute):
			}
			if !died {
				t.Fatal("nothing was merged")
			}
			c.abandon()
			c.open()
			c.mergesAll()
			c.layerNames()
			for n := range mergeAt + 1 {
				if got := c.found(id, fmt.Sprintf("f%d", n)); got != fmt.Sprint(n) {
					t.Errorf("f%d has %q", n, got)
				}
			}
			if got := len(c.m.boxes[id].record().Base.Layers); got > mergeAt {
				t.Errorf("it lies on %d layers", got)
			}
			c.must("start", "a")
			c.leakless()
		})
	}
}

// While one snapshot cannot be read, no layer goes.
func TestUnreadableSnapshot(t *testing.T) {
	c := newCove(t)
	c.keepsake("a", 0)
	one, err := c.snap("a", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.m.Delete(context.Background(), everybody, "a", true); err != nil {
		t.Fatal(err)
	}
	c.abandon()
	if err := os.WriteFile(filepath.Join(c.dir, "state/snapshots", one.ID+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.open()
	if err := c.m.collectLayers(context.Background()); !errors.Is(err, errUnknownSandbox) {
		t.Errorf("collected: %v", err)
	}
	if !c.layers.Has(one.Base.Layers[0]) {
		t.Error("its layer is gone")
	}
	if _, err := c.createOf(everybody, "b", one.Name); !isImageError(err) {
		t.Errorf("used: %v", err)
	}
}
