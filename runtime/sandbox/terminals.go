package sandbox

import (
	"context"
	"sync"
	"time"

	"cove/runtime/lifecycle"
)

// Terminals that nobody is attached to may be in use: an agent works and prints.
// Only PID 1 knows, and to ask it takes more than all else of a sample, so only
// a few are asked a second, and only those that can have something to tell: no
// terminal says anything without processor time.
const (
	// terminalGap is how long a sandbox's terminals are not asked again.
	terminalGap = 10 * time.Second
	// terminalCPU is what it must have used since: more than the answer takes.
	terminalCPU = 2 * time.Millisecond
	// terminalAsks is how many sandboxes are asked after one sample.
	terminalAsks = 8
	// terminalTimeout is what PID 1 gets to answer. One that does not is not
	// asked again for terminalBackoff.
	terminalTimeout = time.Second
	terminalBackoff = time.Minute
)

// asked is when a sandbox's terminals may be asked again, and what it had used
// when they were asked.
type asked struct {
	next time.Time
	cpu  time.Duration
}

// due tells whether the terminals of a sandbox that uses little should be asked.
// The caller holds s.taking.
func (s *sampler) due(b *box, c counted) bool {
	a := s.asked[b.id]
	if c.at.Before(a.next) || grown(a.cpu, c.cpu) < float64(terminalCPU) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state == lifecycle.Started && !b.frozen && b.held == "" // what is frozen does not answer
}

// askTerminals asks some of the sandboxes when their terminals were in use last,
// and does not wait for it. While an earlier round goes on there is none. The
// caller holds s.taking.
func (s *sampler) askTerminals(boxes []*box, now map[string]history) {
	boxes = boxes[:min(len(boxes), terminalAsks)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(boxes) == 0 || s.asking || s.closed {
		return
	}
	s.asking = true
	for _, b := range boxes {
		c := now[b.id].last
		s.asked[b.id] = asked{next: c.at.Add(terminalGap), cpu: c.cpu}
	}
	// Under the lock: the Manager waits for no more once it has closed this.
	s.m.wg.Go(func() {
		var wg sync.WaitGroup
		for _, b := range boxes {
			wg.Go(func() { s.askTerminal(b) })
		}
		wg.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking = false
	})
}

func (s *sampler) askTerminal(b *box) {
	ctx, cancel := context.WithTimeout(s.m.ctx, terminalTimeout)
	defer cancel()
	sessions, err := s.m.client(b.id).Sessions(ctx)
	now := s.m.now()
	if err != nil {
		s.taking.Lock()
		defer s.taking.Unlock()
		a := s.asked[b.id]
		a.next = now.Add(terminalBackoff)
		s.asked[b.id] = a
		return
	}
	for _, x := range sessions {
		// It is PID 1 that says so: nothing has happened in the future, nor
		// before there were such numbers.
		if x.Activity.Unix() > 0 && !x.Activity.After(now) {
			b.active.raise(x.Activity)
		}
	}
}
