package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/archive"
	"cove/runtime/lifecycle"
)

// keepsake makes a stopped sandbox with a file of its own.
func (c *cove) keepsake(name string, disk config.Size) string {
	c.t.Helper()
	i := c.made(name, func(a *config.Automation) { a.AutoArchive, a.AutoDelete = seconds(60), seconds(600) })
	c.must("stop", name)
	if disk > 0 {
		b := c.m.boxes[i.ID]
		b.mu.Lock()
		b.rec.Spec.Resources.Disk = disk
		b.mu.Unlock()
		c.fake.sizes[i.ID], c.fake.dir = int64(disk), c.m.sandboxesDir()
		if err := c.m.save(b, func(*record) {}); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.m.stateDir(i.ID), "upper/root/keepsake"), []byte(name), 0o640); err != nil {
		c.t.Fatal(err)
	}
	return i.ID
}

// kept checks what is there of a sandbox's files: them or the archive, never both
// when nothing is under way.
func (c *cove) kept(id, name string) {
	c.t.Helper()
	dir := c.m.stateDir(id)
	data, live := os.ReadFile(filepath.Join(dir, "upper/root/keepsake"))
	_, packed := os.Lstat(filepath.Join(dir, archiveFile))
	_, partial := os.Lstat(filepath.Join(dir, archiveFile+archive.Partial))
	if (live == nil) == (packed == nil) || partial == nil || live == nil && string(data) != name {
		c.t.Errorf("%s: its files %v (%q), its archive %v, a part of one %v", name, live, data, packed, partial)
	}
	if archived := c.state(name) == lifecycle.Archived; archived != (packed == nil) {
		c.t.Errorf("%s is %s, its archive: %v", name, c.state(name), packed)
	}
}

func (c *cove) archive(name string) error {
	_, err := c.m.Archive(context.Background(), everybody, name, false)
	return err
}

func TestArchiveAndRestore(t *testing.T) {
	for _, size := range []config.Size{0, 64 << 20} {
		t.Run(size.String(), func(t *testing.T) {
			c := newTimed(t)
			id := c.keepsake("a", size)
			if err := c.archive("a"); err != nil {
				t.Fatal(err)
			}
			c.expectState("a", lifecycle.Archived, lifecycle.ReasonUser)
			c.kept(id, "a")
			if err := c.archive("a"); err != nil {
				t.Errorf("once more: %v", err)
			}
			if len(c.fake.open) != 0 {
				t.Errorf("disks are open: %v", c.fake.open)
			}
			// It is found as it was left, can be renamed, and not run in.
			c.abandon()
			c.open()
			c.expectState("a", lifecycle.Archived, lifecycle.ReasonUser)
			if _, err := c.m.Rename(context.Background(), everybody, "a", "b"); err != nil {
				t.Error(err)
			}
			var conflict *ConflictError
			if _, err := c.m.Guest(context.Background(), everybody, "b", config.ActivityExec); !errors.As(err, &conflict) {
				t.Errorf("exec: %v", err)
			}
			if _, err := c.m.Rename(context.Background(), everybody, "b", "a"); err != nil {
				t.Error(err)
			}
			c.must("start", "a")
			c.kept(id, "a")
			c.must("stop", "a")
			c.kept(id, "a")
			c.leakless()
		})
	}
}

// Whatever fails, the files are where they were.
func TestArchiveFails(t *testing.T) {
	c := newTimed(t)
	id := c.keepsake("a", 0)
	boom := errors.New("no space")
	c.fail("archive", boom)
	if err := c.archive("a"); !errors.Is(err, boom) {
		t.Errorf("archive: %v", err)
	}
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonUser)
	c.kept(id, "a")
	// By itself it is tried again, and says so.
	c.pass(62*time.Second, time.Second)
	if d := c.due("a"); d == nil || d.Action != lifecycle.OpArchive || !strings.Contains(d.Error, "no space") {
		t.Errorf("due: %+v", d)
	}
	c.fail("archive", nil)
	c.pass(5*time.Second, time.Second)
	c.expectState("a", lifecycle.Archived, lifecycle.ReasonAutoArchive)
	// It takes little place, and is not deleted.
	c.pass(time.Hour, time.Minute)
	c.expectState("a", lifecycle.Archived, lifecycle.ReasonAutoArchive)

	for _, call := range []string{"restore", "disk"} {
		c.fail(call, boom)
		if _, err := c.m.Start(context.Background(), everybody, "a", StartRequest{}); !errors.Is(err, boom) {
			t.Errorf("%s: %v", call, err)
		}
		c.fail(call, nil)
		c.expectState("a", lifecycle.Archived, lifecycle.ReasonAutoArchive)
		c.kept(id, "a")
	}
	path := filepath.Join(c.m.stateDir(id), archiveFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.m.Start(context.Background(), everybody, "a", StartRequest{}); !errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged archive: %v", err)
	}
	c.expectState("a", lifecycle.Archived, lifecycle.ReasonAutoArchive)
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	// Without its archive nothing else is taken away either.
	live := filepath.Join(c.m.stateDir(id), "upper")
	if err := errors.Join(os.Remove(path), os.Mkdir(live, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.m.Start(context.Background(), everybody, "a", StartRequest{}); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("without its archive: %v", err)
	}
	if _, err := os.Stat(live); err != nil {
		t.Errorf("what lies beside: %v", err)
	}
	if err := errors.Join(os.Remove(live), os.WriteFile(path, whole, 0o600)); err != nil {
		t.Fatal(err)
	}
	// Its launch fails, and it is stopped, with its files.
	c.fail("start", boom)
	if _, err := c.m.Start(context.Background(), everybody, "a", StartRequest{}); !errors.Is(err, boom) {
		t.Errorf("a start that fails: %v", err)
	}
	c.fail("start", nil)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonFailed)
	c.kept(id, "a")
	c.leakless()
}

// The daemon is killed at every stage.
func TestArchiveKilled(t *testing.T) {
	for _, tt := range []struct {
		op, stage string
		want      []lifecycle.State
	}{
		{"archive", "archiving", []lifecycle.State{lifecycle.Stopped}},
		{"archive", "saved", []lifecycle.State{lifecycle.Stopped}},
		{"archive", "recorded", []lifecycle.State{lifecycle.Archived}},
		{"start", "restoring", []lifecycle.State{lifecycle.Archived}},
		{"start", "restored", []lifecycle.State{lifecycle.Archived}},
		{"start", "recorded", []lifecycle.State{lifecycle.Stopped}},
		{"start", "leased", []lifecycle.State{lifecycle.Stopped}},
		{"start", "running", []lifecycle.State{lifecycle.Stopped}},
	} {
		t.Run(fmt.Sprint(tt.op, " ", tt.stage), func(t *testing.T) {
			c := newTimed(t)
			id := c.keepsake("a", 0)
			op := func(ctx context.Context) error { _, err := c.m.Archive(ctx, everybody, "a", false); return err }
			if tt.op == "start" {
				if err := c.archive("a"); err != nil {
					t.Fatal(err)
				}
				op = func(ctx context.Context) error {
					_, err := c.m.Start(ctx, everybody, "a", StartRequest{})
					return err
				}
			}
			c.dies(tt.stage)
			if err := c.do(op); err == nil {
				t.Fatal("it was not cut off")
			}
			c.abandon()
			c.open()
			c.rest()
			if got := c.state("a"); !slices.Contains(tt.want, got) {
				t.Errorf("it is %s, want one of %v", got, tt.want)
			}
			c.kept(id, "a")
			c.must("start", "a")
			c.kept(id, "a")
			c.leakless()
		})
	}
}

// A start breaks an archiving off; a delete breaks off both ways.
func TestArchiveBrokenOff(t *testing.T) {
	c := newTimed(t)
	id := c.keepsake("a", 0)
	begun := make(chan struct{})
	c.archiving = func(ctx context.Context) {
		close(begun)
		<-ctx.Done()
	}
	failed := make(chan error, 1)
	go func() { failed <- c.archive("a") }()
	<-begun
	c.archiving = nil
	c.must("start", "a")
	if err := <-failed; !errors.Is(err, ErrCanceled) {
		t.Errorf("the archiving ended with %v", err)
	}
	c.kept(id, "a")
	c.must("stop", "a")
	begun = make(chan struct{})
	c.archiving = func(ctx context.Context) {
		close(begun)
		<-ctx.Done()
	}
	go func() { failed <- c.archive("a") }()
	<-begun
	if _, err := c.m.Delete(context.Background(), everybody, "a", true); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("the archiving went on")
	}
	c.leakless()
}
