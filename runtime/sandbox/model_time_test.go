package sandbox

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"cove/config"
	"cove/runtime/lifecycle"
)

// The automation of the model's sandboxes, by the names they are made under.
const (
	modelPause  = 5 * time.Minute
	modelStop   = 12 * time.Minute
	modelDelete = time.Hour
)

func modelAutomation(name string) config.Automation {
	a := testSpec().Automation
	switch name {
	case "b":
		a.AutoStop, a.AutoDelete = config.Duration(modelStop), config.Duration(modelDelete)
	case "c":
		a.AutoPause, a.AutoStop = config.Duration(modelPause), config.Duration(modelStop)
	}
	return a
}

// age is what the model knows of the times of one sandbox: when it was used last,
// in awake time, and when it stopped, by the wall clock. A daemon that dies may
// leave either earlier or later; the truth lies between the two.
type age struct {
	state   lifecycle.State
	used    [2]time.Duration
	stopped [2]time.Time
	grace   time.Duration
	auto    config.Automation
}

// ages are those of all sandboxes, by id.
type ages map[string]age

// look takes note of what became of the sandboxes by something that was done to
// the one with id. After a daemon's death no use is certain.
func (s ages) look(c *cove, id string, died bool) {
	now := c.time.now()
	all := c.m.List(everybody)
	for _, i := range all {
		a, known := s[i.ID]
		if !known {
			a = age{used: [2]time.Duration{now.Awake, now.Awake}, auto: i.Spec.Automation}
		}
		switch {
		case i.ID == id && i.State != a.state && !died:
			a.used = [2]time.Duration{now.Awake, now.Awake}
		case i.ID == id || died:
			a.used[1] = now.Awake
		}
		switch {
		case i.State != lifecycle.Stopped:
			a.stopped = [2]time.Time{}
		case a.stopped[0].IsZero():
			a.stopped = [2]time.Time{now.Wall, now.Wall}
		case i.ID == id || died:
			a.stopped[1] = now.Wall
		}
		a.state = i.State
		s[i.ID] = a
	}
	for id := range s {
		if !slices.ContainsFunc(all, func(i Info) bool { return i.ID == id }) {
			delete(s, id)
		}
	}
}

// spare is what a jump of a clock does.
func (s ages) spare(now Moment) {
	for id, a := range s {
		a.grace = now.Awake + clockGrace
		s[id] = a
	}
}

// pass moves the clocks, and checks that what had to happen has happened and that
// nothing else has.
func (s ages) pass(rt *rapid.T, c *cove, model map[string]lifecycle.State) {
	rt.Helper()
	d := rapid.SampledFrom([]time.Duration{time.Minute, 4 * time.Minute, 7 * time.Minute, 20 * time.Minute, 2 * time.Hour}).Draw(rt, "time")
	switch how := rapid.SampledFrom([]string{"pass", "pass", "pass", "sleep", "set", "set back"}).Draw(rt, "how"); how {
	case "pass":
		c.time.pass(d)
	case "sleep":
		c.time.sleep(d)
		s.spare(c.time.now())
	case "set":
		c.time.set(d)
		s.spare(c.time.now())
	case "set back":
		c.time.set(-d)
		s.spare(c.time.now())
	}
	c.tick()
	c.rest()
	now := c.time.now()
	for _, i := range c.m.List(everybody) {
		a := s[i.ID]
		if ok := a.may(now); !slices.Contains(ok, i.State) {
			rt.Fatalf("%s was %s, used at %v, stopped at %v; at %v it is %s, not one of %v", i.Name, a.state, a.used, a.stopped, now, i.State, ok)
		}
		if !i.State.Running() && a.state.Running() && i.Reason.Kind != lifecycle.ReasonIdle {
			rt.Fatalf("%s was stopped for %s", i.Name, i.Reason)
		}
		set(model, i.Name, i.State)
	}
	for id, a := range s {
		if _, err := c.m.Get(everybody, id); err != nil && !slices.Contains(a.may(now), lifecycle.Destroyed) {
			rt.Fatalf("%s is gone that was %s, stopped at %v, spared until %v; it is %v", id, a.state, a.stopped, a.grace, now)
		}
	}
	for name := range model {
		if c.state(name) == lifecycle.Destroyed {
			delete(model, name)
		}
	}
	s.look(c, "", false)
}

// may are the states in which a sandbox may be now.
func (a age) may(now Moment) []lifecycle.State {
	auto := a.auto
	states := []lifecycle.State{a.state}
	// add has what comes behind the states, certainly or maybe.
	add := func(from func(lifecycle.State) bool, to lifecycle.State, certain, maybe bool) {
		switch {
		case !slices.ContainsFunc(states, from) || !maybe:
		case certain:
			states = append(slices.DeleteFunc(states, from), to)
		default:
			states = append(states, to)
		}
	}
	idle := func(d config.Duration) (certain, maybe bool) {
		return d > 0 && now.Awake-a.used[1] >= d.Std(), d > 0 && now.Awake-a.used[0] >= d.Std()
	}
	certain, maybe := idle(auto.AutoPause)
	add(func(s lifecycle.State) bool { return s == lifecycle.Started }, lifecycle.Paused, certain, maybe)
	certain, maybe = idle(auto.AutoStop)
	add(lifecycle.State.Running, lifecycle.Stopped, certain, maybe)
	if a.state == lifecycle.Stopped && auto.AutoDelete > 0 {
		certain := now.Wall.Sub(a.stopped[1]) >= auto.AutoDelete.Std() && now.Awake >= a.grace
		maybe := now.Wall.Sub(a.stopped[0]) >= auto.AutoDelete.Std() && now.Awake >= a.grace
		add(func(s lifecycle.State) bool { return s == lifecycle.Stopped }, lifecycle.Destroyed, certain, maybe)
	}
	return states
}
