package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cove/config"
	"cove/runtime/cgroup"
	"cove/runtime/disk"
	"cove/runtime/lifecycle"
)

// CheckChange and what follows implement Limiter: as the kernel does, it refuses
// what is below what is in use.
func (m *machine) CheckChange(_, _ config.Resources) error { return m.fails("check") }

func (m *machine) SetCPU(id string, cores float64) error {
	return m.setLimit(id, "cpu", func(limits *config.Resources, _ config.Resources) error {
		limits.CPU = cores
		return nil
	})
}

func (m *machine) ResizePids(id string, n int64) error {
	return m.setLimit(id, "pids", func(limits *config.Resources, uses config.Resources) error {
		if n > 0 && uses.Pids > n {
			return &cgroup.InUseError{Quantity: cgroup.Pids, Used: uses.Pids, Limit: n, Least: uses.Pids}
		}
		limits.Pids = n
		return nil
	})
}

func (m *machine) ResizeMemory(ctx context.Context, id string, memory, swap config.Size, still cgroup.Still) error {
	m.mu.Lock()
	held, until := m.held, m.until
	m.held = nil
	m.mu.Unlock()
	if held != nil {
		close(held)
		select {
		case <-until:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	m.mu.Lock()
	down := falls(m.limits[id].Memory, memory)
	m.mu.Unlock()
	if down {
		goOn, err := still(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = goOn() }()
	}
	return m.setLimit(id, "memory", func(limits *config.Resources, uses config.Resources) error {
		if memory > 0 && uses.Memory > memory {
			return &cgroup.InUseError{Quantity: cgroup.Memory, Used: int64(uses.Memory), Limit: int64(memory), Least: int64(uses.Memory)}
		}
		limits.Memory, limits.Swap = memory, swap
		return nil
	})
}

func (m *machine) setLimit(id, what string, set func(limits *config.Resources, uses config.Resources) error) error {
	if err := m.fails(what); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	limits, ok := m.limits[id]
	if !ok {
		return fmt.Errorf("%s: no such group", id)
	}
	err := set(&limits, m.uses[id])
	if err == nil {
		m.limits[id] = limits
	}
	return err
}

// grow has a sandbox use as much of a limit as it may.
func (m *machine) grow(id string, part int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	limits := m.limits[id]
	m.uses[id] = config.Resources{Memory: limits.Memory * config.Size(part) / 100, Pids: limits.Pids * part / 100}
}

// drawResize asks for one or several limits that are often the same.
func drawResize(rt *rapid.T) ResizeRequest {
	var r ResizeRequest
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"cpu", "memory", "swap", "pids"}), 1, 4, rapid.ID).Draw(rt, "keys") {
		switch key {
		case "cpu":
			r.CPU = new(rapid.SampledFrom([]float64{0, 0.5, 2}).Draw(rt, "cpu"))
		case "memory":
			r.Memory = new(rapid.SampledFrom([]config.Size{config.GiB, 2 * config.GiB, 4 * config.GiB}).Draw(rt, "memory"))
		case "swap":
			r.Swap = new(rapid.SampledFrom([]config.Size{0, config.GiB}).Draw(rt, "swap"))
		case "pids":
			r.Pids = new(rapid.SampledFrom([]int64{0, 64, 128}).Draw(rt, "pids"))
		}
	}
	return r
}

// modelResize resizes, and may die in the middle of it: then each limit is the one
// before or the one asked for.
func (c *cove) modelResize(rt *rapid.T, name string, before lifecycle.State, exists, die bool) {
	rt.Helper()
	r := drawResize(rt)
	var was Info
	if exists {
		var err error
		if was, err = c.m.Get(everybody, name); err != nil {
			rt.Fatal(err)
		}
		if was.Pid != 0 {
			c.grow(was.ID, rapid.Int64Range(0, 100).Draw(rt, "use"))
		}
	}
	if die {
		c.dies(rapid.SampledFrom([]string{"resizing", "pids", "still", "memory", "cpu", "recorded"}).Draw(rt, "stage"))
	}
	err := c.do(func(ctx context.Context) error {
		_, err := c.m.Resize(ctx, everybody, name, r)
		return err
	})
	c.dies("")
	died := errors.Is(err, errDied)
	if died {
		if was.Pid != 0 {
			// It uses more by the time the next daemon comes.
			c.grow(was.ID, rapid.Int64Range(0, 100).Draw(rt, "use then"))
		}
		c.abandon()
		c.open()
		c.rest()
	}
	if !exists {
		if !errors.Is(err, ErrNotFound) {
			rt.Fatalf("resize of nothing: %v", err)
		}
		return
	}
	now, gerr := c.m.Get(everybody, name)
	if gerr != nil {
		rt.Fatal(gerr)
	}
	want := was.Spec.Resources
	replace(&want.CPU, r.CPU)
	replace(&want.Memory, r.Memory)
	replace(&want.Swap, r.Swap)
	replace(&want.Pids, r.Pids)
	var conflict *ConflictError
	var inUse *LimitError
	switch is, was := now.Spec.Resources, was.Spec.Resources; {
	case died:
		if is.CPU != was.CPU && is.CPU != want.CPU || is.Memory != was.Memory && is.Memory != want.Memory ||
			is.Swap != was.Swap && is.Swap != want.Swap || is.Pids != was.Pids && is.Pids != want.Pids {
			rt.Fatalf("a resize from %+v to %+v that died ends in %+v", was, want, is)
		}
	case lifecycle.Check(lifecycle.OpResize, before) == lifecycle.Refused:
		if !errors.As(err, &conflict) || !sameLimits(is, was) {
			rt.Fatalf("resize of one that is %s: %v, %+v", before, err, is)
		}
	case errors.As(err, &inUse):
		if uses := c.uses[now.ID]; before != lifecycle.Started || uses.Memory <= want.Memory && (want.Pids == 0 || uses.Pids <= want.Pids) {
			rt.Fatalf("resize to %+v with %+v in use: %v", want, uses, err)
		}
		if !sameLimits(is, was) {
			rt.Fatalf("a resize that was refused left %+v of %+v", is, was)
		}
	case err != nil:
		rt.Fatalf("resize of one that is %s: %v", before, err)
	case !sameLimits(is, want):
		rt.Fatalf("a resize to %+v made %+v", want, is)
	}
}

// limitsAgree checks that the kernel enforces what the record says.
func (c *cove) limitsAgree(rt *rapid.T, i Info) {
	rt.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frozen[i.ID] != (i.State == lifecycle.Paused) {
		rt.Fatalf("%s is %s, frozen %v", i.Name, i.State, c.frozen[i.ID])
	}
	if got := c.limits[i.ID]; !sameLimits(got, i.Spec.Resources) {
		rt.Fatalf("%s has the limits %+v, its record says %+v", i.Name, got, i.Spec.Resources)
	}
}

func TestResize(t *testing.T) {
	c := newCove(t)
	ctx := t.Context()
	i, err := c.m.Create(ctx, everybody, CreateRequest{Name: "a", Spec: testSpec()})
	if err != nil {
		t.Fatal(err)
	}
	was := i.Spec.Resources
	is := func(want config.Resources) {
		t.Helper()
		i, err := c.m.Get(everybody, "a")
		if err != nil || !sameLimits(i.Spec.Resources, want) || !sameLimits(c.limits[i.ID], want) || i.State != lifecycle.Started {
			t.Fatalf("%v: record %+v, in force %+v, want %+v (%s)", err, i.Spec.Resources, c.limits[i.ID], want, i.State)
		}
	}
	for what, r := range map[string]ResizeRequest{
		"no limit was given":        {},
		"-1 cores cannot":           {CPU: new(-1.0)},
		"is out of range":           {Memory: new(config.Size(-1))},
		"too little to start":       {Memory: new(config.Size(1))},
		"-5 processes cannot":       {Pids: new(int64(-5))},
		"there is none":             {Memory: new(config.Size(0)), Swap: new(config.GiB)},
		"31 processes cannot be th": {Pids: new(int64(31)), CPU: new(1.0)},
	} {
		_, err := c.m.Resize(ctx, everybody, "a", r)
		var bad *InvalidError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v: %v, want %q", r, err, what)
		}
		is(was)
	}
	// Nothing of a request is done when a part of it cannot be.
	c.uses[i.ID] = config.Resources{Memory: 3 * config.GiB, Pids: 100}
	for _, r := range []ResizeRequest{
		{CPU: new(1.0), Memory: new(2 * config.GiB), Pids: new(int64(200))},
		{CPU: new(1.0), Memory: new(8 * config.GiB), Pids: new(int64(99))},
		{Swap: new(config.GiB), Memory: new(3*config.GiB - 1), Pids: new(int64(100))},
	} {
		_, err := c.m.Resize(ctx, everybody, "a", r)
		var used *LimitError
		if !errors.As(err, &used) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%+v: %v", r, err)
		}
		is(was)
	}
	for _, call := range []string{"cpu", "memory", "pids"} {
		broken := errors.New("broken")
		c.fail(call, broken)
		if _, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{CPU: new(1.0), Memory: new(8 * config.GiB), Pids: new(int64(5000))}); !errors.Is(err, broken) {
			t.Errorf("%s: %v", call, err)
		}
		c.fail(call, nil)
		is(was)
	}
	// What cannot be written down is not in force.
	dir := c.m.stateDir(i.ID)
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{CPU: new(1.0), Memory: new(8 * config.GiB), Pids: new(int64(5000))}); err == nil {
		t.Error("a resize that cannot be recorded succeeds")
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	is(was)
	c.fail("check", cgroup.ErrUnavailable)
	if _, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{CPU: new(1.0)}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("without a controller: %v", err)
	}
	c.fail("check", nil)
	is(was)
	want := was
	want.CPU, want.Memory, want.Swap, want.Pids = 0, 3*config.GiB, config.GiB, 0
	if _, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{CPU: new(0.0), Memory: new(3 * config.GiB), Swap: new(config.GiB), Pids: new(int64(0))}); err != nil {
		t.Error(err)
	}
	is(want)
	// A restart has them too.
	if _, err := c.m.Restart(ctx, everybody, "a", nil, false); err != nil {
		t.Error(err)
	}
	is(want)
}

// TestResizeAgainstModel resizes at random one sandbox that uses more or less of
// what it may, with deaths of the daemon at every stage: the kernel enforces what
// the record says.
func TestResizeAgainstModel(t *testing.T) {
	setChecks(t)
	rapid.Check(t, func(rt *rapid.T) {
		c := newCove(t)
		defer c.abandon()
		if err := c.operate("create", "a"); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			c.modelResize(rt, "a", lifecycle.Started, true, rapid.Bool().Draw(rt, "die"))
			i, err := c.m.Get(everybody, "a")
			if err != nil || i.State != lifecycle.Started || i.Op != "" {
				rt.Fatalf("it is %s, %s: %v", i.State, i.Op, err)
			}
			c.limitsAgree(rt, i)
		}
		if err := c.operate("delete", "a"); err != nil {
			rt.Fatal(err)
		}
		c.audit(rt)
	})
}

// TestResizeDiesWhileStill has the daemon die while the sandbox is frozen for a limit
// of its memory: the next one lets it go on.
func TestResizeDiesWhileStill(t *testing.T) {
	c := newCove(t)
	i, err := c.m.Create(t.Context(), everybody, CreateRequest{Name: "a", Spec: testSpec()})
	if err != nil {
		t.Fatal(err)
	}
	c.dies("still")
	if err := c.do(func(ctx context.Context) error {
		_, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{Memory: new(config.GiB)})
		return err
	}); !errors.Is(err, errDied) || !c.frozen[i.ID] {
		t.Fatalf("frozen %v: %v", c.frozen[i.ID], err)
	}
	c.abandon()
	c.open()
	c.rest()
	if i, err = c.m.Get(everybody, "a"); err != nil || i.State != lifecycle.Started || c.frozen[i.ID] || i.Spec.Resources.Memory != 4*config.GiB {
		t.Errorf("it is %s, frozen %v, with %v: %v", i.State, c.frozen[i.ID], i.Spec.Resources.Memory, err)
	}
}

// TestProgramsWaitForAResize: one that is to run inside while memory is being given
// back is not refused.
func TestProgramsWaitForAResize(t *testing.T) {
	c := newCove(t)
	ctx := t.Context()
	if _, err := c.m.Create(ctx, everybody, CreateRequest{Name: "a", Spec: testSpec()}); err != nil {
		t.Fatal(err)
	}
	held, until := make(chan struct{}), make(chan struct{})
	c.held, c.until = held, until
	done := make(chan error, 1)
	go func() {
		_, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{Memory: new(config.GiB)})
		done <- err
	}()
	<-held
	impatient, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.m.Guest(impatient, everybody, "a", config.ActivityExec); !errors.Is(err, context.Canceled) {
		t.Errorf("one that does not wait: %v", err)
	}
	var conflict *ConflictError
	if _, err := c.m.Stop(ctx, everybody, "a", false); !errors.As(err, &conflict) || conflict.Op != lifecycle.OpResize {
		t.Errorf("a stop meanwhile: %v", err)
	}
	guests := make(chan error, 2)
	for _, enter := range []func() (*Guest, error){
		func() (*Guest, error) { return c.m.Guest(ctx, everybody, "a", config.ActivityExec) },
		func() (*Guest, error) { return c.m.Files(ctx, everybody, "a") },
	} {
		go func() {
			g, err := enter()
			if err == nil {
				if g.Info.Spec.Resources.Memory != config.GiB {
					err = fmt.Errorf("it did not wait: %v", g.Info.Spec.Resources.Memory)
				}
				g.Close()
			}
			guests <- err
		}()
	}
	close(until)
	for range 2 {
		if err := <-guests; err != nil {
			t.Error(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestResizeIsCancelled has a delete come while memory is being given back.
func TestResizeIsCancelled(t *testing.T) {
	c := newCove(t)
	ctx := t.Context()
	if _, err := c.m.Create(ctx, everybody, CreateRequest{Name: "a", Spec: testSpec()}); err != nil {
		t.Fatal(err)
	}
	held := make(chan struct{})
	c.held = held
	done := make(chan error, 1)
	go func() {
		_, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{Memory: new(config.GiB)})
		done <- err
	}()
	<-held
	if _, err := c.m.Delete(ctx, everybody, "a", true); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, ErrCanceled) {
		t.Errorf("the resize ends with %v", err)
	}
	if ids := slices.Collect(maps.Keys(c.limits)); len(ids) > 0 {
		t.Errorf("left: %v", ids)
	}
}

// TestResizeDisk grows a disk, and dies on the way: the record's size is what it
// becomes, or the record says what it is.
func TestResizeDisk(t *testing.T) {
	const before, after = 64 * config.MiB, 96 * config.MiB
	for _, stage := range []string{"", "promised", "grown"} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s running %v", stage, running), func(t *testing.T) {
				c := newCove(t)
				i, err := c.m.Create(t.Context(), everybody, CreateRequest{Name: "a", Spec: diskSpec()})
				if err == nil && !running {
					i, err = c.m.Stop(t.Context(), everybody, "a", true)
				}
				if err != nil {
					t.Fatal(err)
				}
				c.dies(stage)
				err = c.do(func(ctx context.Context) error {
					_, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{Disk: new(after), CPU: new(1.0)})
					return err
				})
				if (stage == "") != (err == nil) {
					t.Fatal(err)
				}
				if stage != "" {
					c.abandon()
					c.open()
					c.rest()
				}
				if !running {
					if err := c.operate("start", "a"); err != nil {
						t.Fatal(err)
					}
				}
				i, err = c.m.Get(everybody, "a")
				if err != nil || i.State != lifecycle.Started || i.Spec.Resources.Disk != after || c.fake.sizes[i.ID] != int64(after) {
					t.Errorf("it is %s with %v, its disk has %d: %v", i.State, i.Spec.Resources.Disk, c.fake.sizes[i.ID], err)
				}
			})
		}
	}
	t.Run("refused", func(t *testing.T) {
		c := newCove(t)
		_, err := c.m.Create(t.Context(), everybody, CreateRequest{Name: "a", Spec: diskSpec()})
		if err == nil {
			_, err = c.m.Create(t.Context(), everybody, CreateRequest{Name: "none", Spec: testSpec()})
		}
		if err != nil {
			t.Fatal(err)
		}
		is := func(want config.Size, cpu float64) {
			t.Helper()
			i, err := c.m.Get(everybody, "a")
			if r := i.Spec.Resources; err != nil || r.Disk != want || r.CPU != cpu || c.limits[i.ID].CPU != cpu || c.fake.sizes[i.ID] != int64(want) {
				t.Errorf("%v: record %+v, in force %+v, disk %d", err, r, c.limits[i.ID], c.fake.sizes[i.ID])
			}
		}
		for _, bad := range []struct {
			name string
			size config.Size
			want string
		}{
			{"a", before - 1, "a disk only grows"}, {"a", 0, "cannot be taken away"}, {"none", before, "made without a disk"}, {"a", -1, "out of range"},
		} {
			var invalid *InvalidError
			if _, err := c.m.Resize(t.Context(), everybody, bad.name, ResizeRequest{Disk: &bad.size, CPU: new(1.0)}); !errors.As(err, &invalid) || !strings.Contains(err.Error(), bad.want) {
				t.Errorf("%s to %v: %v, want %q", bad.name, bad.size, err, bad.want)
			}
			is(before, 2)
		}
		for cause, want := range map[error]error{disk.ErrOffline: disk.ErrOffline, disk.ErrNoSpace: ErrNoSpace} {
			c.fail("grow disk", cause)
			if _, err := c.m.Resize(t.Context(), everybody, "a", ResizeRequest{Disk: new(after), CPU: new(1.0)}); !errors.Is(err, want) {
				t.Errorf("%v: %v", cause, err)
			}
			is(before, 2)
		}
		// Neither can it grow nor can that be written down: what the record says is in
		// force, and the next start tries again.
		i, err := c.m.Get(everybody, "a")
		if err != nil {
			t.Fatal(err)
		}
		dir := c.m.stateDir(i.ID)
		c.onStage = func(name string) {
			if name == "promised" {
				if err := os.Rename(dir, dir+"-away"); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := c.m.Resize(t.Context(), everybody, "a", ResizeRequest{Disk: new(after), CPU: new(1.0)}); err == nil {
			t.Error("a disk that does not grow, and no error")
		}
		c.onStage = nil
		if err := os.Rename(dir+"-away", dir); err != nil {
			t.Fatal(err)
		}
		if rec, err := readRecord(dir, i.ID); err != nil || !sameLimits(rec.Spec.Resources, c.m.boxes[i.ID].record().Spec.Resources) || rec.Spec.Resources.CPU != c.limits[i.ID].CPU {
			t.Errorf("%v: recorded %+v, in force %+v", err, rec.Spec.Resources, c.limits[i.ID])
		}
		if err := c.operate("restart", "a"); err != nil {
			t.Fatal(err)
		}
		is(before, 1) // its disk could not grow then either
		if _, err := c.m.Resize(t.Context(), everybody, "a", ResizeRequest{CPU: new(2.0)}); err != nil {
			t.Fatal(err)
		}
		// What a killed daemon had begun, and cannot be done.
		c.fail("grow disk", nil)
		c.dies("promised")
		if err := c.do(func(ctx context.Context) error {
			_, err := c.m.Resize(ctx, everybody, "a", ResizeRequest{Disk: new(after), CPU: new(1.0)})
			return err
		}); !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		c.fail("grow disk", disk.ErrOffline)
		c.abandon()
		c.open()
		c.rest()
		is(before, 1) // the record had the limits, which are not undone
	})
}
