package meter

import (
	"slices"
	"time"

	"cove/runtime/api"
)

// Seeded tells whether there is nothing to learn from what the daemon has kept
// of the time before the first sample.
func (m *Meter) Seeded() bool { return m.seeded || m.n >= Depth }

// Seed puts what the daemon has kept, the oldest first, before the first sample.
// It counts over longer spans: each second of one gets its average.
func (m *Meter) Seed(kept []api.Sample) {
	if m.Seeded() {
		m.seeded = true
		return
	}
	m.seeded = true
	live := make([]point, 0, m.n)
	for i := range m.n {
		live = append(live, m.ring[i%Depth])
	}
	m.n = 0
	for i := Depth - 1; i >= len(live); i-- {
		p, known := keptAt(kept, m.seen.Add(-time.Duration(i)*api.StatsInterval))
		if known || m.n > 0 { // it does not begin with a gap
			m.put(p)
		}
	}
	for _, p := range live {
		m.put(p)
	}
}

// keptAt is what was used at a time.
func keptAt(kept []api.Sample, t time.Time) (point, bool) {
	i, _ := slices.BinarySearchFunc(kept, t, func(s api.Sample, t time.Time) int { return s.Time.Compare(t) })
	if i == len(kept) || !t.After(kept[i].Time.Add(-kept[i].Span.Std())) {
		return point{gap: true}, false
	}
	return point{cpu: float32(kept[i].CPU), memory: float32(kept[i].Memory)}, true
}
