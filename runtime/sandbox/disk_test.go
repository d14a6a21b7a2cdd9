package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"cove/config"
	"cove/runtime/disk"
)

// fakeDisks are disks that are only remembered: which there are and which are open.
type fakeDisks struct {
	m  *machine
	mu sync.Mutex
	// open and sizes are by sandbox.
	open  map[string]bool
	sizes map[string]int64
	dir   string // of all sandboxes
}

// disks are those of a new daemon.
func (m *machine) disks() *fakeDisks {
	f := &fakeDisks{m: m, open: map[string]bool{}, sizes: map[string]int64{}}
	if m.fake != nil {
		f.sizes, f.dir = m.fake.sizes, m.fake.dir
	}
	m.fake = f
	return f
}

func (f *fakeDisks) Create(_ context.Context, id, dir string, s disk.Spec) (*os.File, error) {
	if err := f.m.fails("disk"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Size > 0 {
		f.open[id], f.sizes[id], f.dir = true, s.Size, filepath.Dir(dir)
	}
	return os.Open(dir)
}

func (f *fakeDisks) Open(_ context.Context, id string, s disk.Spec) error {
	if err := f.m.fails("open disk"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Size > 0 {
		f.open[id] = true
	}
	return nil
}

func (f *fakeDisks) close(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, id)
}

func (f *fakeDisks) Device(id string) (disk.Device, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open[id] {
		return disk.Device{}, disk.ErrNotOpen
	}
	return disk.Device{Major: 7, Minor: 1}, nil
}

func (f *fakeDisks) Root(id string) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open[id] {
		return nil, disk.ErrNotOpen
	}
	return os.Open(filepath.Join(f.dir, id))
}

func (f *fakeDisks) Usage(id string) (disk.Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return disk.Usage{Quota: f.sizes[id], Used: f.sizes[id] / 2, Host: f.sizes[id] / 2}, nil
}

func (f *fakeDisks) Grow(_ context.Context, id string, s disk.Spec) error {
	if err := f.m.fails("grow disk"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Size < f.sizes[id] {
		return fmt.Errorf("%w: to %d", disk.ErrShrink, s.Size)
	}
	f.sizes[id] = s.Size
	return nil
}

func (f *fakeDisks) Files(string) (int64, bool) { return 0, false }

func (f *fakeDisks) Sync(string) error { return nil }

func (f *fakeDisks) Trim(context.Context, string) error { return nil }

func (f *fakeDisks) AttachedLayers() (map[string]string, error) { return nil, nil }

func (f *fakeDisks) Settled(string) (bool, error) { return true, nil }

func (f *fakeDisks) Attached() (map[string]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]string{}
	for id := range f.open {
		all[id] = "loop1"
	}
	return all, nil
}

// wantClosed is that no disk is open.
func (f *fakeDisks) wantClosed(t *testing.T) {
	t.Helper()
	if all, _ := f.Attached(); len(all) > 0 {
		t.Errorf("disks are open: %v", all)
	}
}

func diskSpec() config.Spec {
	s := testSpec()
	s.Resources.Disk = 64 * config.MiB
	return s
}

func TestDiskIsOpenWhileItsSandboxRuns(t *testing.T) {
	c := newCove(t)
	defer c.abandon()
	for _, call := range []string{"disk", "open disk", "mount", "create", "start"} {
		c.fail(call, errors.New("broken"))
		if _, err := c.m.Create(t.Context(), everybody, CreateRequest{Name: "bad", Spec: diskSpec()}); err == nil && call != "start" {
			t.Errorf("%s failed, and create did not", call)
		}
		c.fail(call, nil)
		if call != "start" {
			c.fake.wantClosed(t)
			continue
		}
		if err := c.operate("delete", "bad"); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		c.fake.wantClosed(t)
	}
	i, err := c.m.Create(t.Context(), everybody, CreateRequest{Name: "a", Spec: diskSpec()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.fake.Device(i.ID); err != nil {
		t.Errorf("it runs: %v", err)
	}
	r, err := c.m.Stats(t.Context(), everybody)
	if err != nil || len(r.Sandboxes) != 1 || r.Sandboxes[0].DiskLimit != int64(64*config.MiB) || r.Sandboxes[0].Disk == 0 {
		t.Errorf("statistics: %+v, %v", r.Sandboxes, err)
	}
	// The next daemon takes it over.
	c.abandon()
	c.open()
	if _, err := c.fake.Device(i.ID); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	for _, op := range []string{"stop", "start", "restart", "stop", "delete"} {
		if err := c.operate(op, "a"); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		if op == "stop" || op == "delete" {
			c.fake.wantClosed(t)
		} else if _, err := c.fake.Device(i.ID); err != nil {
			t.Errorf("after %s: %v", op, err)
		}
	}
}

func TestDiskThatCannotBeHad(t *testing.T) {
	c := newCove(t)
	defer c.abandon()
	create := func() error {
		_, err := c.m.Create(t.Context(), everybody, CreateRequest{Name: "a", Spec: diskSpec()})
		return err
	}
	c.fail("disk", disk.ErrNoSpace)
	if err := create(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("no space: %v", err)
	}
	c.fail("disk", disk.ErrTools)
	var invalid *InvalidError
	if err := create(); !errors.As(err, &invalid) || !invalid.Unsupported {
		t.Errorf("no tools: %v", err)
	}
}
