// Package meter remembers what sandboxes used: the newest sample of each, the
// average of the last few so that numbers and rows do not dance, and some
// minutes of history for graphs. It belongs to one goroutine.
package meter

import (
	"slices"
	"time"

	"cove/runtime/api"
	"cove/tui/plot"
)

const (
	// Depth is how many samples of a sandbox are remembered.
	Depth = 180
	// smooth is how many of them make the average: five seconds.
	smooth = 5
	// Fresh is how old the newest sample may be before it says nothing about
	// now anymore.
	Fresh = 4 * api.StatsInterval
)

// Set is the meters of all running sandboxes. The zero value is empty.
type Set struct {
	byID map[string]*Meter
	seen time.Time
}

// Meter is what one sandbox used.
type Meter struct {
	// Last is the newest sample.
	Last   api.Stats
	ring   [Depth]point
	n      int // points so far; the newest is ring[(n-1)%Depth]
	seen   time.Time
	slow   float64 // see Throttled
	seeded bool
}

type point struct {
	cpu, memory float32
	gap         bool
}

// Add takes a sample of all running sandboxes that came at now. Sandboxes that
// are not in it are forgotten: they run no more.
func (s *Set) Add(r api.StatsReport, now time.Time) {
	if s.byID == nil {
		s.byID = make(map[string]*Meter)
	}
	missed := 0
	if !s.seen.IsZero() {
		// Sample and clock are never quite in step: half an interval late is
		// not a gap.
		missed = min(max(int((now.Sub(s.seen)-api.StatsInterval/2)/api.StatsInterval), 0), Depth)
	}
	s.seen = now
	for i := range r.Sandboxes {
		st := &r.Sandboxes[i]
		m := s.byID[st.ID]
		if m == nil {
			m = &Meter{}
			s.byID[st.ID] = m
		}
		for range missed {
			if m.n > 0 {
				m.put(point{gap: true})
			}
		}
		m.throttle(st, now)
		m.Last, m.seen = *st, now
		m.put(point{cpu: float32(st.CPU), memory: float32(st.Memory)})
	}
	for id, m := range s.byID {
		if !m.seen.Equal(now) {
			delete(s.byID, id)
		}
	}
}

func (m *Meter) put(p point) {
	m.ring[m.n%Depth] = p
	m.n++
}

// Seen is when the newest sample came; zero when there was none.
func (s *Set) Seen() time.Time { return s.seen }

// Fresh tells whether the newest sample still says something about now.
func (s *Set) Fresh(now time.Time) bool { return !s.seen.IsZero() && now.Sub(s.seen) <= Fresh }

// Of returns the meter of the sandbox, or nil when none is known.
func (s *Set) Of(id string) *Meter { return s.byID[id] }

// Total is what all sandboxes together use: cores, and bytes.
func (s *Set) Total() (cpu float64, memory int64) {
	for _, m := range s.byID {
		cpu += m.CPU()
		memory += m.Last.Memory
	}
	return cpu, memory
}

// CPU is how many cores were used, on average, in the last five seconds.
func (m *Meter) CPU() float64 {
	sum, n := 0.0, 0
	for i := m.n - 1; i >= max(m.n-smooth, m.n-Depth, 0); i-- {
		p := m.ring[i%Depth]
		if p.gap {
			break
		}
		sum += float64(p.cpu)
		n++
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

// Lacks tells whether the host cannot tell the field, by its JSON name.
func (m *Meter) Lacks(field string) bool { return slices.Contains(m.Last.Missing, field) }

// CPUs appends the last n samples of the processor to out, in cores, the newest
// last; plot.Gap stands for a second that nobody saw.
func (m *Meter) CPUs(out []float64, n int) []float64 {
	return m.each(out, n, func(p point) float64 { return float64(p.cpu) })
}

// Memories is [Meter.CPUs] of the memory, in bytes.
func (m *Meter) Memories(out []float64, n int) []float64 {
	return m.each(out, n, func(p point) float64 { return float64(p.memory) })
}

func (m *Meter) each(out []float64, n int, of func(point) float64) []float64 {
	for i := max(m.n-n, m.n-Depth, 0); i < m.n; i++ {
		p := m.ring[i%Depth]
		if p.gap {
			out = append(out, plot.Gap())
			continue
		}
		out = append(out, of(p))
	}
	return out
}
