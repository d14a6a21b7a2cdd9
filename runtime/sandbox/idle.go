package sandbox

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

const (
	// activeNet is how many bytes a second count as activity, and activeBytes
	// how many it must be at least: neighbours that look for each other, and
	// connections that are kept open, stay below.
	activeNet   = 1 << 10
	activeBytes = 4 << 10

	// Activity is looked for every eighth of the time that automation waits,
	// in steps that double from the shortest to the longest, on a grid: those
	// who wait equally long are looked at together.
	lookShortest = 250 * time.Millisecond
	lookLongest  = 16 * time.Second
	lookPart     = 8

	// sessionCPU is what must have been used since the last answer for the
	// terminals to be asked again before sessionAge: nothing on a terminal
	// changes without processor time.
	sessionCPU = 200 * time.Microsecond
	sessionAge = time.Minute
	// sessionTimeout is what PID 1 gets to answer, sessionTries how often: who
	// then has nothing to say has nothing that is in use.
	sessionTimeout = 2 * time.Second
	sessionTries   = 3

	// idleKept is how old what is on disk of a sandbox's idleness may be.
	idleKept = time.Minute
)

// idleness is what is known of the use of a sandbox, since when it has not been
// in use, in awake time. It is guarded by its box's mu.
type idleness struct {
	// terminals and execs are those under way through this daemon.
	terminals, execs int
	since            time.Duration
	// seen are the other kinds of activity that the last look saw.
	seen []string

	// counted is what had been used at the last look; false: there was none.
	counted bool
	at, cpu time.Duration
	net     int64

	// sessions: there may be terminal sessions that nobody is attached to.
	// working is what PID 1 said of them last, asked when, and askedCPU what
	// had been used then.
	sessions, working bool
	asked, askedCPU   time.Duration
	tries             int

	kept time.Duration // when it was written to disk
	told bool          // that it cannot be seen to be idle
}

// used notes that the sandbox was in use until now, by something that counts.
func (i *idleness) used(now time.Duration) { i.since = max(i.since, now) }

// begin notes that something begins in the sandbox, and returns what notes its
// end, once. The caller holds b.mu.
func (b *box) begin(use string) (end func()) {
	n := &b.idle.execs
	switch use {
	case config.ActivityTerminal:
		n = &b.idle.terminals
		b.idle.sessions, b.idle.asked = true, 0
	case config.ActivityExec:
	default:
		return func() {}
	}
	*n++
	ended := false
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if ended {
			return
		}
		ended = true
		*n--
		if b.clock != nil && b.rec.Spec.Automation.Active(use) {
			b.idle.used(b.clock().Awake)
		}
		b.wake()
	}
}

// busyHeld is in the place of a kind of activity what keeps a sandbox from being
// idle that the guard has frozen at work.
const busyHeld = "held"

// busy are the kinds of activity that there are now and that count. The caller
// holds b.mu.
func (b *box) busy() []string {
	a := b.rec.Spec.Automation
	var kinds []string
	for _, k := range a.Counts() {
		if k == config.ActivityTerminal && b.idle.terminals > 0 || k == config.ActivityExec && b.idle.execs > 0 || slices.Contains(b.idle.seen, k) {
			kinds = append(kinds, k)
		}
	}
	if b.held != "" {
		kinds = append(kinds, busyHeld)
	}
	return kinds
}

// lookPeriod is how often a sandbox is looked at that is stopped or paused after
// so much time.
func lookPeriod(a config.Automation) time.Duration {
	wait := a.AutoStop.Std()
	if wait <= 0 || a.AutoPause > 0 && a.AutoPause.Std() < wait {
		wait = a.AutoPause.Std()
	}
	p := lookShortest
	for p < lookLongest && 2*p <= wait/lookPart {
		p *= 2
	}
	return p
}

// counters are what the kernel has counted of a sandbox.
type counters struct {
	cpu, net  bool // it could be read
	used      time.Duration
	bytes     int64
	gone      bool
	uncertain error // why it could not
}

// count reads the counters that a sandbox's automation goes by. It holds no lock.
func (m *Manager) count(id string, a config.Automation) counters {
	var c counters
	if m.opt.CPUTimer != nil && (a.Active(config.ActivityCPU) || a.Active(config.ActivityTerminal)) {
		var err error
		c.used, err = m.opt.CPUTimer.CPUTime(id)
		c.cpu, c.gone = err == nil, errors.Is(err, fs.ErrNotExist)
		if err != nil && !c.gone {
			c.uncertain = err // what cannot be seen to be idle is not
		}
	}
	if m.opt.NetworkCounter != nil && a.Active(config.ActivityNetwork) {
		var rx, tx int64
		rx, tx, c.net = m.opt.NetworkCounter.Bytes(id)
		c.bytes = rx + tx
	}
	return c
}

// sense compares what is counted with the last look. What is looked at sooner than
// usual must have used as much as in the usual time to count, for to be asked
// something takes some too. The caller holds b.mu.
func (b *box) sense(now Moment, c counters) {
	i, a := &b.idle, b.rec.Spec.Automation
	if b.state != lifecycle.Started {
		i.counted, i.seen = false, nil // what is frozen does nothing
		return
	}
	if b.held != "" {
		// The guard has frozen it at work: it is not idle for that.
		i.counted = false
		i.used(now.Awake)
		return
	}
	d, period := now.Awake-i.at, lookPeriod(a)
	span, whole := max(d, period), d >= period*3/4
	var seen []string
	if i.counted {
		if a.Active(config.ActivityCPU) && (c.uncertain != nil || c.cpu && grown(i.cpu, c.used) >= activeCPU*float64(span)) {
			seen = append(seen, config.ActivityCPU)
		}
		if c.net && grown(i.net, c.bytes) >= max(activeBytes, activeNet*span.Seconds()) {
			seen = append(seen, config.ActivityNetwork)
		}
	}
	if !i.counted || whole || len(seen) > 0 {
		i.counted, i.at, i.cpu, i.net = true, now.Awake, c.used, c.bytes
		if i.working {
			seen = append(seen, config.ActivityTerminal)
		}
		i.seen = seen
	}
	if len(b.busy()) > 0 && (whole || len(seen) > 0 || i.terminals+i.execs > 0) {
		i.used(now.Awake)
	}
}

// doubtful tells whether what is known of the terminals may not be true any more.
// The caller holds b.mu.
func (b *box) doubtful(now Moment, final bool) bool {
	i, a := &b.idle, b.rec.Spec.Automation
	if b.state != lifecycle.Started || b.held != "" || !a.Active(config.ActivityTerminal) || !i.sessions || i.terminals > 0 {
		return false
	}
	// What else goes on keeps it busy anyway.
	if slices.ContainsFunc(b.busy(), func(k string) bool { return k != config.ActivityTerminal }) {
		return false
	}
	return final || i.asked == 0 || now.Awake-i.asked > sessionAge || grown(i.askedCPU, i.cpu) >= float64(sessionCPU)
}

// ask asks PID 1 what goes on on the terminals that nobody is attached to. It
// reports false when the question is to be asked again soon.
func (m *Manager) ask(ctx context.Context, b *box) bool {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	sessions, err := m.client(b.id).Sessions(ctx)
	b.mu.Lock()
	a := b.rec.Spec.Automation
	b.mu.Unlock()
	// After the answer: what it took is not the sandbox's own.
	c := m.count(b.id, a)
	now := m.clock()
	b.mu.Lock()
	defer b.mu.Unlock()
	i := &b.idle
	if i.tries++; err != nil && i.tries < sessionTries {
		return false
	}
	i.tries = 0
	i.asked, i.askedCPU = now.Awake, c.used
	i.counted, i.at, i.cpu, i.net = true, now.Awake, c.used, c.bytes
	i.sessions, i.working = len(sessions) > 0 || err != nil, false
	i.seen = slices.DeleteFunc(i.seen, func(k string) bool { return k == config.ActivityTerminal })
	prints := false
	for _, s := range sessions {
		i.working = i.working || !s.Idle
		// It is PID 1 that says so: nothing has happened in the future, and
		// nothing before the start makes the sandbox older.
		if ago := now.Wall.Sub(s.Activity); ago >= 0 && ago < now.Awake {
			i.used(now.Awake - ago)
			prints = prints || ago < lookPeriod(a)
		}
	}
	if i.working {
		i.used(now.Awake)
	}
	if i.working || prints {
		i.seen = append(i.seen, config.ActivityTerminal)
	}
	return true
}
