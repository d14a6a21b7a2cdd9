package meter

import (
	"math"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/internal/require"
)

func TestSeed(t *testing.T) {
	start := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	var s Set
	for i := range 2 {
		s.Add(api.StatsReport{Sandboxes: []api.Stats{{ID: "a", CPU: 7, Memory: 70}}}, start.Add(time.Duration(i)*time.Second))
	}
	m := s.Of("a")
	require.False(t, m.Seeded())
	// Ten seconds that ended three before the first sample, and ten before a gap.
	m.Seed([]api.Sample{
		{Time: start.Add(-30 * time.Second), Span: config.Duration(10 * time.Second), CPU: 1, Memory: 10},
		{Time: start.Add(-3 * time.Second), Span: config.Duration(10 * time.Second), CPU: 2, Memory: 20},
	})
	require.True(t, m.Seeded())
	want := make([]float64, 0, 50)
	add := func(n int, v float64) {
		for range n {
			want = append(want, v)
		}
	}
	add(10, 1)
	add(17, math.NaN())
	add(10, 2)
	add(2, math.NaN())
	add(2, 7)
	got := m.CPUs(nil, Depth)
	require.Len(t, got, len(want))
	for i := range want {
		if got[i] != want[i] && !(math.IsNaN(got[i]) && math.IsNaN(want[i])) {
			t.Fatalf("at %d: %v, want %v\n%v", i, got[i], want[i], got)
		}
	}
	require.Equal(t, 20.0, m.Memories(nil, 5)[0])
	m.Seed([]api.Sample{{Time: start, Span: config.Duration(time.Minute), CPU: 99}})
	require.Len(t, m.CPUs(nil, Depth), len(want), "once")
}

func TestSeedOfNothing(t *testing.T) {
	var s Set
	s.Add(api.StatsReport{Sandboxes: []api.Stats{{ID: "a", CPU: 7}}}, time.Now())
	s.Of("a").Seed(nil)
	require.True(t, s.Of("a").Seeded())
	require.Equal(t, []float64{7}, s.Of("a").CPUs(nil, Depth))
}

func TestThrottled(t *testing.T) {
	var s Set
	now := time.Now()
	add := func(throttled float64) *Meter {
		now = now.Add(time.Second)
		s.Add(api.StatsReport{Sandboxes: []api.Stats{{ID: "a", CPUThrottled: throttled}}}, now)
		return s.Of("a")
	}
	require.Equal(t, 0.0, add(500).Throttled(), "the first says nothing of now")
	for i := range 20 {
		add(500 + float64(i)/2)
	}
	require.True(t, math.Abs(s.Of("a").Throttled()-0.5) < 0.01)
	require.Equal(t, "c", s.Of("a").Waits())
	require.Equal(t, 0.0, add(1).Throttled(), "it was started anew")
	require.Equal(t, "", s.Of("a").Waits())
}
