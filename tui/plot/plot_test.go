package plot

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cove/tui/internal/require"
	"cove/tui/text"
)

const blocks = "▁▂▃▄▅▆▇█"

func TestSpark(t *testing.T) {
	for _, c := range []struct {
		values []float64
		full   float64
		w      int
		want   string
	}{
		{nil, 1, 4, "    "},
		{[]float64{0, 0.5, 1}, 1, 5, "  ▁▅█"},
		{[]float64{9, 9, 0, 1}, 1, 2, "▁█"},
		{[]float64{5, -5}, 1, 2, "█▁"},
		{[]float64{0.01}, 1, 1, "▁"},
		{[]float64{0.1}, 1, 1, "▂"},
		{[]float64{1, Gap(), 1}, 1, 3, "█ █"},
		{[]float64{1, 2}, 0, 2, "▁▁"},
		{[]float64{1}, 1, 0, ""},
	} {
		require.Equal(t, c.want, Spark(blocks, c.values, c.full, c.w), "%v of %v", c.values, c.full)
	}
	require.Equal(t, "_#", Spark("_#", []float64{0, 1}, 1, 2))
	require.Equal(t, "", Spark("", []float64{0, 1}, 1, 2))
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		share float64
		w     int
		want  int
	}{
		{0, 8, 0}, {-1, 8, 0}, {math.NaN(), 8, 0}, {0.001, 8, 1}, {0.5, 8, 4}, {0.99, 8, 7}, {1, 8, 8}, {7, 8, 8}, {0.5, 1, 0}, {1, 1, 1}, {1, 0, 0},
	} {
		require.Equal(t, c.want, Bar(c.share, c.w), "%v of %d", c.share, c.w)
	}
}

func TestGraph(t *testing.T) {
	require.Equal(t, []string{"   ▄█", " ▁███"}, Graph(blocks, []float64{0, 0.5, 0.75, 1}, 1, 5, 2))
	require.Equal(t, []string{"█ █"}, Graph(blocks, []float64{1, Gap(), 3}, 1, 3, 1))
	require.Empty(t, Graph(blocks, []float64{1}, 1, 0, 1))
	require.Empty(t, Graph(blocks, []float64{1}, 1, 1, 0))
}

func TestPlotsFillTheirPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64(), 0, 50).Draw(t, "values")
		full := rapid.Float64().Draw(t, "full")
		w, h := rapid.IntRange(1, 60).Draw(t, "w"), rapid.IntRange(1, 9).Draw(t, "h")
		require.Equal(t, w, text.Width(Spark(blocks, values, full, w)))
		g := Graph(blocks, values, full, w, h)
		require.Len(t, g, h)
		for _, l := range g {
			require.Equal(t, w, text.Width(l))
		}
		n := Bar(full, w)
		require.True(t, n >= 0 && n <= w)
		require.False(t, strings.ContainsRune(Spark(blocks, nil, full, w), '▁'))
	})
}
