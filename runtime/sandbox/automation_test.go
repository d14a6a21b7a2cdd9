package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/guest"
	"cove/runtime/lifecycle"
)

// made makes a sandbox whose automation is as change says.
func (c *cove) made(name string, change func(*config.Automation)) Info {
	c.t.Helper()
	spec := testSpec()
	change(&spec.Automation)
	i, err := c.m.Create(context.Background(), everybody, CreateRequest{Name: name, Spec: spec})
	if err != nil {
		c.t.Fatal(err)
	}
	c.tick()
	return i
}

func (c *cove) must(what, name string) {
	c.t.Helper()
	if err := c.operate(what, name); err != nil {
		c.t.Fatalf("%s %s: %v", what, name, err)
	}
	c.tick()
}

// expectState checks a sandbox's state and its reason.
func (c *cove) expectState(name string, want lifecycle.State, reason lifecycle.ReasonKind) {
	c.t.Helper()
	i, err := c.m.Get(everybody, name)
	if errors.Is(err, ErrNotFound) {
		i.State = lifecycle.Destroyed
	} else if err != nil {
		c.t.Fatal(err)
	}
	if i.State != want || i.Reason.Kind != reason {
		c.t.Errorf("%s is %s (%s), want %s (%s)", name, i.State, i.Reason, want, reason)
	}
}

// removed is the reason with which the end of a sandbox was told.
func (c *cove) removed(f func()) []lifecycle.Reason {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	sub, err := c.m.Subscribe(ctx, everybody, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	f()
	cancel()
	var reasons []lifecycle.Reason
	for e := range sub.Events {
		if e.Removed {
			reasons = append(reasons, e.Info.Reason)
		}
	}
	return reasons
}

func (c *cove) due(name string) *Due {
	c.t.Helper()
	i, err := c.m.Get(everybody, name)
	if err != nil {
		c.t.Fatal(err)
	}
	return i.Due
}

func (c *cove) guest(name, use string) *Guest {
	c.t.Helper()
	g, err := c.m.Guest(context.Background(), everybody, name, use)
	if err != nil {
		c.t.Fatal(err)
	}
	return g
}

func seconds(n float64) config.Duration { return config.Duration(n * float64(time.Second)) }

const short = 100 * time.Millisecond

func TestIdleStops(t *testing.T) {
	c := newTimed(t)
	c.made("a", func(a *config.Automation) { a.AutoStop = seconds(10) })
	c.made("never", func(*config.Automation) {})
	d := c.due("a")
	if d == nil || d.Action != lifecycle.OpStop || d.Key != "auto_stop" || !d.At.Equal(c.time.now().Wall.Add(10*time.Second)) ||
		!slices.Equal(d.Without, []string{"terminal", "exec", "cpu", "network"}) || d.Busy != nil {
		t.Errorf("due: %+v", d)
	}
	if d := c.due("never"); d != nil {
		t.Errorf("without automation there is due: %+v", d)
	}
	c.pass(10*time.Second-short, 50*time.Millisecond)
	c.expectState("a", lifecycle.Started, "")
	c.pass(2*short, short)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
	if i, _ := c.m.Get(everybody, "a"); i.Desired != lifecycle.Stopped || i.Due != nil {
		t.Errorf("afterwards desired %s, due %+v", i.Desired, i.Due)
	}
	c.pass(time.Hour, time.Minute)
	c.expectState("never", lifecycle.Started, "")

	// It begins anew with each start.
	c.must("start", "a")
	c.pass(9*time.Second, time.Second)
	c.expectState("a", lifecycle.Started, "")
	c.pass(2*time.Second, short)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
}

// What counts keeps a sandbox from being stopped for as long as it goes on; what
// the profile does not list does not.
func TestActivity(t *testing.T) {
	type world struct {
		c  *cove
		id string
	}
	running := map[string]func(w world, name string) (end func()){
		config.ActivityExec: func(w world, name string) func() { return w.c.guest(name, config.ActivityExec).Close },
		config.ActivityTerminal: func(w world, name string) func() {
			return w.c.guest(name, config.ActivityTerminal).Close
		},
		config.ActivityCPU: func(w world, _ string) func() {
			on := true
			w.c.steps = append(w.c.steps, func(d time.Duration) {
				if on {
					w.c.use(w.id, d/50, 0)
				}
			})
			return func() { on = false }
		},
		config.ActivityNetwork: func(w world, _ string) func() {
			on := true
			w.c.steps = append(w.c.steps, func(d time.Duration) {
				if on {
					w.c.use(w.id, 0, int64(d.Seconds()*(100<<10)))
				}
			})
			return func() { on = false }
		},
	}
	for kind, begin := range running {
		for _, list := range [][]string{nil, {kind}, slices.DeleteFunc(config.Activities(), func(k string) bool { return k == kind })} {
			t.Run(fmt.Sprint(kind, list), func(t *testing.T) {
				c := newTimed(t)
				counts := list == nil || list[0] == kind && len(list) == 1
				i := c.made("a", func(a *config.Automation) { a.AutoStop, a.Activity = seconds(10), list })
				end := begin(world{c, i.ID}, "a")
				c.pass(60*time.Second, 500*time.Millisecond)
				if !counts {
					c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
					end()
					return
				}
				c.expectState("a", lifecycle.Started, "")
				if d := c.due("a"); d == nil || !d.At.IsZero() || !slices.Equal(d.Busy, []string{kind}) {
					t.Errorf("while busy: %+v", d)
				}
				end()
				c.pass(9*time.Second, 500*time.Millisecond)
				c.expectState("a", lifecycle.Started, "")
				c.pass(3*time.Second, 500*time.Millisecond)
				c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
			})
		}
	}
}

// What every sandbox does, and neighbours of it, is no use of it.
func TestNoiseIsNoActivity(t *testing.T) {
	c := newTimed(t)
	i := c.made("a", func(a *config.Automation) { a.AutoStop = seconds(60) })
	c.steps = append(c.steps, func(d time.Duration) { c.use(i.ID, d/200, int64(d.Seconds()*200)) })
	c.pass(62*time.Second, time.Second)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)

	// What cannot be seen to be idle is not, and one that is gone is left alone.
	c.made("b", func(a *config.Automation) { a.AutoStop = seconds(60) })
	c.fail("cpu", errors.New("boom"))
	c.pass(120*time.Second, time.Second)
	c.expectState("b", lifecycle.Started, "")
	c.fail("cpu", fs.ErrNotExist)
	c.pass(120*time.Second, time.Second)
	c.expectState("b", lifecycle.Started, "")
	c.fail("cpu", nil)
	c.pass(80*time.Second, time.Second)
	c.expectState("b", lifecycle.Stopped, lifecycle.ReasonIdle)
}

// Who is frozen at work, since the host's disk is full, is not idle for that.
func TestHeldIsNotIdle(t *testing.T) {
	c := newTimed(t)
	i := c.made("a", func(a *config.Automation) { a.AutoStop = seconds(60) })
	c.guest("a", config.ActivityTerminal).Close()
	c.busy(i.ID)
	c.free(tooLow)
	c.m.guard.poke()
	c.become("a", "held", held)
	c.pass(10*time.Minute, 10*time.Second)
	c.expectState("a", lifecycle.Started, "")
	if d := c.due("a"); d == nil || !slices.Equal(d.Busy, []string{"held"}) {
		t.Errorf("due: %+v", d)
	}
	c.mu.Lock()
	delete(c.works, i.ID)
	c.mu.Unlock()
	c.makeRoom()
	c.become("a", "free", free)
	c.pass(50*time.Second, time.Second)
	c.expectState("a", lifecycle.Started, "")
	c.pass(20*time.Second, time.Second)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
}

// Terminals that nobody is attached to.
func TestDetachedTerminals(t *testing.T) {
	c := newTimed(t)
	i := c.made("a", func(a *config.Automation) { a.AutoStop = seconds(60) })
	say := func(s ...guest.SessionInfo) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sessions[i.ID] = s
	}
	start := c.time.now().Wall
	say(guest.SessionInfo{Name: "main", Activity: start})
	c.guest("a", config.ActivityTerminal).Close()
	c.pass(10*time.Minute, time.Second)
	c.expectState("a", lifecycle.Started, "")
	if d := c.due("a"); d == nil || !slices.Equal(d.Busy, []string{"terminal"}) {
		t.Errorf("an agent that waits for an answer: %+v", d)
	}
	// Its end takes processor time, and is seen soon.
	say(guest.SessionInfo{Name: "main", Activity: start, Idle: true})
	c.use(i.ID, time.Millisecond, 0)
	c.pass(59*time.Second, time.Second)
	c.expectState("a", lifecycle.Started, "")
	// It prints: that counts from when it did.
	say(guest.SessionInfo{Name: "main", Activity: c.time.now().Wall.Add(-20 * time.Second), Idle: true},
		guest.SessionInfo{Name: "liar", Activity: c.time.now().Wall.Add(time.Hour), Idle: true})
	c.pass(39*time.Second, time.Second)
	c.expectState("a", lifecycle.Started, "")
	c.pass(12*time.Second, time.Second)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)

	// A PID 1 that does not tell holds nothing up for long.
	c.must("start", "a")
	c.guest("a", config.ActivityTerminal).Close()
	c.mu.Lock()
	c.deaf[i.ID] = true
	c.mu.Unlock()
	c.pass(59*time.Second, time.Second)
	c.expectState("a", lifecycle.Started, "")
	c.pass(15*time.Second, time.Second)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
}

func TestIdlePausesThenStops(t *testing.T) {
	c := newTimed(t)
	c.made("a", func(a *config.Automation) { a.AutoPause, a.AutoStop = seconds(10), seconds(30) })
	if d := c.due("a"); d.Action != lifecycle.OpPause || d.Key != "auto_pause" {
		t.Errorf("due: %+v", d)
	}
	c.pass(12*time.Second, short)
	c.expectState("a", lifecycle.Paused, lifecycle.ReasonIdle)
	if d := c.due("a"); d == nil || d.Action != lifecycle.OpStop || d.At.Sub(c.time.now().Wall) > 18*time.Second+short {
		t.Errorf("due: %+v", d)
	}
	// Resumed it counts anew; what is paused goes on to be stopped.
	c.must("resume", "a")
	c.expectState("a", lifecycle.Started, "")
	c.pass(9*time.Second, short)
	c.expectState("a", lifecycle.Started, "")
	c.pass(3*time.Second, short)
	c.expectState("a", lifecycle.Paused, lifecycle.ReasonIdle)
	c.abandon()
	c.open()
	c.tick()
	c.expectState("a", lifecycle.Paused, lifecycle.ReasonIdle)
	c.pass(17*time.Second, short)
	c.expectState("a", lifecycle.Paused, lifecycle.ReasonIdle)
	c.pass(4*time.Second, short)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)

	// A host that cannot: it is tried again, less and less often, and told.
	c.must("start", "a")
	c.fail("freeze", errors.New("the freezer is broken"))
	c.pass(14*time.Second, short)
	c.expectState("a", lifecycle.Started, "")
	if d := c.due("a"); d == nil || !strings.Contains(d.Error, "the freezer is broken") || !d.At.After(c.time.now().Wall) {
		t.Errorf("a pause that failed: %+v", d)
	}
	// It holds up nothing else.
	c.pass(18*time.Second, short)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
	c.must("start", "a")
	c.pass(12*time.Second, short)
	c.fail("freeze", nil)
	c.pass(10*time.Second, short)
	c.expectState("a", lifecycle.Paused, lifecycle.ReasonIdle)
	if d := c.due("a"); d.Error != "" {
		t.Errorf("after it went well: %+v", d)
	}
}

func TestDeletedWhenStoppedForLong(t *testing.T) {
	c := newTimed(t)
	hour := func(a *config.Automation) { a.AutoDelete = seconds(3600) }
	c.made("a", hour)
	c.made("kept", hour)
	if d := c.due("a"); d != nil {
		t.Errorf("of one that runs there is due: %+v", d)
	}
	c.pass(2*time.Hour, 10*time.Minute)
	c.expectState("a", lifecycle.Started, "")
	c.must("stop", "a")
	c.must("stop", "kept")
	if d := c.due("a"); d == nil || d.Action != lifecycle.OpDelete || d.Key != "auto_delete" || !d.At.Equal(c.time.now().Wall.Add(time.Hour)) {
		t.Errorf("due: %+v", d)
	}
	c.pass(50*time.Minute, time.Minute)
	if _, err := c.m.Touch(context.Background(), everybody, "kept"); err != nil {
		t.Fatal(err)
	}
	if reasons := c.removed(func() { c.pass(11*time.Minute, time.Minute) }); !slices.Equal(reasons, []lifecycle.Reason{{Kind: lifecycle.ReasonAutoDelete}}) {
		t.Errorf("its end was told with %v", reasons)
	}
	c.expectState("a", lifecycle.Destroyed, "")
	c.expectState("kept", lifecycle.Stopped, lifecycle.ReasonUser)
	// That it was touched is on disk.
	c.abandon()
	c.open()
	c.pass(48*time.Minute, time.Minute)
	c.expectState("kept", lifecycle.Stopped, lifecycle.ReasonUser)
	c.pass(3*time.Minute, time.Minute)
	c.expectState("kept", lifecycle.Destroyed, "")

	// One that is told to be deleted an hour after it stopped, days ago, is not
	// gone at once.
	c.made("old", func(*config.Automation) {})
	c.must("stop", "old")
	c.pass(48*time.Hour, time.Hour)
	a := testSpec().Automation
	hour(&a)
	if _, err := c.m.SetAutomation(context.Background(), everybody, "old", a); err != nil {
		t.Fatal(err)
	}
	c.pass(59*time.Minute, time.Minute)
	c.expectState("old", lifecycle.Stopped, lifecycle.ReasonUser)
	c.pass(2*time.Minute, time.Minute)
	c.expectState("old", lifecycle.Destroyed, "")
	c.leakless()
}

// leakless checks that nothing is left that no sandbox accounts for.
func (c *cove) leakless() {
	c.t.Helper()
	if leaks, err := c.m.Audit(context.Background()); err != nil || len(leaks) > 0 {
		c.t.Errorf("leaks: %v %v", leaks, err)
	}
}

func TestTTL(t *testing.T) {
	c := newTimed(t)
	c.made("a", func(a *config.Automation) { a.TTL = seconds(3600) })
	c.made("gone", func(a *config.Automation) { a.TTL, a.AutoDelete = seconds(3600), 0 })
	g := c.guest("a", config.ActivityExec) // a ttl asks nobody
	defer g.Close()
	if d := c.due("a"); d == nil || d.Action != lifecycle.OpStop || d.Key != "ttl" || d.Without != nil {
		t.Errorf("due: %+v", d)
	}
	c.pass(59*time.Minute, time.Minute)
	c.expectState("a", lifecycle.Started, "")
	if reasons := c.removed(func() { c.pass(2*time.Minute, time.Minute) }); !slices.Equal(reasons, []lifecycle.Reason{{Kind: lifecycle.ReasonTTL}}) {
		t.Errorf("the end of an ephemeral one was told with %v", reasons)
	}
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonTTL)
	for _, op := range []string{"start", "restart"} {
		var conflict *ConflictError
		if err := c.operate(op, "a"); !errors.As(err, &conflict) || !strings.Contains(conflict.Why, "cove automation a --ttl never") {
			t.Errorf("%s of one whose ttl is over: %v", op, err)
		}
	}
	auto := testSpec().Automation
	var conflict *ConflictError
	auto.TTL = seconds(1800)
	if _, err := c.m.SetAutomation(context.Background(), everybody, "a", auto); !errors.As(err, &conflict) || !strings.Contains(conflict.Why, "is over already") {
		t.Errorf("a ttl that is over already: %v", err)
	}
	auto.TTL = seconds(2 * 3600)
	if _, err := c.m.SetAutomation(context.Background(), everybody, "a", auto); err != nil {
		t.Fatal(err)
	}
	c.must("start", "a")
	c.pass(50*time.Minute, time.Minute)
	c.expectState("a", lifecycle.Started, "")
	c.pass(12*time.Minute, time.Minute)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonTTL)
}

// A machine that slept or was off, and one whose clock is set, do nothing at once
// that cannot be taken back.
func TestClocksThatPart(t *testing.T) {
	day := 24 * time.Hour
	for name, part := range map[string]func(c *cove){
		"suspended":   func(c *cove) { c.time.sleep(7 * day) },
		"set forward": func(c *cove) { c.time.set(7 * day) },
		"booted": func(c *cove) {
			c.reboot()
			c.time.boot(7 * day)
			c.open()
		},
		"suspended while no daemon was there": func(c *cove) {
			c.abandon()
			c.time.sleep(7 * day)
			c.open()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTimed(t)
			c.made("deleted", func(a *config.Automation) { a.AutoDelete = seconds(3600) })
			c.made("touched", func(a *config.Automation) { a.AutoDelete = seconds(3600) })
			c.made("archived", func(a *config.Automation) { a.AutoArchive = seconds(3600) })
			c.made("idle", func(a *config.Automation) { a.AutoStop = seconds(3600) })
			c.made("ttl", func(a *config.Automation) { a.TTL = seconds(86400) })
			for _, n := range []string{"deleted", "touched", "archived"} {
				c.must("stop", n)
			}
			c.pass(10*time.Minute, time.Minute)
			part(c)
			c.tick()
			c.rest()
			booted := name == "booted"
			check := func(deleted, archived, ttl lifecycle.State) {
				t.Helper()
				for n, want := range map[string]lifecycle.State{"deleted": deleted, "archived": archived, "ttl": ttl} {
					if got := c.state(n); got != want && !(booted && n == "ttl") {
						t.Errorf("%s is %s, want %s", n, got, want)
					}
				}
			}
			check(lifecycle.Stopped, lifecycle.Stopped, lifecycle.Started)
			if d := c.due("deleted"); d == nil || !d.At.Equal(c.time.now().Wall.Add(clockGrace)) {
				t.Errorf("it is spared until %+v", d)
			}
			if !booted {
				c.expectState("idle", lifecycle.Started, "")
			}
			c.pass(clockGrace-10*time.Second, 10*time.Second)
			check(lifecycle.Stopped, lifecycle.Stopped, lifecycle.Started)
			if _, err := c.m.Touch(context.Background(), everybody, "touched"); err != nil {
				t.Fatal(err)
			}
			c.pass(20*time.Second, 10*time.Second)
			check(lifecycle.Destroyed, lifecycle.Archived, lifecycle.Stopped)
			c.expectState("touched", lifecycle.Stopped, lifecycle.ReasonUser)
			if booted {
				return
			}
			// Of the hour without use fifteen minutes are over.
			c.pass(40*time.Minute, time.Minute)
			c.expectState("idle", lifecycle.Started, "")
			c.pass(6*time.Minute, time.Minute)
			c.expectState("idle", lifecycle.Stopped, lifecycle.ReasonIdle)
		})
	}
	t.Run("set back", func(t *testing.T) {
		c := newTimed(t)
		c.made("a", func(a *config.Automation) { a.AutoDelete = seconds(3600) })
		c.made("idle", func(a *config.Automation) { a.AutoStop = seconds(3600) })
		c.must("stop", "a")
		c.time.set(-48 * time.Hour)
		c.pass(47*time.Hour, time.Hour)
		c.expectState("a", lifecycle.Stopped, lifecycle.ReasonUser)
		c.expectState("idle", lifecycle.Stopped, lifecycle.ReasonIdle)
	})
}

// reboot ends everything that runs, as the machine's end does.
func (c *cove) reboot() {
	c.abandon()
	c.mu.Lock()
	ids := make([]string, 0, len(c.procs))
	for id := range c.procs {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	for _, id := range ids {
		c.end(id)
	}
	c.boot += "'"
	c.leases, c.groups, c.frozen = map[uint32]string{}, map[string]bool{}, map[string]bool{}
	if err := os.RemoveAll(filepath.Join(c.dir, "run")); err != nil {
		c.t.Fatal(err)
	}
}

// The time without use goes on while no daemon is there; what was used meanwhile
// counts as used until the next one looks.
func TestDeadlinesOutliveTheDaemon(t *testing.T) {
	for name, c := range map[string]struct {
		before, meanwhile func(c *cove, id string)
		want              lifecycle.State
	}{
		"idle":       {want: lifecycle.Stopped},
		"questions":  {meanwhile: func(c *cove, id string) { c.use(id, 5*time.Millisecond, 500) }, want: lifecycle.Stopped},
		"a build":    {meanwhile: func(c *cove, id string) { c.use(id, 3*time.Second, 0) }, want: lifecycle.Started},
		"a download": {meanwhile: func(c *cove, id string) { c.use(id, 0, 1<<20) }, want: lifecycle.Started},
		"a command":  {before: func(c *cove, _ string) { c.guest("a", config.ActivityExec); c.tick() }, want: lifecycle.Started},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTimed(t)
			i := w.made("a", func(a *config.Automation) { a.AutoStop = seconds(60) })
			w.pass(30*time.Second, time.Second)
			if c.before != nil {
				c.before(w, i.ID)
			}
			w.abandon()
			w.time.pass(time.Hour)
			if c.meanwhile != nil {
				c.meanwhile(w, i.ID)
			}
			w.open()
			w.tick()
			w.expectState("a", c.want, map[lifecycle.State]lifecycle.ReasonKind{lifecycle.Stopped: lifecycle.ReasonIdle}[c.want])
			if c.want == lifecycle.Started {
				w.pass(58*time.Second, time.Second)
				w.expectState("a", lifecycle.Started, "")
				w.pass(10*time.Second, time.Second)
			}
			w.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
			// Once: somebody starts it again, and it runs.
			w.must("start", "a")
			w.expectState("a", lifecycle.Started, "")
			w.leakless()
		})
	}
	t.Run("deleted", func(t *testing.T) {
		c := newTimed(t)
		c.made("a", func(a *config.Automation) { a.AutoDelete = seconds(60) })
		c.must("stop", "a")
		c.abandon()
		c.time.pass(time.Hour)
		c.open()
		if reasons := c.removed(c.tick); !slices.Equal(reasons, []lifecycle.Reason{{Kind: lifecycle.ReasonAutoDelete}}) {
			t.Errorf("its end was told with %v", reasons)
		}
		c.leakless()
	})
}

// A daemon that is killed in the middle of what automation does is followed by one
// that does the rest, for the same reason.
func TestKilledInTheMiddle(t *testing.T) {
	for _, stage := range []string{"ended", "released"} {
		t.Run(stage, func(t *testing.T) {
			c := newTimed(t)
			c.made("a", func(a *config.Automation) { a.AutoStop = seconds(10) })
			c.made("gone", func(a *config.Automation) { a.AutoDelete = seconds(5) })
			c.must("stop", "gone")
			for _, name := range []string{"gone", "a"} {
				c.mu.Lock()
				c.dieAt, c.died = stage, make(chan struct{})
				if name == "gone" {
					c.dieAt = "released" // it has no other
				}
				died := c.died
				c.mu.Unlock()
				c.time.pass(6 * time.Second)
				c.tick()
				<-died
				c.abandon()
				c.open()
				c.rest()
			}
			c.expectState("gone", lifecycle.Destroyed, "")
			c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)
			c.leakless()
		})
	}
}

// The daemon was killed while it ended a sandbox that nobody had been told of, whose
// PID 1 ends when the next one has just found it: that is no stop of its own, beside
// what takes the sandbox away.
func TestEndsWhenFound(t *testing.T) {
	c := newTimed(t)
	c.dies("created")
	if err := c.do(func(ctx context.Context) error {
		_, err := c.m.Create(ctx, everybody, CreateRequest{Name: "a", Spec: testSpec()})
		return err
	}); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	c.abandon()
	stopping := make(chan struct{})
	c.onStage = func(name string) {
		if name == "ended" {
			close(stopping)
		}
	}
	c.asked = func(id string) {
		c.end(id)
		select {
		case <-stopping:
			t.Error("its end is taken for a stop")
		case <-time.After(200 * time.Millisecond):
		}
	}
	c.open()
	c.rest()
	c.expectState("a", lifecycle.Destroyed, "")
	c.leakless()
	if c.asked != nil {
		t.Error("it was not found to run")
	}
}

// What is under way is waited for.
func TestOperationAtTheDeadline(t *testing.T) {
	c := newTimed(t)
	c.made("a", func(a *config.Automation) { a.AutoDelete = seconds(60) })
	c.must("stop", "a")
	g, err := c.m.Files(context.Background(), everybody, "a")
	if err != nil {
		t.Fatal(err)
	}
	c.time.pass(time.Hour)
	c.m.automation.round()
	if _, err := g.Client.Ping(context.Background()); err != nil || c.state("a") != lifecycle.Stopped {
		t.Errorf("in the middle of a copy it is %s: %v", c.state("a"), err)
	}
	g.Close()
	c.tick()
	c.expectState("a", lifecycle.Destroyed, "")
	c.leakless()
}

// TestExecOrStop has programs begin at the moment of the stop: who was let in is
// not ended.
func TestExecOrStop(t *testing.T) {
	c := newTimed(t)
	c.made("a", func(a *config.Automation) { a.AutoStop = seconds(10) })
	var refused, let atomic.Int64
	for range 15 {
		c.rest()
		if c.state("a") == lifecycle.Stopped {
			c.must("start", "a")
		}
		c.time.pass(9 * time.Second)
		c.tick()
		c.time.pass(2 * time.Second) // now it is due
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				g, err := c.m.Guest(context.Background(), everybody, "a", config.ActivityExec)
				var conflict *ConflictError
				if errors.As(err, &conflict) {
					refused.Add(1)
					return
				}
				let.Add(1)
				for range 20 {
					if _, err := g.Client.Ping(context.Background()); err != nil {
						t.Errorf("what had begun was ended: %v", err)
					}
				}
				g.Close()
			})
		}
		wg.Go(c.tick)
		wg.Wait()
	}
	t.Logf("%d were let in, %d refused", let.Load(), refused.Load())
	c.rest()
}

func TestTouchAndSetAutomation(t *testing.T) {
	c := newTimed(t)
	c.made("a", func(a *config.Automation) { a.AutoStop = seconds(60) })
	c.pass(50*time.Second, time.Second)
	if _, err := c.m.Touch(context.Background(), everybody, "a"); err != nil {
		t.Fatal(err)
	}
	c.pass(50*time.Second, time.Second)
	c.expectState("a", lifecycle.Started, "")
	a := testSpec().Automation
	a.AutoStop = seconds(20)
	i, err := c.m.SetAutomation(context.Background(), everybody, "a", a)
	if err != nil || !i.Due.At.Equal(c.time.now().Wall.Add(20*time.Second)) {
		t.Fatalf("%v, due %+v", err, i.Due)
	}
	c.abandon()
	c.open()
	c.pass(19*time.Second, time.Second)
	c.expectState("a", lifecycle.Started, "")
	c.pass(4*time.Second, time.Second)
	c.expectState("a", lifecycle.Stopped, lifecycle.ReasonIdle)

	var invalid *InvalidError
	a.Activity = []string{"sleep"}
	if _, err := c.m.SetAutomation(context.Background(), everybody, "a", a); !errors.As(err, &invalid) {
		t.Errorf("a kind of activity that does not exist: %v", err)
	}
	for _, who := range []Caller{{UID: 4711}} {
		if _, err := c.m.Touch(context.Background(), who, "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("touch of another's: %v", err)
		}
		if _, err := c.m.SetAutomation(context.Background(), who, "a", testSpec().Automation); !errors.Is(err, ErrNotFound) {
			t.Errorf("automation of another's: %v", err)
		}
	}
}

func TestLookPeriod(t *testing.T) {
	for _, c := range []struct {
		stop, pause float64
		want        time.Duration
	}{{2, 0, 250 * time.Millisecond}, {0.1, 0, 250 * time.Millisecond}, {8, 0, time.Second}, {900, 0, 16 * time.Second}, {1e6, 0, 16 * time.Second}, {900, 2, 250 * time.Millisecond}, {0, 60, 4 * time.Second}, {2, 900, 250 * time.Millisecond}} {
		if got := lookPeriod(config.Automation{AutoStop: seconds(c.stop), AutoPause: seconds(c.pause)}); got != c.want {
			t.Errorf("stopped after %v s, paused after %v s: looked at every %v, want %v", c.stop, c.pause, got, c.want)
		}
	}
}

// What nothing waits for is not looked at.
func TestNobodyIsLookedAtInVain(t *testing.T) {
	c := newTimed(t)
	c.made("a", func(*config.Automation) {})
	c.made("stopped", func(a *config.Automation) { a.AutoStop = seconds(60) })
	c.must("stop", "stopped")
	if wait := c.m.automation.round(); wait < time.Hour {
		t.Errorf("the next round is in %v", wait)
	}
	c.made("waits", func(a *config.Automation) { a.AutoStop = seconds(3600) })
	if wait := c.m.automation.round(); wait <= 0 || wait > lookLongest {
		t.Errorf("one that may stop is looked at in %v", wait)
	}
}

// BenchmarkRound looks at a thousand idle sandboxes, as a daemon does every
// sixteen seconds, and writes down once a minute since when they are idle.
func BenchmarkRound(b *testing.B) {
	m := &Manager{boxes: map[string]*box{}, now: time.Now, opt: Options{RunDir: b.TempDir(), BootID: "b"}}
	m.log = slog.New(slog.DiscardHandler)
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	c := newClock()
	m.clock = c.now
	w := &machine{used: map[string]time.Duration{}, groups: map[string]bool{}, bytes: map[string]int64{}}
	m.opt.CPUTimer, m.opt.NetworkCounter = w, w
	m.automation = newAutomation(m)
	for i := range 1000 {
		id := fmt.Sprintf("%012x", i)
		w.groups[id] = true
		x := m.timedBox(m.addBox(id, id, 0, lifecycle.Started))
		x.rec.Spec = testSpec()
		x.rec.Spec.Automation.AutoStop = seconds(1e9)
		if err := os.MkdirAll(m.runDir(id), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		c.pass(lookLongest)
		m.automation.round()
	}
}
