package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

func (c *cove) deleteToUndo(name string) {
	c.t.Helper()
	if _, err := c.m.Delete(context.Background(), everybody, name, false); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cove) undo(who Caller, ref string) (Info, error) {
	return c.m.Undo(context.Background(), who, ref)
}

// inTrash tells whether anything of it is left there, once what goes has gone.
func (c *cove) inTrash(id string) bool {
	c.t.Helper()
	if err := c.m.trash.drain(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	_, err := os.Lstat(filepath.Join(c.m.trashDir(), id))
	return err == nil
}

func TestUndo(t *testing.T) {
	c := newTimed(t)
	id := c.keepsake("a", 0)
	if _, err := c.m.SetLabels(context.Background(), everybody, "a", map[string]string{"k": "v"}, nil); err != nil {
		t.Fatal(err)
	}
	before, err := c.m.Get(everybody, "a")
	if err != nil {
		t.Fatal(err)
	}
	c.must("start", "a") // what runs ends
	c.deleteToUndo("a")
	c.expectState("a", lifecycle.Destroyed, "")
	c.leakless()
	list := c.m.Deleted(everybody)
	if len(list) != 1 || list[0].Name != "a" || list[0].Until.Sub(list[0].Deleted) != KeepDeleted {
		t.Errorf("deleted: %+v", list)
	}
	if got := c.m.Deleted(Caller{UID: 4711}); len(got) != 0 {
		t.Errorf("another sees %+v", got)
	}
	if _, err := c.undo(Caller{UID: 4711}, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("by another: %v", err)
	}
	// Its name is free, and then another's.
	c.made("a", func(*config.Automation) {})
	if _, err := c.undo(everybody, "a"); !errors.Is(err, ErrExists) {
		t.Errorf("where its name is taken: %v", err)
	}
	if _, err := c.m.Rename(context.Background(), everybody, "a", "other"); err != nil {
		t.Fatal(err)
	}
	// One that fails leaves it where it was, to be asked for again.
	if err := os.Mkdir(c.m.stateDir(id), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.m.stateDir(id), "in-the-way"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.undo(everybody, id); err == nil || len(c.m.Deleted(everybody)) != 1 {
		t.Errorf("one that cannot be moved: %v", err)
	}
	if err := os.RemoveAll(c.m.stateDir(id)); err != nil {
		t.Fatal(err)
	}
	// It outlives the daemon.
	c.abandon()
	c.open()
	i, err := c.undo(everybody, id[:6])
	if err != nil {
		t.Fatal(err)
	}
	if i.ID != id || i.Name != "a" || i.State != lifecycle.Stopped || i.Spec.Labels["k"] != "v" || !i.Created.Equal(before.Created) {
		t.Errorf("brought back: %+v", i)
	}
	c.kept(id, "a")
	c.must("start", "a")
	c.abandon()
	c.open()
	c.expectState("a", lifecycle.Started, "")
	if _, err := c.undo(everybody, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("once more: %v", err)
	}
	c.leakless()
}

// What is not to be kept is not, and what is goes when its time is over, its
// space is needed or too many follow.
func TestUndoEnds(t *testing.T) {
	c := newTimed(t)
	now := c.keepsake("now", 0)
	if _, err := c.m.Delete(context.Background(), everybody, "now", true); err != nil {
		t.Fatal(err)
	}
	auto := c.keepsake("auto", 0)
	c.pass(62*time.Second, time.Second) // archived
	if _, err := c.m.SetAutomation(context.Background(), everybody, "auto", config.Automation{AutoDelete: 0, AutoArchive: config.Never, TTL: config.Never}); err != nil {
		t.Fatal(err)
	}
	c.must("start", "auto")
	c.must("stop", "auto") // it is ephemeral by now
	for _, id := range []string{now, auto} {
		if c.inTrash(id) {
			t.Errorf("%s is kept", id)
		}
	}
	old := c.keepsake("old", 0)
	c.deleteToUndo("old")
	c.time.pass(KeepDeleted / 2)
	young := c.keepsake("young", 0)
	c.deleteToUndo("young")
	c.time.pass(KeepDeleted/2 + time.Second)
	c.m.kept.expire()
	if c.inTrash(old) || !c.inTrash(young) {
		t.Errorf("after its time: old %v, young %v", c.inTrash(old), c.inTrash(young))
	}
	if _, err := c.undo(everybody, "old"); !errors.Is(err, ErrNotFound) {
		t.Errorf("undone after its time: %v", err)
	}
	// The next daemon knows when its time is over.
	c.abandon()
	c.time.pass(KeepDeleted)
	c.open()
	if c.inTrash(young) {
		t.Error("the next daemon keeps it")
	}
	short := c.keepsake("short", 0)
	c.deleteToUndo("short")
	c.m.kept.empty()
	if c.inTrash(short) {
		t.Error("it is kept where space is short")
	}
	// Who deletes while space is short wants it.
	wanted := c.keepsake("wanted", 0)
	c.free(tooLow)
	c.m.guard.poke()
	for !c.m.guard.isShort() {
		time.Sleep(time.Millisecond)
	}
	c.deleteToUndo("wanted")
	if c.inTrash(wanted) {
		t.Error("what is deleted while space is short is kept")
	}
	c.makeRoom()
	c.relaxed()
	// A clock that was set back keeps nothing for ever.
	future := c.keepsake("future", 0)
	c.deleteToUndo("future")
	c.time.set(-24 * time.Hour)
	c.m.kept.expire()
	c.time.pass(KeepDeleted + time.Second)
	c.m.kept.expire()
	if c.inTrash(future) {
		t.Error("it is kept for a day")
	}
	first := ""
	for i := range maxDeleted + 1 {
		d := Deleted{ID: fmt.Sprintf("%012x", i), Name: "x", Owner: 1000, Deleted: c.m.now().Add(time.Duration(i)), Until: c.m.now().Add(time.Minute)}
		if i == 0 {
			first = d.ID
		}
		c.m.kept.add(d)
	}
	if ids := c.m.kept.ids(); len(ids) != maxDeleted || ids[first] {
		t.Errorf("%d are kept of one user", len(ids))
	}
	c.m.kept.empty()
	c.leakless()
}

// The daemon is killed at every stage of a delete and of an undo.
func TestUndoKilled(t *testing.T) {
	for _, stage := range []string{"released", "named", "moved"} {
		t.Run(stage, func(t *testing.T) {
			c := newTimed(t)
			id := c.keepsake("a", 0)
			op := func(ctx context.Context) error {
				_, err := c.m.Delete(ctx, everybody, "a", false)
				return err
			}
			if stage != "released" {
				c.deleteToUndo("a")
				op = func(ctx context.Context) error { _, err := c.m.Undo(ctx, everybody, "a"); return err }
			}
			c.dies(stage)
			if err := c.do(op); err == nil {
				t.Fatal("it was not cut off")
			}
			c.abandon()
			c.open()
			c.rest()
			if stage == "moved" {
				c.expectState("a", lifecycle.Stopped, lifecycle.ReasonUser)
			} else if _, err := c.undo(everybody, "a"); err != nil {
				t.Error(err)
			}
			c.kept(id, "a")
			c.must("start", "a")
			c.leakless()
			// It is not taken for a deleted one when it is deleted for good.
			if _, err := c.m.Delete(context.Background(), everybody, "a", true); err != nil || c.inTrash(id) {
				t.Errorf("deleted for good: %v", err)
			}
		})
	}
}
