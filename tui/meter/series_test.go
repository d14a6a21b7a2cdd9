package meter

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/internal/require"
)

func TestResample(t *testing.T) {
	from := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	at := func(minute int, span time.Duration, cpu float64) api.Sample {
		return api.Sample{Time: from.Add(time.Duration(minute) * time.Minute), Span: config.Duration(span), CPU: cpu, Memory: int64(cpu)}
	}
	cpu, memory := AllSeries()[0], AllSeries()[1]
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
	equal([]float64{(2 + 4 + 6*2) / 4.0, 6, 1, 1, gap, gap}, cpu.Resample(samples, from, hour, 6))
	equal([]float64{6, 6, 1, 1, gap, gap}, memory.Resample(samples, from, hour, 6))
	equal([]float64{gap, gap}, cpu.Resample(nil, from, hour, 2))
	equal([]float64{6, 4, 2, gap, gap, gap}, cpu.Resample([]api.Sample{at(15, 10*time.Minute, 6), at(25, 10*time.Minute, 2)}, from, hour, 6))
	equal(nil, cpu.Resample(samples, from, from, 6))
	equal([]float64{5, gap}, cpu.Resample([]api.Sample{at(1, 0, 5)}, from, hour, 2)) // no span is a moment
}

// Whatever the daemon tells, a graph has as many steps as it has room, and no
// value that was never there.
func TestResampleOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
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
		got := AllSeries()[0].Resample(samples, from, from.Add(span), w)
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

func TestSummary(t *testing.T) {
	cpu := AllSeries()[0]
	mean, most := cpu.Summary([]api.Sample{{Span: config.Duration(10 * time.Second), CPU: 2}, {Span: config.Duration(30 * time.Second), CPU: 4}})
	require.Equal(t, 3.5, mean)
	require.Equal(t, 4.0, most)
	mean, most = cpu.Summary(nil)
	require.Equal(t, 0.0, mean+most)
}
