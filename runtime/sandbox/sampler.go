package sandbox

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"cove/runtime/cgroup"
)

const (
	// statsInterval is how often there is a sample for those who follow.
	statsInterval = time.Second
	// statsFresh is the shortest time that rates are over.
	statsFresh = 250 * time.Millisecond
	// statsStale is how old the sample before may be for rates to be over the
	// time since.
	statsStale = 5 * time.Second
)

// sampler takes samples while somebody asks for them, one for all who do. It
// holds no lock of a sandbox's or of the Manager's while it reads.
type sampler struct {
	m *Manager

	// taking is held while a sample is taken.
	taking sync.Mutex
	before map[string]history // by id
	asked  map[string]asked   // by id, see terminals

	mu      sync.Mutex
	last    StatsReport
	subs    map[chan StatsReport]Caller
	asking  bool // terminals are being asked
	running bool // there is a goroutine that takes samples
	closed  bool
}

// counted is what a sandbox had used at one time.
type counted struct {
	at           time.Time
	cpu          time.Duration
	netRx, netTx int64
	read, write  int64 // of block devices
}

// history is what a sandbox had used before: at the last sample, and at one that
// was at least statsFresh earlier. Samples that follow sooner are not kept.
type history struct{ base, last counted }

// with adds what is counted now; rates are since base then.
func (h history) with(c counted) history {
	if c.at.Sub(h.last.at) >= statsFresh {
		h.base, h.last = h.last, c
	}
	return h
}

func newSampler(m *Manager) *sampler {
	return &sampler{m: m, before: map[string]history{}, asked: map[string]asked{}, subs: map[chan StatsReport]Caller{}}
}

// Stats takes one sample of all running sandboxes that the caller may see. Rates
// are over the time since an earlier sample; where there was none lately, this
// takes another a quarter of a second later. It fails with [ErrUnavailable] when
// the Manager has closed and with the context's cause.
func (m *Manager) Stats(ctx context.Context, c Caller) (StatsReport, error) {
	s := m.sampler
	defer s.letGo()
	r := s.sample().seenBy(c)
	if !r.rated() {
		wait := time.NewTimer(statsFresh)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return StatsReport{}, context.Cause(ctx)
		case <-m.ctx.Done():
		}
		r = s.sample().seenBy(c)
	}
	if m.ctx.Err() != nil {
		return StatsReport{}, ErrUnavailable
	}
	return r, nil
}

// FollowStats gives a sample every second: the first at once, and where that
// can have no rates the second soon after it. A reader that is slow gets the
// newest and misses those before. The channel is closed when ctx ends and when
// the Manager closes. It fails with [ErrUnavailable] when it has closed.
func (m *Manager) FollowStats(ctx context.Context, c Caller) (<-chan StatsReport, error) {
	s := m.sampler
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrUnavailable
	}
	sub := make(chan StatsReport, 1)
	s.subs[sub] = c
	switch {
	case !s.running:
		s.running = true
		m.wg.Go(s.run)
	case m.now().Sub(s.last.Time) < 2*statsInterval:
		sub <- s.last.seenBy(c)
	}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drop(sub)
	})
	return sub, nil
}

// drop ends a subscription. The caller holds s.mu.
func (s *sampler) drop(sub chan StatsReport) {
	if _, ok := s.subs[sub]; ok {
		delete(s.subs, sub)
		close(sub)
	}
}

// close ends all subscriptions, and lets no more begin. The Manager's context
// has ended, and with it ends run.
func (s *sampler) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for sub := range s.subs {
		s.drop(sub)
	}
}

// run takes samples until nobody follows them any more.
func (s *sampler) run() {
	defer s.letGo()
	tick := time.NewTicker(statsInterval)
	defer tick.Stop()
	for first := true; ; first = false {
		report := s.sample()
		if !s.hand(report) {
			return
		}
		if first && !report.rated() {
			tick.Reset(statsFresh)
		}
		select {
		case <-tick.C:
			if first {
				tick.Reset(statsInterval)
			}
		case <-s.m.ctx.Done():
			s.mu.Lock()
			s.running = false
			s.mu.Unlock()
			return
		}
	}
}

// hand gives a sample to all who follow, in place of one that they have not
// taken yet. It is false when there is nobody: run is at its end then.
func (s *sampler) hand(r StatsReport) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub, c := range s.subs {
		select {
		case <-sub:
		default:
		}
		sub <- r.seenBy(c) // nobody else puts one in
	}
	s.running = len(s.subs) > 0
	return s.running
}

// letGo closes files, unless somebody follows: of a sample now and then they
// are not worth keeping.
func (s *sampler) letGo() {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if !running && s.m.opt.Meters != nil {
		s.m.opt.Meters.Keep(func(string) bool { return false })
	}
}

// sampleDue takes a sample of those that are due, for the recorder, unless there is
// one of all just now.
func (s *sampler) sampleDue(due func(id string, now time.Time) bool) {
	s.mu.Lock()
	fresh := s.running && s.m.now().Sub(s.last.Time) < 2*statsInterval
	s.mu.Unlock()
	if !fresh {
		s.sampleOf(due)
		s.letGo()
	}
}

// sample takes a sample of all running sandboxes, of every owner.
func (s *sampler) sample() StatsReport { return s.sampleOf(nil) }

// sampleOf is sample of those that are due; nil: of all.
func (s *sampler) sampleOf(due func(id string, now time.Time) bool) StatsReport {
	s.taking.Lock()
	defer s.taking.Unlock()
	s.m.mu.Lock()
	boxes := slices.Collect(maps.Values(s.m.boxes))
	s.m.mu.Unlock()
	r := StatsReport{Time: s.m.now().UTC(), Sandboxes: make([]Stats, 0, len(boxes))}
	if due != nil {
		boxes = slices.DeleteFunc(boxes, func(b *box) bool { return !due(b.id, r.Time) })
	}
	now := make(map[string]history, len(boxes))
	var quiet []*box
	for _, b := range boxes {
		st, ok := b.stats()
		if !ok {
			continue
		}
		if ok = s.measure(b, &st, now); !ok {
			continue
		}
		r.Sandboxes = append(r.Sandboxes, st)
		if due == nil && st.CPU < activeCPU && s.due(b, now[b.id].last) {
			quiet = append(quiet, b)
		}
	}
	s.m.recorder.take(r)
	if due != nil {
		maps.DeleteFunc(s.before, func(id string, h history) bool { return r.Time.Sub(h.last.at) > statsStale })
		maps.Copy(s.before, now)
		return r
	}
	s.before = now
	maps.DeleteFunc(s.asked, func(id string, _ asked) bool { _, ok := now[id]; return !ok })
	s.askTerminals(quiet, now)
	if s.m.opt.Meters != nil {
		s.m.opt.Meters.Keep(func(id string) bool { _, ok := now[id]; return ok })
	}
	slices.SortFunc(r.Sandboxes, func(a, b Stats) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	return r
}

// stats is the part of a sandbox's statistics that is known without looking;
// false when nothing of it runs.
func (b *box) stats() (Stats, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || b.run == nil || !b.state.Running() {
		return Stats{}, false
	}
	st := Stats{ID: b.id, Name: b.rec.Name, Owner: b.rec.Owner, Active: b.active.since(b.run.Started)}
	if b.clock != nil {
		st.Due = b.due(b.clock())
	}
	return st, true
}

// measure fills in the rest and notes in now what was counted. It is false when
// the sandbox ended meanwhile.
func (s *sampler) measure(b *box, st *Stats, now map[string]history) bool {
	var err error
	if st.Usage, err = s.usage(b.id); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		s.m.log.Debug("could not read statistics", "sandbox", b.id, "error", err)
		st.Usage.Missing = cgroup.Quantities()
	}
	for _, q := range st.Usage.Missing {
		st.Missing = append(st.Missing, string(q))
	}
	s.m.measureDisk(st)
	s.m.notice(b, st.Usage.OOMKills)
	c := counted{at: s.m.now(), cpu: st.Usage.CPU, read: st.Usage.IORead, write: st.Usage.IOWrite}
	if s.m.opt.NetworkCounter != nil {
		if rx, tx, ok := s.m.opt.NetworkCounter.Bytes(b.id); ok {
			c.netRx, c.netTx = rx, tx
		}
	}
	st.NetRx, st.NetTx = c.netRx, c.netTx
	st.GPUs = s.m.gpuUse(b.id)
	h := s.before[b.id].with(c)
	now[b.id] = h
	before := h.base
	d := c.at.Sub(before.at)
	if before.at.IsZero() || d <= 0 || d > statsStale {
		st.Missing = append(st.Missing, MissingRates)
		return true
	}
	st.CPU = grown(before.cpu, c.cpu) / float64(d)
	st.NetRxRate, st.NetTxRate = grown(before.netRx, c.netRx)/d.Seconds(), grown(before.netTx, c.netTx)/d.Seconds()
	st.IOReadRate, st.IOWriteRate = grown(before.read, c.read)/d.Seconds(), grown(before.write, c.write)/d.Seconds()
	if st.CPU >= activeCPU {
		b.active.touch(c.at)
		st.Active = c.at.UTC()
	}
	return true
}

func (s *sampler) usage(id string) (cgroup.Usage, error) {
	if s.m.opt.Meters == nil {
		return cgroup.Usage{}, cgroup.ErrUnavailable
	}
	return s.m.opt.Meters.Usage(id)
}

// grown is by how much a counter has grown. One that is smaller than before
// has begun anew: the sandbox was started again.
func grown[T ~int64](before, now T) float64 {
	if now < before {
		before = 0
	}
	return float64(now - before)
}
