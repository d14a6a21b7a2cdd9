package meter

import (
	"time"

	"cove/runtime/api"
)

// waiting is the part of the time from which on it is told that a sandbox
// waits: less is in every busy program.
const waiting = 0.1

// throttle takes what part of the time since the sample before the limit kept
// the sandbox from running. It is smoothed: the kernel counts in periods of a
// tenth of a second, and a mark must not flicker.
func (m *Meter) throttle(st *api.Stats, now time.Time) {
	passed := now.Sub(m.seen).Seconds()
	more := st.CPUThrottled - m.Last.CPUThrottled
	if m.n == 0 || passed <= 0 || more < 0 { // the first one, or it was started anew
		m.slow = 0
		return
	}
	m.slow += (min(more/passed, 1) - m.slow) / 3
}

// Throttled is the part of the last seconds, 0 to 1, in which its limit kept the
// sandbox from running.
func (m *Meter) Throttled() float64 { return m.slow }

// Waits is what the sandbox waits for at least a tenth of the time, a letter
// each: c the processor or its limit, m memory, i disks; "" for nothing.
func (m *Meter) Waits() string {
	s := ""
	for _, w := range []struct {
		letter string
		part   float64
	}{{"c", max(m.Last.CPUPressure, m.slow)}, {"m", m.Last.MemoryPressure}, {"i", m.Last.IOPressure}} {
		if w.part >= waiting {
			s += w.letter
		}
	}
	return s
}
