package sandbox

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cove/runtime/lifecycle"
)

const (
	// roundGap is the shortest time between two rounds, so that what changes
	// often costs little; wallGap the longest while something waits for a time
	// of day, which somebody may set.
	roundGap = 50 * time.Millisecond
	wallGap  = time.Minute

	// A try that failed is repeated after retryFirst, doubled each time up to
	// retryLast.
	retryFirst = time.Second
	retryLast  = 5 * time.Minute
)

// automation does what the profiles say is to be done with time. One goroutine
// makes rounds: it looks only at sandboxes for which something may be due, and
// what is due is done beside it. It goes by m.clock alone.
type automation struct {
	m      *Manager
	ctx    context.Context
	cancel context.CancelFunc
	kick   chan struct{}
	done   chan struct{}
	// acting counts what is being asked and done beside the rounds.
	acting sync.WaitGroup

	mu   sync.Mutex // held during a round
	last offsets
}

func newAutomation(m *Manager) *automation {
	a := &automation{m: m, kick: make(chan struct{}, 1), done: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancel(m.ctx)
	return a
}

// open begins to make rounds. The sandboxes that were there before the machine
// booted, slept or got another time are spared for a while.
func (a *automation) open() {
	now := a.m.clock()
	a.last = now.offsets(a.m.opt.BootID)
	if before, ok := a.m.readOffsets(); !ok || before.parted(a.last) {
		a.last.spare(now)
		a.spare(nil)
	} else {
		a.last.Parted, a.last.Spared = before.Parted, before.Spared
		a.spare(func(r record) bool { return r.since().Before(before.Parted) })
	}
	a.m.keepOffsets(a.last)
	go a.run()
}

// close ends the rounds. What was begun goes on as an operation of the Manager's.
func (a *automation) close() {
	a.cancel()
	<-a.done
	now := a.m.clock()
	for _, b := range a.m.all() {
		if watched(b.record().Spec.Automation) {
			a.m.keep(b, now, true)
		}
	}
}

func (a *automation) run() {
	defer close(a.done)
	for {
		wait := a.round()
		t := time.NewTimer(max(wait, roundGap))
		select {
		case <-t.C:
		case <-a.kick:
			// Others may follow at once: they are looked at together.
			gap := time.NewTimer(roundGap)
			select {
			case <-gap.C:
			case <-a.ctx.Done():
			}
			gap.Stop()
		case <-a.ctx.Done():
		}
		t.Stop()
		if a.ctx.Err() != nil {
			return
		}
	}
}

// wake has the sandbox looked at soon. The caller holds b.mu.
func (b *box) wake() {
	if b.kick == nil {
		return
	}
	if !timed(b.rec.Spec.Automation) {
		b.look.Store(int64(never))
		return
	}
	b.look.Store(0)
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// timing is what automation keeps with a box.
type timing struct {
	clock func() Moment
	kick  chan struct{}
	// look is when to look at it next, in awake time.
	look atomic.Int64

	idle idleness
	// grace is the end of the time in which it is spared, see clockGrace.
	grace time.Duration
	// attended: somebody asks its PID 1 or acts.
	attended bool
	trying   tries
}

// tries are those that have failed, of what key says; others go on meanwhile.
type tries struct {
	key    string
	why    string        // the last one failed
	next   time.Duration // when the next one may be made
	failed int
}

// timedBox gives a box what automation needs.
func (m *Manager) timedBox(b *box) *box {
	b.clock, b.kick = m.clock, m.automation.kick
	return b
}

func (m *Manager) all() []*box {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.boxes))
}

// round looks at every sandbox whose time has come, and returns for how long
// nothing has to be looked at.
func (a *automation) round() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.m.clock()
	a.watchClocks(now)
	first := now.Awake + 24*time.Hour
	for _, b := range a.m.all() {
		if at := time.Duration(b.look.Load()); at <= now.Awake {
			a.look(b, now)
		}
		first = min(first, time.Duration(b.look.Load()))
	}
	return first - now.Awake
}

// watchClocks spares what waits for a time of day when the clocks have parted.
func (a *automation) watchClocks(now Moment) {
	o := now.offsets(a.m.opt.BootID)
	if !a.last.parted(o) {
		// What keeps the time right moves it all the time.
		if o.Set.Sub(a.last.Set).Abs() > clockStep/10 {
			o.Parted, o.Spared = a.last.Parted, a.last.Spared
			a.last = o
			a.m.keepOffsets(o)
		}
		return
	}
	a.m.log.Info("the machine slept, or its clock was set: what waits for a time of day is put off", "for", clockGrace)
	o.spare(now)
	a.last = o
	a.m.keepOffsets(o)
	a.spare(nil)
}

// spare puts off what waits for a time of day, of the sandboxes that which
// names; nil names all.
func (a *automation) spare(which func(record) bool) {
	for _, b := range a.m.all() {
		b.mu.Lock()
		if which == nil || which(b.rec) {
			b.grace = a.last.Spared
			b.wake()
		}
		b.mu.Unlock()
	}
}

// since is when somebody last made, started, stopped or touched it.
func (r record) since() time.Time {
	return slices.MaxFunc([]time.Time{r.Created, r.Started, r.Stopped, r.Touched}, time.Time.Compare)
}

// look looks at one sandbox and sets when to look at it again.
func (a *automation) look(b *box, now Moment) {
	// What changes from here on sets it again.
	b.look.Store(int64(never))
	b.mu.Lock()
	watch, auto := watched(b.rec.Spec.Automation) && b.run != nil, b.rec.Spec.Automation
	busy := b.gone || b.op != nil || b.attended
	b.mu.Unlock()
	if busy {
		return // its end has it looked at
	}
	var c counters
	if watch {
		c = a.m.count(b.id, auto)
	}
	b.mu.Lock()
	if b.gone || b.op != nil || c.gone {
		// Its end will be told, unless it only seems so.
		b.look.CompareAndSwap(int64(never), int64(now.Awake+lookLongest))
		b.mu.Unlock()
		return
	}
	if watch {
		b.sense(now, c)
	}
	if c.uncertain != nil && !b.idle.told {
		b.idle.told = true
		a.m.log.Warn("could not read what a sandbox uses; it does not count as idle", "sandbox", b.id, "error", c.uncertain)
	}
	p, ok := b.next(now)
	due := ok && !p.held && p.in <= 0
	attend := due || watch && b.doubtful(now, false)
	b.attended = attend
	if !attend && ok {
		at := never
		if !p.held {
			at = now.Awake + max(p.in, roundGap)
		}
		if !p.idle || b.rec.Spec.Automation.TTL >= 0 {
			at = min(at, now.Awake+wallGap)
		}
		if watch && b.state == lifecycle.Started {
			period := lookPeriod(auto)
			at = min(at, (now.Awake/period+1)*period)
		}
		// Unless somebody wants it looked at sooner.
		b.look.CompareAndSwap(int64(never), int64(at))
	}
	b.mu.Unlock()
	if watch {
		a.m.keep(b, now, false)
	}
	if attend {
		a.acting.Add(1)
		a.m.wg.Go(func() {
			defer a.acting.Done()
			a.attend(b)
		})
	}
}

// attend finds out what only PID 1 knows, and does what is due.
func (a *automation) attend(b *box) {
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.attended = false
		b.wake()
	}()
	m := a.m
	now := m.clock()
	b.mu.Lock()
	p, ok := b.next(now)
	final := ok && p.idle && !p.held && p.in <= 0
	ask := b.doubtful(now, final)
	b.mu.Unlock()
	if ask && !m.ask(a.ctx, b) {
		b.mu.Lock()
		b.trying.key, b.trying.next = p.key, m.clock().Awake+retryFirst
		b.mu.Unlock()
		return
	}
	if o, p := a.claim(b); o != nil {
		a.act(o, p)
	}
}

// claim takes the sandbox for what is due, unless it is not any more: it is
// looked at once more, and what begins inside from here on is refused, so that
// nothing that has begun is ended.
func (a *automation) claim(b *box) (*operation, plan) {
	m := a.m
	b.mu.Lock()
	watch, auto := watched(b.rec.Spec.Automation) && b.run != nil, b.rec.Spec.Automation
	b.mu.Unlock()
	var c counters
	if watch {
		c = m.count(b.id, auto)
	}
	now := m.clock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || b.op != nil || a.ctx.Err() != nil {
		return nil, plan{}
	}
	if watch {
		b.sense(now, c)
	}
	p, ok := b.next(now)
	if !ok || p.held || p.in > 0 || lifecycle.Check(p.op, b.state) != lifecycle.Allowed {
		return nil, plan{}
	}
	o := m.newOperation(b, p.op)
	o.auto, o.args = true, opArgs{Reason: p.reason()}
	b.op = o
	return o, p
}

// act carries out what is due.
func (a *automation) act(o *operation, p plan) {
	m, b := a.m, o.b
	m.log.Info("automation", "sandbox", b.id, "op", p.op, "key", p.key)
	switch p.op {
	case lifecycle.OpPause:
		o.run(func(o *operation) error {
			m.because(b, p.reason())
			err := m.pause(o)
			if err != nil {
				m.because(b, lifecycle.Reason{})
			}
			return err
		})
	case lifecycle.OpArchive:
		o.run(func(o *operation) error { return m.archive(o, p.reason()) })
	case lifecycle.OpDelete:
		o.run(func(o *operation) error { return m.remove(o, p.reason(), false) })
	default:
		o.run(func(o *operation) error { return m.stop(o, false, p.reason()) })
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.err == nil || lifecycle.Check(p.op, b.state) != lifecycle.Allowed {
		b.trying = tries{} // there is nothing left to be tried
	} else {
		n := 0
		if b.trying.key == p.key {
			n = b.trying.failed
		}
		next := m.clock().Awake + min(retryFirst<<min(n, 16), retryLast)
		b.trying = tries{key: p.key, why: o.err.Error(), next: next, failed: n + 1}
	}
	if o.err != nil && m.ctx.Err() == nil {
		m.log.Warn("automation failed", "sandbox", b.id, "op", p.op, "key", p.key, "error", o.err)
	}
}

// because says why the sandbox is in its state, or comes into it; it is written
// down with that.
func (m *Manager) because(b *box, r lifecycle.Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reason, b.rec.Reason = r, r
}

// remove deletes a sandbox, for r; with keep it can be brought back for a while.
func (m *Manager) remove(o *operation, r lifecycle.Reason, keep bool) error {
	b := o.b
	o.enter(lifecycle.Destroying)
	m.stopNow(b)
	o.stage("released")
	b.mu.Lock()
	b.reason = r // it goes with the news of its end
	b.mu.Unlock()
	return m.bury(b, keep)
}
