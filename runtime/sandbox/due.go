package sandbox

import (
	"cmp"
	"math"
	"slices"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// Due is what a sandbox's automation does to it next, or would do if it were not
// busy.
type Due struct {
	// Action is stop, pause, archive or delete.
	Action lifecycle.Operation
	// Key is the key of the profile that says so, without its table.
	Key string
	// At is when, by the wall clock of now; zero while what Busy names holds it
	// off.
	At time.Time
	// Without are the kinds of activity of which there was none, Busy those
	// that there are now.
	Without, Busy []string
	// Error is why the last try failed; another one follows.
	Error string
}

// plan is one thing that automation is to do, and after how much time: of awake
// time where it counts the time without activity, else of wall time.
type plan struct {
	op   lifecycle.Operation
	key  string
	idle bool
	in   time.Duration
	held bool // nothing is to happen: it is busy
}

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// reason is what a sandbox's state is told with once it was carried out.
func (p plan) reason() lifecycle.Reason {
	switch {
	case p.idle:
		return lifecycle.Reason{Kind: lifecycle.ReasonIdle}
	case p.op == lifecycle.OpArchive:
		return lifecycle.Reason{Kind: lifecycle.ReasonAutoArchive}
	case p.op == lifecycle.OpDelete:
		return lifecycle.Reason{Kind: lifecycle.ReasonAutoDelete}
	}
	return lifecycle.Reason{Kind: lifecycle.ReasonTTL}
}

// timed tells whether time changes anything for a sandbox.
func timed(a config.Automation) bool {
	return watched(a) || a.TTL != config.Never || a.AutoDelete > 0 || a.AutoArchive >= 0
}

// watched tells whether it matters what a sandbox does.
func watched(a config.Automation) bool { return a.AutoStop > 0 || a.AutoPause > 0 }

// next is what is to be done first; false where there is nothing. What was idle
// for long enough to be paused and to be stopped is paused: the time until its
// stop goes on. The caller holds b.mu.
func (b *box) next(now Moment) (plan, bool) {
	a := b.rec.Spec.Automation
	var plans []plan
	idle := func(op lifecycle.Operation, key string, after config.Duration) {
		if after > 0 {
			in := b.idle.since + after.Std() - now.Awake
			plans = append(plans, plan{op: op, key: key, idle: true, in: max(in, b.wait(key, now)), held: len(b.busy()) > 0})
		}
	}
	wall := func(op lifecycle.Operation, key string, from time.Time, after config.Duration) {
		in := from.Add(after.Std()).Sub(now.Wall)
		plans = append(plans, plan{op: op, key: key, in: max(in, b.grace-now.Awake, b.wait(key, now))})
	}
	switch b.state {
	case lifecycle.Started, lifecycle.Paused:
		if b.state == lifecycle.Started {
			idle(lifecycle.OpPause, "auto_pause", a.AutoPause)
		}
		idle(lifecycle.OpStop, "auto_stop", a.AutoStop)
		if a.TTL != config.Never {
			wall(lifecycle.OpStop, "ttl", b.rec.Created, a.TTL)
		}
	case lifecycle.Stopped:
		from := b.rec.Stopped
		if b.rec.Touched.After(from) {
			from = b.rec.Touched
		}
		if a.AutoArchive >= 0 {
			wall(lifecycle.OpArchive, "auto_archive", from, a.AutoArchive)
		}
		if a.AutoDelete > 0 {
			wall(lifecycle.OpDelete, "auto_delete", from, a.AutoDelete)
		}
	default:
	}
	if len(plans) == 0 {
		return plan{}, false
	}
	return slices.MinFunc(plans, func(x, y plan) int {
		switch {
		case x.held && !y.held:
			return 1
		case y.held && !x.held:
			return -1
		case x.idle && y.idle && x.in <= 0 && y.in <= 0:
			return 0 // in their order: paused first
		}
		return cmp.Compare(x.in, y.in)
	}), true
}

// wait is for how long what key says is not tried again. The caller holds b.mu.
func (b *box) wait(key string, now Moment) time.Duration {
	if b.trying.key != key {
		return -never
	}
	return b.trying.next - now.Awake
}

// due is what automation does next, for a person. The caller holds b.mu.
func (b *box) due(now Moment) *Due {
	if b.gone || b.op != nil {
		return nil
	}
	p, ok := b.next(now)
	if !ok {
		return nil
	}
	d := &Due{Action: p.op, Key: p.key}
	if b.trying.key == p.key {
		d.Error = b.trying.why
	}
	if p.idle {
		d.Busy = b.busy()
		if !p.held {
			d.Without = b.rec.Spec.Automation.Counts()
			// There are no previews whose connections could be seen.
			d.Without = slices.DeleteFunc(d.Without, func(k string) bool { return k == config.ActivityPreview })
		}
	}
	if !p.held {
		d.At = now.Wall.Add(max(p.in, 0)).Round(time.Millisecond)
	}
	return d
}

// expired tells for how long the sandbox's ttl is over; false where it is not.
func (r record) expired(now time.Time) (time.Duration, bool) {
	ttl := r.Spec.Automation.TTL
	if ttl == config.Never || r.Created.IsZero() {
		return 0, false
	}
	over := now.Sub(r.Created.Add(ttl.Std()))
	return over, over >= 0
}
