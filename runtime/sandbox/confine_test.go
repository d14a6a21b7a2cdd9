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

	"cove/config"
	"cove/runtime/cgroup"
	"cove/runtime/lifecycle"
)

// processors notes what it is told, and gives every sandbox processor 3.
type processors struct {
	placed map[string]float64
	calls  []string
	onMove func(id, list string)
	boom   error
}

func (p *processors) Adopt(running map[string]float64, onMove func(id, list string)) error {
	p.placed, p.onMove = running, onMove
	return nil
}

func (p *processors) Place(id string, cores float64) error {
	p.calls = append(p.calls, "place")
	p.placed[id] = cores
	p.onMove(id, "3")
	return nil
}

func (p *processors) Put(id string) error {
	p.calls = append(p.calls, "put")
	if _, ok := p.placed[id]; ok {
		return p.boom
	}
	return nil
}

func (p *processors) Leave(id string) error {
	p.calls = append(p.calls, "leave")
	delete(p.placed, id)
	return nil
}

// newPlaced is a cove whose sandboxes have processors.
func newPlaced(t *testing.T) (*cove, *processors) {
	c := newCove(t)
	c.abandon()
	p := new(processors)
	c.processors = p
	c.open()
	return c, p
}

func spec(change func(*config.Resources)) config.Spec {
	s := config.Defaults()
	s.Network.BlockAll = true
	change(&s.Resources)
	return s
}

func TestProcessorsOfALife(t *testing.T) {
	c, p := newPlaced(t)
	ctx := context.Background()
	i, err := c.m.Create(ctx, everybody, CreateRequest{Name: "a", Spec: spec(func(r *config.Resources) { r.CPU = 1.5 })})
	if err != nil {
		t.Fatal(err)
	}
	if p.placed[i.ID] != 1.5 || !slices.Equal(p.calls, []string{"place", "put"}) {
		t.Errorf("after create: %v, %v", p.placed, p.calls)
	}
	path := filepath.Join(c.m.runDir(i.ID), onlineFile)
	shows := func(want string) {
		t.Helper()
		data, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || string(data) != want || info.Mode().Perm() != 0o644 {
			t.Errorf("it is shown %q, %v, %v", data, err, serr)
		}
	}
	shows("3\n")
	p.onMove(i.ID, "10-12")
	shows("10-12\n")
	p.onMove(i.ID, "1")
	shows("1\n")
	p.onMove("0123456789ab", "1") // one that is not there

	// The next daemon takes it over, but not one that counts all processors.
	every, err := c.m.Create(ctx, everybody, CreateRequest{Name: "every", Spec: spec(func(r *config.Resources) { r.CPU, r.AllCPUs = 1, true })})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(c.m.runDir(every.ID), onlineFile)); err == nil {
		t.Error("one that counts all processors is shown others")
	}
	c.abandon()
	c.open()
	if len(p.placed) != 1 || p.placed[i.ID] != 1.5 {
		t.Errorf("taken over: %v", p.placed)
	}
	if _, err := c.m.Stop(ctx, everybody, "a", true); err != nil {
		t.Fatal(err)
	}
	if len(p.placed) != 0 {
		t.Errorf("after stop: %v", p.placed)
	}
}

// TestProcessorsRefused: one whose processors cannot be put in force does not start.
func TestProcessorsRefused(t *testing.T) {
	c, p := newPlaced(t)
	p.boom = errors.New("boom")
	_, err := c.m.Create(context.Background(), everybody, CreateRequest{Name: "a", Spec: spec(func(*config.Resources) {})})
	if !errors.Is(err, p.boom) || !strings.Contains(err.Error(), "all_cpus") {
		t.Errorf("create: %v", err)
	}
	if len(p.placed) != 0 || len(c.groups) != 0 || c.m.Len() != 0 {
		t.Errorf("left: %v, %v", p.placed, c.groups)
	}
}

func TestDiskSpeed(t *testing.T) {
	c := newCove(t)
	slow := spec(func(r *config.Resources) { r.IOWrite = config.MiB })
	create := func() error {
		_, err := c.m.Create(context.Background(), everybody, CreateRequest{Name: "a", Spec: slow})
		return err
	}
	unsupported := func(err error) {
		t.Helper()
		bad, ok := errors.AsType[*InvalidError](err)
		if !ok || !bad.Unsupported || bad.Problems[0].Key != "resources.io_write" {
			t.Errorf("%v", err)
		}
	}
	unsupported(create()) // no device
	if len(c.leases) != 0 {
		t.Error("something was taken for it")
	}
	c.m.opt.IODevice = func() (cgroup.Device, error) { return cgroup.Device{Major: 8}, nil }
	c.fail("io", fmt.Errorf("no controller: %w", cgroup.ErrUnavailable))
	unsupported(create())
	c.fail("io", errors.New("boom"))
	if err := create(); !errors.Is(err, c.boom["io"]) {
		t.Errorf("%v", err)
	}
	c.fail("io", nil)
	if err := create(); err != nil {
		t.Error(err)
	}
}

// TestKilledForMemory: the first kill is news, and then what doubles.
func TestKilledForMemory(t *testing.T) {
	c := newCove(t)
	i, err := c.m.Create(context.Background(), everybody, CreateRequest{Name: "a", Spec: spec(func(r *config.Resources) { r.Memory = 64 << 20 })})
	if err != nil {
		t.Fatal(err)
	}
	b := c.m.boxes[i.ID]
	seq := func() uint64 { return c.m.bus.journal.Last().Seq }
	for _, step := range []struct {
		killed int64
		news   bool
		text   string
	}{
		{0, false, ""}, {1, true, "1 program was killed at the memory limit of 64MiB"}, {1, false, "1 program was killed at the memory limit of 64MiB"},
		{2, true, "2 programs were killed at the memory limit of 64MiB"}, {3, false, "3 programs were killed at the memory limit of 64MiB"},
		{4, true, "4 programs were killed at the memory limit of 64MiB"},
	} {
		before := seq()
		c.m.notice(b, step.killed)
		if news := seq() != before; news != step.news {
			t.Errorf("%d killed: an event %v", step.killed, news)
		}
		if w := b.snapshot().Warnings; strings.Join(w, "; ") != step.text {
			t.Errorf("%d killed: %q", step.killed, w)
		}
	}
	if b.snapshot().State != lifecycle.Started {
		t.Error("it does not run")
	}
}
