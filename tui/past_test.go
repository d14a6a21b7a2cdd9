package tui

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
)

func TestResample(t *testing.T) {
	from := noon()
	at := func(minute int, span time.Duration, cpu float64) api.Sample {
		return api.Sample{Time: from.Add(time.Duration(minute) * time.Minute), Span: config.Duration(span), CPU: cpu, Memory: int64(cpu)}
	}
	cpu, memory := allSeries()[0], allSeries()[1]
	gap := math.NaN()
	equal := func(want, got []float64) {
		t.Helper()
		require.Len(t, got, len(want))
		for i := range want {
			if math.Abs(want[i]-got[i]) > 1e-9 || math.IsNaN(want[i]) != math.IsNaN(got[i]) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	}
	hour := from.Add(time.Hour)
	// Two of a minute each in a step of ten, one that lies over two steps, one
	// that is longer than a step, one before and one behind.
	samples := []api.Sample{at(-5, time.Minute, 9), at(1, time.Minute, 2), at(3, time.Minute, 4), at(12, 4*time.Minute, 6), at(40, 20*time.Minute, 1), at(90, time.Minute, 8)}
	equal([]float64{(2 + 4 + 6*2) / 4.0, 6, 1, 1, gap, gap}, resample(samples, from, hour, 6, cpu))
	equal([]float64{6, 6, 1, 1, gap, gap}, resample(samples, from, hour, 6, memory))
	equal([]float64{gap, gap}, resample(nil, from, hour, 2, cpu))
	equal(nil, resample(samples, from, from, 6, cpu))
	equal([]float64{5, gap}, resample([]api.Sample{at(1, 0, 5)}, from, hour, 2, cpu)) // no span is a moment
}

// Whatever the daemon tells, a graph has as many steps as it has room, and no
// value that was never there.
func TestResampleOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := noon()
		w := rapid.IntRange(0, 200).Draw(t, "w")
		span := time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "span"))
		var samples []api.Sample
		low, high := math.Inf(1), math.Inf(-1)
		for range rapid.IntRange(0, 50).Draw(t, "n") {
			s := api.Sample{Time: from.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(25*time.Hour)).Draw(t, "at"))),
				Span: config.Duration(rapid.Int64Range(-10, int64(2*time.Hour)).Draw(t, "for")), CPU: rapid.Float64Range(0, 64).Draw(t, "cpu")}
			samples = append(samples, s)
			low, high = min(low, s.CPU), max(high, s.CPU)
		}
		got := resample(samples, from, from.Add(span), w, allSeries()[0])
		if span >= time.Duration(max(w, 1)) {
			require.Len(t, got, w)
		}
		for _, v := range got {
			if !math.IsNaN(v) && (v < low-1e-9 || v > high+1e-9) {
				t.Fatalf("%v is not between %v and %v", v, low, high)
			}
		}
	})
}

func TestHistoryTab(t *testing.T) {
	m := limited(t, 120, 40)
	m.key("down", "down", "]", "]") // the trainer's
	m.see("[15m]")
	m.see("cpu       average ")
	m.see("memory    most ")
	m.see("gpu       average ")
	m.see("processes most ")
	m.see("11:45")
	m.see("started")
	m.key("-", "-")
	m.see("[6h]")
	m.see("06:00")
	m.see("11:46:00  stopped: it was idle")
	m.key("+", "+", "+", "+")
	m.see("[15m]")
	m.key("-", "-", "-", "-", "-")
	m.see("[24h]")
	m.key("G") // one that is stopped used nothing
	m.see("There is no sample of that")
	m.key("[", "-")
	m.see("only the History tab has a range of time")
	m.key("v", "-")
	m.see("v shows the details first")
}

// The past is asked for where it is shown, again when a graph could show a
// difference, and at once when the sandbox changed.
func TestHistoryIsAskedForSparingly(t *testing.T) {
	m := newModel(t, 120, 40, fleet(noon())...)
	asked := func() int { return m.app.past.gen }
	require.Equal(t, 0, asked(), "nothing runs that was measured")
	m.key("]", "]")
	require.Equal(t, 1, asked())
	m.see("[15m]")
	for range 19 { // seconds
		m.now = m.now.Add(time.Second / 2)
		m.send(tickMsg{})
	}
	require.Equal(t, 1, asked())
	m.now = m.now.Add(2 * time.Second)
	m.send(tickMsg{})
	require.Equal(t, 2, asked())
	b := fleet(noon())[0]
	b.State = lifecycle.Stopped
	m.fake.Put(b)
	m.sync()
	require.Equal(t, 3, asked())
	m.key("-")
	require.Equal(t, 4, asked())
	m.send(pastMsg{gen: 1, err: errors.New("late")})
	m.gone("late")
	m.send(pastMsg{gen: 4, err: errors.New("no such path")})
	m.see("no such path")
	m.now = m.now.Add(time.Minute)
	m.send(tickMsg{})
	m.gone("no such path")
}

// The graphs of a sandbox begin with what the daemon has kept, though nobody
// looked then.
func TestGraphsBeginWithThePast(t *testing.T) {
	m := newModel(t, 120, 40, fleet(noon())...)
	m.measure(3)
	values := m.app.meters.Of("a1").CPUs(nil, 100)
	require.AtLeast(t, len(values), 100)
	require.False(t, math.IsNaN(values[0]))
	asked := m.app.past.gen
	m.measure(3)
	m.key("down", "up")
	require.AtMost(t, m.app.past.gen, asked+1, "of each once")
	m.key("v", "v")
	require.AtMost(t, m.app.past.gen, asked+1)
}
