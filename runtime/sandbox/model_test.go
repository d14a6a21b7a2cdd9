package sandbox

import (
	"context"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cove/config"
	"cove/runtime/lifecycle"
	"cove/runtime/network"
)

// dies has the daemon die at a stage of the next operation.
func (c *cove) dies(at string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dieAt, c.died = at, make(chan struct{})
}

func (c *cove) stage(name string) {
	c.mu.Lock()
	die, on := c.dieAt == name, c.onStage
	if die {
		close(c.died)
		c.dieAt = ""
	}
	c.mu.Unlock()
	if on != nil {
		on(name)
	}
	if die {
		runtime.Goexit()
	}
}

func testSpec() config.Spec {
	s := config.Defaults()
	s.Network.BlockAll = true
	s.User, s.Workdir, s.Shell = "dev", "/workspace", []string{"/bin/sh"}
	return s
}

var everybody = Caller{UID: 0}

// do runs an operation that may be cut off by the daemon's death.
func (c *cove) do(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c.mu.Lock()
	c.died = make(chan struct{})
	died := c.died
	c.mu.Unlock()
	answered := make(chan error, 1)
	go func() {
		// Where the caller's own goroutine does the work, it dies too.
		defer close(answered)
		answered <- f(ctx)
	}()
	select {
	case err, ok := <-answered:
		if !ok {
			return errDied
		}
		return err
	case <-died:
		// The operation never ends: its caller's connection just breaks.
		cancel()
		<-answered
		return errDied
	}
}

var errDied = errors.New("the daemon died")

// rest waits until nothing is under way.
func (c *cove) rest() {
	for _, o := range c.m.underWay() {
		<-o.done
	}
}

// setChecks says how many checks a model makes. Each makes some hundred durable
// writes; soaks make many checks.
func setChecks(t *testing.T) {
	t.Helper()
	checks := "20"
	if os.Getenv("COVE_SOAK") != "" {
		checks = "300"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		t.Fatal(err)
	}
}

// TestManagerAgainstModel makes random operations, deaths of PID 1, deaths of
// the daemon at random stages, and reboots; after each the Manager says what a
// model of ten lines says, and nothing has leaked.
func TestManagerAgainstModel(t *testing.T) {
	setChecks(t)
	stages := []string{
		"named", "made", "leased", "prepared", "created", "running", "configured", "ended", "released", "pausing", "frozen", "resuming", "thawed", "open",
		"pending", "committed", "copying", "kept",
	}
	rapid.Check(t, func(rt *rapid.T) {
		c := newTimed(t)
		defer c.abandon()
		model, times := map[string]lifecycle.State{}, ages{}
		names := []string{"a", "b", "c"}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "name")
			act := rapid.SampledFrom([]string{"create", "start", "stop", "restart", "delete", "pause", "resume", "rename", "network", "resize", "cp", "snapshot", "die inside", "reopen", "reboot", "die at", "die renaming", "die resizing", "time", "time", "time"}).Draw(rt, "act")
			before, exists := model[name]
			id := ""
			if i, err := c.m.Get(everybody, name); err == nil {
				id = i.ID
			}
			switch act {
			case "time":
				times.pass(rt, c, model)
			case "die inside":
				if before.Running() {
					i, err := c.m.Get(everybody, name)
					if err != nil {
						rt.Fatal(err)
					}
					c.end(i.ID)
					c.awaitState(rt, name, lifecycle.Stopped)
					model[name] = lifecycle.Stopped
				}
			case "reopen":
				c.abandon()
				c.open()
			case "reboot":
				c.abandon()
				for id := range maps.Clone(c.procs) {
					c.end(id)
				}
				c.boot += "'"
				c.leases, c.groups, c.frozen = map[uint32]string{}, map[string]bool{}, map[string]bool{}
				c.limits, c.uses = map[string]config.Resources{}, map[string]config.Resources{}
				if err := os.RemoveAll(filepath.Join(c.dir, "run")); err != nil {
					rt.Fatal(err)
				}
				c.time.boot(time.Minute)
				times.spare(c.time.now())
				c.open()
				for n, s := range model {
					if s.Running() {
						model[n] = lifecycle.Stopped
					}
				}
			case "network":
				n := config.Network{BlockAll: rapid.Bool().Draw(rt, "block")}
				n.LAN = !n.BlockAll && rapid.Bool().Draw(rt, "lan")
				_, err := c.m.SetNetwork(context.Background(), everybody, name, n)
				if exists != (err == nil) {
					rt.Fatalf("network of %s (%s): %v", name, before, err)
				}
			case "resize", "die resizing":
				c.modelResize(rt, name, before, exists, act == "die resizing")
			case "rename", "die renaming":
				c.modelRename(rt, model, name, rapid.SampledFrom(names).Draw(rt, "to"), act == "die renaming")
			case "die at":
				op := rapid.SampledFrom([]string{"create", "start", "stop", "restart", "delete", "pause", "resume", "cp", "snapshot"}).Draw(rt, "op")
				c.dies(rapid.SampledFrom(stages).Draw(rt, "stage"))
				err := c.operate(op, name)
				c.dies("")
				c.abandon()
				c.open()
				c.rest()
				got := c.state(name)
				ok := map[string][]lifecycle.State{
					"create":  {lifecycle.Destroyed},
					"start":   {lifecycle.Started, lifecycle.Stopped},
					"stop":    {lifecycle.Stopped},
					"restart": {lifecycle.Started, lifecycle.Stopped},
					"delete":  {lifecycle.Destroyed},
					"pause":   {lifecycle.Paused},
					"resume":  {lifecycle.Started},
					"cp":      {before},
					// What stands still for it goes on.
					"snapshot": {before},
				}[op]
				switch {
				case !errors.Is(err, errDied):
					// It ended before the stage, or the stage is not on its way.
					c.expect(rt, op, err, before, exists, got)
				case !slices.Contains(ok, got):
					rt.Fatalf("%s of %s (%s) that died at a stage ends in %s", op, name, before, got)
				}
				set(model, name, got)
			default:
				err := c.operate(act, name)
				got := c.state(name)
				c.expect(rt, act, err, before, exists, got)
				set(model, name, got)
			}
			c.rest()
			times.look(c, id, strings.HasPrefix(act, "die") || act == "reopen")
			for _, n := range names {
				want, ok := model[n]
				if !ok {
					want = lifecycle.Destroyed
				}
				if got := c.state(n); got != want {
					rt.Fatalf("after %s %s: %s is %s, the model says %s", act, name, n, got, want)
				}
				if !want.Running() {
					continue
				}
				i, err := c.m.Get(everybody, n)
				if err != nil {
					rt.Fatal(err)
				}
				c.limitsAgree(rt, i)
				if got, want := c.policies[i.ID], network.PolicyOf(i.Spec.Network); got != want {
					rt.Fatalf("after %s %s: the network of %s is %d, its record says %d", act, name, n, got, want)
				}
			}
		}
		c.audit(rt)
		for _, n := range slices.Sorted(maps.Keys(model)) {
			if err := c.operate("delete", n); err != nil {
				rt.Fatalf("delete %s: %v", n, err)
			}
		}
		c.audit(rt)
		if len(c.procs)+len(c.groups)+len(c.leases)+len(c.mounted) != 0 {
			rt.Fatalf("left: processes %v, groups %v, leases %v, mounts %v", c.procs, c.groups, c.leases, c.mounted)
		}
	})
}

func set(model map[string]lifecycle.State, name string, s lifecycle.State) {
	if s == lifecycle.Destroyed {
		delete(model, name)
		return
	}
	model[name] = s
}

func (c *cove) operate(op, name string) error {
	return c.do(func(ctx context.Context) error {
		var err error
		spec := testSpec()
		if c.timed {
			spec.Automation = modelAutomation(name)
		}
		switch op {
		case "create":
			_, err = c.m.Create(ctx, everybody, CreateRequest{Name: name, Spec: spec})
		case "start":
			_, err = c.m.Start(ctx, everybody, name, StartRequest{})
		case "stop":
			_, err = c.m.Stop(ctx, everybody, name, false)
		case "restart":
			_, err = c.m.Restart(ctx, everybody, name, nil, false)
		case "delete":
			_, err = c.m.Delete(ctx, everybody, name, true)
		case "pause":
			_, err = c.m.Pause(ctx, everybody, name)
		case "resume":
			_, err = c.m.Resume(ctx, everybody, name)
		case "snapshot":
			_, err = c.m.Snapshot(ctx, everybody, name, "")
		case "cp":
			var g *Guest
			if g, err = c.m.Files(ctx, everybody, name); err == nil {
				_, err = g.Client.Ping(ctx)
				g.Close()
			}
		}
		return err
	})
}

// modelRename renames, and may die in the middle of it: then the sandbox has the
// one name or the other, as it was, and the one it has not is free.
func (c *cove) modelRename(rt *rapid.T, model map[string]lifecycle.State, from, to string, die bool) {
	rt.Helper()
	before, exists := model[from]
	_, taken := model[to]
	if die {
		c.dies(rapid.SampledFrom([]string{"linked", "recorded"}).Draw(rt, "stage"))
	}
	err := c.do(func(ctx context.Context) error {
		_, err := c.m.Rename(ctx, everybody, from, to)
		return err
	})
	c.dies("")
	switch {
	case errors.Is(err, errDied):
		c.abandon()
		c.open()
		c.rest()
		if c.state(to) == lifecycle.Destroyed {
			return
		}
	case !exists:
		if !errors.Is(err, ErrNotFound) {
			rt.Fatalf("rename of nothing: %v", err)
		}
		return
	case taken && from != to:
		if !errors.Is(err, ErrExists) {
			rt.Fatalf("rename to a taken name: %v", err)
		}
		return
	case err != nil:
		rt.Fatalf("rename of one that is %s: %v", before, err)
	}
	delete(model, from)
	model[to] = before
}

// expect is the model: what the table says of an operation that was not cut off.
func (c *cove) expect(rt *rapid.T, op string, err error, before lifecycle.State, exists bool, got lifecycle.State) {
	rt.Helper()
	switch {
	case op == "create" && exists:
		if !errors.Is(err, ErrExists) || got != before {
			rt.Fatalf("create of a taken name: %v, it is %s", err, got)
		}
		return
	case op != "create" && !exists:
		if !errors.Is(err, ErrNotFound) {
			rt.Fatalf("%s of nothing: %v", op, err)
		}
		return
	case lifecycle.Check(lifecycle.Operation(op), before) == lifecycle.Refused && op != "create":
		var conflict *ConflictError
		if !errors.As(err, &conflict) || got != before {
			rt.Fatalf("%s of one that is %s: %v, it is %s", op, before, err, got)
		}
		return
	case err != nil:
		rt.Fatalf("%s of one that is %s: %v", op, before, err)
	}
	want := map[string]lifecycle.State{
		"create": lifecycle.Started, "start": lifecycle.Started, "restart": lifecycle.Started,
		"stop": lifecycle.Stopped, "delete": lifecycle.Destroyed,
		"pause": lifecycle.Paused, "resume": lifecycle.Started, "cp": before, "snapshot": before,
	}[op]
	if got != want {
		rt.Fatalf("%s of one that is %s ends in %s", op, before, got)
	}
}

func (c *cove) state(name string) lifecycle.State {
	i, err := c.m.Get(everybody, name)
	if err != nil {
		return lifecycle.Destroyed
	}
	return i.State
}

func (c *cove) awaitState(rt *rapid.T, name string, want lifecycle.State) {
	rt.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	sub, err := c.m.Subscribe(ctx, everybody, nil)
	if err != nil {
		rt.Fatal(err)
	}
	for {
		if i, err := c.m.Get(everybody, name); err == nil && i.State == want && i.Op == "" {
			return
		}
		if _, ok := <-sub.Events; !ok {
			rt.Fatalf("%s did not become %s", name, want)
		}
	}
}

func (c *cove) audit(rt *rapid.T) {
	rt.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	leaks, err := c.m.Audit(ctx)
	if err != nil || len(leaks) > 0 {
		rt.Fatalf("leaks: %v %v", leaks, err)
	}
}
