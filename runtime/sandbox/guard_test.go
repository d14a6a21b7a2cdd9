package sandbox

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cove/config"
	"cove/runtime/cgroup"
	"cove/runtime/disk"
	"cove/runtime/lifecycle"
)

// hostSpace is the guard's view of the machine.
func (m *machine) hostSpace() (disk.Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.space, m.boom["space"]
}

func (m *machine) free(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.space.Free = n
}

func (m *machine) busy(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.works[id] = true
}

// become waits, by the Manager's events, until ok holds of the sandbox.
func (c *cove) become(name, what string, ok func(Info) bool) Info {
	c.t.Helper()
	sub, err := c.m.Subscribe(c.t.Context(), everybody, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	late := time.After(20 * time.Second)
	for {
		if i, err := c.m.Get(everybody, name); err == nil && ok(i) {
			return i
		}
		select {
		case <-sub.Events:
		case <-late:
			i, err := c.m.Get(everybody, name)
			c.t.Fatalf("%s did not become %s: %+v, %v", name, what, i, err)
		}
	}
}

func held(i Info) bool { return i.Held != "" }
func free(i Info) bool { return i.Held == "" }

func (c *cove) isFrozen(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frozen[id]
}

const (
	writerID = "aaaaaaaaaaaa"
	idleID   = "bbbbbbbbbbbb"
	plenty   = 50 << 30
	tooLow   = 4 << 30 // the reserve of 100 GiB is 5
)

func newGuarded(t *testing.T) *cove {
	t.Helper()
	c := newCove(t)
	for name, id := range map[string]string{"writer": writerID, "idle": idleID} {
		if _, err := c.m.Create(t.Context(), everybody, CreateRequest{ID: id, Name: name, Spec: testSpec()}); err != nil {
			t.Fatal(err)
		}
	}
	c.busy(writerID)
	return c
}

func (c *cove) makeLow() {
	c.t.Helper()
	c.free(tooLow)
	c.m.guard.poke()
	c.become("writer", "held", held)
}

func (c *cove) makeRoom() {
	c.free(plenty)
	c.m.guard.poke()
}

// relaxed waits until the guard has seen that there is room.
func (c *cove) relaxed() {
	c.t.Helper()
	g := c.m.guard
	for late := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		low := g.low
		g.mu.Unlock()
		if !low {
			return
		}
		if time.Now().After(late) {
			c.t.Fatal("the guard does not see the room")
		}
	}
}

func TestReserve(t *testing.T) {
	for total, want := range map[int64]int64{
		200 << 20: 50 << 20, 600 << 20: 150 << 20, 2 << 30: 256 << 20, 20 << 30: 2 << 30, 40 << 30: 4 << 30, 60 << 30: 4 << 30, 80 << 30: 4 << 30, 2 << 40: 2 << 40 / 20,
	} {
		if got := Reserve(total); got != want {
			t.Errorf("of %s: %s, want %s", sizeText(total), sizeText(got), sizeText(want))
		}
	}
}

func TestGuard(t *testing.T) {
	c := newGuarded(t)
	c.makeLow()
	if !c.isFrozen(writerID) || c.isFrozen(idleID) {
		t.Errorf("frozen: the writer %v, the idle one %v", c.isFrozen(writerID), c.isFrozen(idleID))
	}
	i, err := c.m.Get(everybody, "writer")
	if err != nil || i.State != lifecycle.Started || !strings.Contains(i.Held, "nearly full") {
		t.Errorf("%+v, %v", i, err)
	}
	d, err := c.m.HostDisk()
	if err != nil || !d.Low || d.Reserve != 5<<30 || d.Free != tooLow {
		t.Errorf("%+v, %v", d, err)
	}
	if k := c.m.guard.check(); k.OK || !strings.Contains(k.Detail, "4.0 GiB of 100 GiB free, 5.0 GiB kept free") {
		t.Errorf("%+v", k)
	}
	// Nothing starts, and nothing waits for who is held.
	for what, err := range map[string]error{
		"create":  second(c.m.Create(t.Context(), everybody, CreateRequest{Name: "new", Spec: testSpec()})),
		"restart": second(c.m.Restart(t.Context(), everybody, "writer", nil, false)),
	} {
		if low := (*LowDiskError)(nil); !errors.As(err, &low) || !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "4.0 GiB of 100 GiB are free") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if conflict := (*ConflictError)(nil); !errors.As(second(c.m.Guest(t.Context(), everybody, "writer", config.ActivityExec)), &conflict) || !strings.Contains(conflict.Why, "it is held: the host's disk") {
		t.Errorf("exec: %v", conflict)
	}
	if sessions, err := c.m.Sessions(t.Context(), everybody, "writer"); err != nil || len(sessions) != 0 {
		t.Errorf("sessions: %v, %v", sessions, err)
	}
	if _, err := c.m.Guest(t.Context(), everybody, "idle", config.ActivityExec); err != nil {
		t.Errorf("exec in one that is not held: %v", err)
	}
	// Not at once when there is a little more than the reserve.
	c.free(5<<30 + 1<<20)
	c.m.guard.poke()
	if err := second(c.m.Create(t.Context(), everybody, CreateRequest{Name: "new", Spec: testSpec()})); !errors.Is(err, ErrNoSpace) {
		t.Errorf("create a little above the reserve: %v", err)
	}
	c.makeRoom()
	c.become("writer", "free", free)
	if c.isFrozen(writerID) {
		t.Error("it is frozen, and says that it is not held")
	}
	if _, err := c.m.Create(t.Context(), everybody, CreateRequest{Name: "new", Spec: testSpec()}); err != nil {
		t.Error(err)
	}
	c.m.changes.flush()
	var seen []bool
	for _, ch := range historyOf(t, c.m, "writer", HistorySpan).Changes {
		seen = append(seen, ch.Held != "")
	}
	if want := []bool{false, false, true, false}; !slices.Equal(seen, want) {
		t.Errorf("held, by its history: %v", seen)
	}
}

func second[T any](_ T, err error) error { return err }

// TestGuardHoldsAll: where little is left it does not look who writes.
func TestGuardHoldsAll(t *testing.T) {
	c := newGuarded(t)
	c.free(1 << 30)
	c.m.guard.poke()
	c.become("writer", "held", held)
	c.become("idle", "held", held)
	c.makeRoom()
	c.become("idle", "free", free)
	c.become("writer", "free", free)
	// And so where nobody can tell who does anything.
	c.fail("cpu", cgroup.ErrUnavailable)
	c.free(tooLow)
	c.m.guard.poke()
	c.become("idle", "held", held)
	c.makeRoom()
	c.become("idle", "free", free)
	// One that begins to write later is seen by what is gone.
	c.fail("cpu", nil)
	c.makeLow()
	c.busy(idleID)
	c.free(tooLow - 1<<20)
	c.become("idle", "held", held)
}

// TestGuardAndPause: who is paused stays so, whoever froze it first.
func TestGuardAndPause(t *testing.T) {
	c := newGuarded(t)
	do := func(f func() (Info, error), state lifecycle.State, frozen bool) {
		t.Helper()
		i, err := f()
		if err != nil || i.State != state || c.isFrozen(writerID) != frozen {
			t.Errorf("%s, frozen %v, %v; want %s, %v", i.State, c.isFrozen(writerID), err, state, frozen)
		}
	}
	pause := func() (Info, error) { return c.m.Pause(t.Context(), everybody, "writer") }
	resume := func() (Info, error) { return c.m.Resume(t.Context(), everybody, "writer") }
	// Held, paused, let go: paused.
	c.makeLow()
	do(pause, lifecycle.Paused, true)
	c.makeRoom()
	c.relaxed()
	do(pause, lifecycle.Paused, true)
	do(resume, lifecycle.Started, false)
	// Held, paused, resumed: held.
	c.makeLow()
	do(pause, lifecycle.Paused, true)
	if i, _ := c.m.Get(everybody, "writer"); i.Held != "" {
		t.Errorf("a paused one is held: %q", i.Held)
	}
	do(resume, lifecycle.Started, true)
	if i, _ := c.m.Get(everybody, "writer"); i.Held == "" {
		t.Error("it is frozen, and does not say why")
	}
	// The same through a killed daemon.
	do(pause, lifecycle.Paused, true)
	c.abandon()
	c.open()
	c.become("writer", "paused", func(i Info) bool { return i.State == lifecycle.Paused })
	do(resume, lifecycle.Started, true)
	c.become("writer", "held", held)
	c.makeRoom()
	c.become("writer", "free", free)
	do(func() (Info, error) { return c.m.Get(everybody, "writer") }, lifecycle.Started, false)
}

// TestGuardRestarted: a daemon that is killed leaves who is held so, and the next
// one lets it go as soon as it may.
func TestGuardRestarted(t *testing.T) {
	c := newGuarded(t)
	c.makeLow()
	c.abandon()
	c.open()
	i := c.become("writer", "held", held)
	if i.State != lifecycle.Started || !c.isFrozen(writerID) {
		t.Errorf("%+v, frozen %v", i, c.isFrozen(writerID))
	}
	c.makeRoom()
	c.become("writer", "free", free)
	// There is room again before the next daemon comes.
	c.makeLow()
	c.abandon()
	c.free(plenty)
	c.open()
	c.become("writer", "free", free)
	if c.isFrozen(writerID) {
		t.Error("it stays frozen")
	}
	// Killed between what it recorded and what it did, on either side: it runs.
	c.makeLow()
	c.abandon()
	c.free(plenty)
	if err := c.Thaw(t.Context(), writerID); err != nil {
		t.Fatal(err)
	}
	c.open()
	i = c.become("writer", "free", free)
	if i.State != lifecycle.Started {
		t.Errorf("%+v", i)
	}
}

// TestGuardEnds: who is held can be stopped and deleted.
func TestGuardEnds(t *testing.T) {
	for what, end := range map[string]func(*cove) error{
		"stop":    func(c *cove) error { return second(c.m.Stop(c.t.Context(), everybody, "writer", false)) },
		"force":   func(c *cove) error { return second(c.m.Stop(c.t.Context(), everybody, "writer", true)) },
		"delete":  func(c *cove) error { return second(c.m.Delete(c.t.Context(), everybody, "writer", true)) },
		"its end": func(c *cove) error { c.end(writerID); return nil },
	} {
		t.Run(what, func(t *testing.T) {
			c := newGuarded(t)
			c.makeLow()
			begin := time.Now()
			if err := end(c); err != nil {
				t.Fatal(err)
			}
			if what != "delete" {
				i := c.become("writer", "stopped", func(i Info) bool { return i.State == lifecycle.Stopped && i.Op == "" })
				if i.Held != "" || c.isFrozen(writerID) {
					t.Errorf("%+v, frozen %v", i, c.isFrozen(writerID))
				}
				if err := second(c.m.Start(t.Context(), everybody, "writer", StartRequest{})); !errors.Is(err, ErrNoSpace) {
					t.Errorf("start: %v", err)
				}
				if err := second(c.m.Files(t.Context(), everybody, "writer")); !errors.Is(err, ErrNoSpace) {
					t.Errorf("copy: %v", err)
				}
				c.makeRoom()
				if _, err := c.m.Start(t.Context(), everybody, "writer", StartRequest{}); err != nil {
					t.Error(err)
				}
			}
			if d := time.Since(begin); d > 8*time.Second {
				t.Errorf("it took %v: somebody waited for what is frozen", d)
			}
		})
	}
}

// TestGuardFails: that a sandbox cannot be held, or let go, is said.
func TestGuardFails(t *testing.T) {
	c := newGuarded(t)
	warned := func(want string) {
		t.Helper()
		for late := time.Now().Add(20 * time.Second); time.Now().Before(late); time.Sleep(time.Millisecond) {
			if strings.Contains(strings.Join(c.m.Warnings(), "; "), want) {
				return
			}
		}
		t.Fatalf("no warning of %q: %q", want, c.m.Warnings())
	}
	c.fail("freeze", cgroup.ErrUnavailable)
	c.free(tooLow)
	c.m.guard.poke()
	warned("could not hold a sandbox for the host's disk: writer: " + cgroup.ErrUnavailable.Error())
	c.fail("freeze", nil)
	c.free(tooLow - 1<<20)
	c.become("writer", "held", held)
	c.fail("thaw", errors.New("boom"))
	c.makeRoom()
	warned("could not let go of a sandbox for the host's disk: writer: boom")
	c.fail("thaw", nil)
	c.become("writer", "free", free)
	c.fail("space", errors.New("gone"))
	c.m.guard.poke()
	warned("measure the host's disk: gone")
	if _, err := c.m.HostDisk(); err == nil {
		t.Error("a disk that cannot be measured was")
	}
	c.fail("space", nil)
}

// TestGuardInterval: how often the guard looks.
func TestGuardInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, end := sampled(t)
		defer end()
		m.guard = newGuard(m)
		var looks, gone atomic.Int64
		m.opt.Space = func() (disk.Space, error) {
			looks.Add(1)
			return disk.Space{Total: 1 << 40, Free: 1<<39 - gone.Load()}, nil
		}
		m.wg.Go(m.guard.run)
		in := func(d time.Duration) int64 {
			synctest.Wait()
			before := looks.Load()
			time.Sleep(d)
			synctest.Wait()
			return looks.Load() - before
		}
		if n := in(time.Minute); n != 1 && n != 0 {
			t.Errorf("%d looks a minute with nothing that could write", n)
		}
		m.mu.Lock()
		m.addBox("1", "a", 0, lifecycle.Started)
		m.mu.Unlock()
		m.guard.poke()
		in(time.Minute)
		if n := in(time.Minute); n > 7 {
			t.Errorf("%d looks a minute while nobody writes", n)
		}
		writing := make(chan struct{})
		m.wg.Go(func() {
			for {
				select {
				case <-writing:
					return
				case <-time.After(10 * time.Millisecond):
					gone.Add(1 << 20)
				}
			}
		})
		in(guardIdle)
		if n := in(time.Minute); n < 240 || n > 250 {
			t.Errorf("%d looks a minute while somebody writes", n)
		}
		// Nearer, it looks as often as the fastest disk needs.
		gone.Store(1<<39 - Reserve(1<<40) - 1<<30)
		in(time.Second)
		if n := in(100 * time.Millisecond); n < 1 {
			t.Errorf("%d looks in 100 ms a second's writing away", n)
		}
		close(writing)
	})
}

// TestGuardInodes: files that are empty take no space, but a disk has so many.
func TestGuardInodes(t *testing.T) {
	c := newGuarded(t)
	c.mu.Lock()
	c.space.Inodes, c.space.FreeInodes = 1000, 49 // the reserve is a twentieth
	c.mu.Unlock()
	c.m.guard.poke()
	i := c.become("writer", "held", held)
	if !strings.Contains(i.Held, "less than 5.0% of its inodes are free") {
		t.Errorf("held: %s", i.Held)
	}
	err := second(c.m.Create(t.Context(), everybody, CreateRequest{Name: "new", Spec: testSpec()}))
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "4.9% of its inodes are free") {
		t.Errorf("create: %v", err)
	}
	if d, err := c.m.HostDisk(); err != nil || !d.Low || d.FreeInodes != 49 {
		t.Errorf("%+v, %v", d, err)
	}
	if k := c.m.guard.check(); k.OK || !strings.Contains(k.Detail, "50.0 GiB of 100 GiB free, 5.0 GiB kept free; 4.9% of its inodes free") {
		t.Errorf("%+v", k)
	}
	c.mu.Lock()
	c.space.FreeInodes = 70
	c.mu.Unlock()
	c.m.guard.poke()
	c.become("writer", "free", free)
}

// TestGuardEvicts: who does not stand still and works on is ended when the reserve is
// being used up, and nobody else.
func TestGuardEvicts(t *testing.T) {
	c := newGuarded(t)
	c.mu.Lock()
	c.stuck = true
	c.mu.Unlock()
	c.free(5<<30 - 1<<30) // a fifth of the reserve
	c.m.guard.poke()
	time.Sleep(5 * evictLook)
	if i, err := c.m.Get(everybody, "writer"); err != nil || i.State != lifecycle.Started {
		t.Errorf("with most of the reserve: %+v, %v", i, err)
	}
	c.free(1 << 30)
	c.m.guard.poke()
	i := c.become("writer", "stopped", func(i Info) bool { return i.State == lifecycle.Stopped })
	if i.Reason.Kind != lifecycle.ReasonDisk || i.Held != "" {
		t.Errorf("ended: %+v", i)
	}
	if i, err := c.m.Get(everybody, "idle"); err != nil || i.State != lifecycle.Started {
		t.Errorf("one that does nothing: %+v, %v", i, err)
	}
	c.mu.Lock()
	c.stuck = false
	c.mu.Unlock()
	c.makeRoom()
	if i, err := c.m.Start(t.Context(), everybody, "writer", StartRequest{}); err != nil || i.Reason.Kind != "" {
		t.Errorf("started again: %+v, %v", i, err)
	}
}
