package meter

import (
	"math"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/tui/internal/require"
)

func report(cpu float64, ids ...string) api.StatsReport {
	var r api.StatsReport
	for _, id := range ids {
		r.Sandboxes = append(r.Sandboxes, api.Stats{ID: id, CPU: cpu, Memory: int64(cpu * 1000), Missing: []string{"net_rx"}})
	}
	return r
}

func at(second float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(second * float64(time.Second)))
}

func TestAverageOfFiveSeconds(t *testing.T) {
	var s Set
	require.Nil(t, s.Of("a"))
	require.False(t, s.Fresh(at(0)))
	for i, cpu := range []float64{100, 1, 2, 3, 4, 5} {
		s.Add(report(cpu, "a"), at(float64(i)))
	}
	m := s.Of("a")
	require.Equal(t, 3.0, m.CPU())
	require.Equal(t, 5.0, m.Last.CPU)
	require.Equal(t, []float64{4, 5}, m.CPUs(nil, 2))
	require.Equal(t, []float64{100, 1, 2, 3, 4, 5}, m.CPUs(nil, 99))
	require.Equal(t, []float64{5000}, m.Memories(nil, 1))
	require.True(t, m.Lacks("net_rx"))
	require.False(t, m.Lacks("cpu"))
	require.True(t, s.Fresh(at(9)))
	require.False(t, s.Fresh(at(9.1)))
	require.Equal(t, at(5), s.Seen())
}

func TestSecondsThatNobodySawAreGaps(t *testing.T) {
	var s Set
	s.Add(report(1, "a"), at(0))
	s.Add(report(2, "a"), at(1.4)) // late, not missing
	s.Add(report(3, "a", "b"), at(5))
	got := s.Of("a").CPUs(nil, 99)
	require.Len(t, got, 6)
	require.Equal(t, []float64{1, 2, 3}, []float64{got[0], got[1], got[5]})
	for _, v := range got[2:5] {
		require.True(t, math.IsNaN(v))
	}
	require.Equal(t, 3.0, s.Of("a").CPU(), "what was before a gap says nothing about now")
	require.Len(t, s.Of("b").CPUs(nil, 99), 1, "it was not there before")
	s.Add(report(4, "a"), at(100000))
	require.Len(t, s.Of("a").CPUs(nil, 10000), Depth)
}

func TestForgetsWhatRunsNoMore(t *testing.T) {
	var s Set
	s.Add(report(2, "a", "b"), at(0))
	cpu, memory := s.Total()
	require.Equal(t, 4.0, cpu)
	require.Equal(t, int64(4000), memory)
	s.Add(report(2, "b"), at(1))
	require.Nil(t, s.Of("a"))
	require.NotNil(t, s.Of("b"))
}

func TestKeepsNoMoreThanItsDepth(t *testing.T) {
	var s Set
	for i := range 3 * Depth {
		s.Add(report(float64(i), "a"), at(float64(i)))
	}
	all := s.Of("a").CPUs(nil, 10*Depth)
	require.Len(t, all, Depth)
	require.Equal(t, float64(2*Depth), all[0])
	require.Equal(t, float64(3*Depth-1), all[Depth-1])
}
