package sandbox

import (
	"context"
	"time"

	"cove/runtime/lifecycle"
)

// The freezer waits for a system call to end, and one write(2) may have two
// gigabytes, in each thread: what it does meanwhile nothing but its death ends.

const (
	// holdPatience is how long the guard waits for those that it freezes before it
	// looks again.
	holdPatience = 50 * time.Millisecond
	// evictLook is how often it is looked whether one that is to stand still does,
	// and evictAfter is what processor time it may take for that: the writing of
	// some 20 MB. One that waits for a disk takes none.
	evictLook  = 10 * time.Millisecond
	evictAfter = 20 * time.Millisecond
	// evictPart is what part of the reserve must be gone for it.
	evictPart = 4
)

// urge watches a sandbox that is being frozen, until still is closed. Where it works on
// while the reserve is being used up it is ended, and urge calls giveUp.
func (g *guard) urge(b *box, still <-chan struct{}, giveUp func()) {
	begin := g.cpuTimes([]*box{b})[b.id]
	tick := time.NewTicker(evictLook)
	defer tick.Stop()
	for {
		select {
		case <-still:
			return
		case <-tick.C:
		}
		_, reserve, room, err := g.measure()
		if err != nil || room >= -reserve/evictPart {
			continue
		}
		if now := g.cpuTimes([]*box{b})[b.id]; begin >= 0 && now >= 0 && g.m.opt.CPUTimer != nil && now-begin < evictAfter {
			continue
		}
		select {
		case <-still:
			return
		default:
		}
		g.m.evict(b)
		giveUp()
		return
	}
}

// evict ends a sandbox that writes on though it is held, by its PID 1: the rest goes
// with it. The end is met as any that nobody asked for.
func (m *Manager) evict(b *box) {
	b.mu.Lock()
	proc := b.proc
	b.evicted = proc != nil
	b.mu.Unlock()
	if proc == nil {
		return
	}
	m.log.Warn("a sandbox is ended: it writes on, with the host's disk nearly full", "sandbox", b.id)
	if err := proc.Kill(); err != nil {
		m.log.Error("could not end a sandbox", "sandbox", b.id, "error", err)
	}
}

// evictedReason is why one was ended that evict has ended, if it has.
func (b *box) evictedReason() (lifecycle.Reason, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.evicted
	b.evicted = false
	return lifecycle.Reason{Kind: lifecycle.ReasonDisk, Detail: "it wrote on and could not be held"}, was
}

// holdWithin is hold, and ends a sandbox that does not stand still in time.
func (g *guard) holdWithin(ctx context.Context, b *box, why string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	still := make(chan struct{})
	done := make(chan struct{})
	g.m.wg.Go(func() {
		defer close(done)
		g.urge(b, still, cancel)
	})
	err := g.m.hold(ctx, b, why)
	close(still)
	<-done
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.evicted {
		return nil
	}
	return err
}

// holdAll holds sandboxes beside the looking: it waits for them, but not for long,
// since others may write meanwhile.
func (g *guard) holdAll(boxes []*box, why string) {
	done := make(chan struct{})
	begin := time.Now()
	g.holding.Add(1)
	g.m.wg.Go(func() {
		defer close(done)
		err := eachBox(boxes, func(b *box) error { return g.holdWithin(g.m.ctx, b, why) })
		if left := g.holding.Add(-1); err != nil || left == 0 {
			g.tell("hold", err)
		}
		// There may be room by now, with one that was frozen after it was seen.
		if time.Since(begin) > holdPatience {
			g.poke()
		}
	})
	patience := time.NewTimer(holdPatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	}
}
