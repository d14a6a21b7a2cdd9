// Package plot draws numbers as signs: sparklines of one line, bars, and graphs
// of several lines. It knows no colours: whoever draws paints them.
package plot

import (
	"math"
	"strings"
)

// Gap is a value that is not known: a blank is drawn for it.
func Gap() float64 { return math.NaN() }

// Spark draws the last w values as one line of w cells, the newest on the
// right, in the levels given from low to high. full is the value of the highest
// level; where it is not positive, everything is at the lowest. Values that are
// not there are blanks.
func Spark(levels string, values []float64, full float64, w int) string {
	steps := []rune(levels)
	if w < 1 || len(steps) == 0 {
		return ""
	}
	values = values[max(0, len(values)-w):]
	var b strings.Builder
	for range w - len(values) {
		b.WriteByte(' ')
	}
	for _, v := range values {
		if math.IsNaN(v) {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(steps[step(v, full, len(steps)-1)])
	}
	return b.String()
}

// step is the place of v in 0..most when full is at most; a value that is not
// nothing is above 0.
func step(v, full float64, most int) int {
	if v <= 0 || full <= 0 || math.IsNaN(full) {
		return 0
	}
	return max(min(int(math.Ceil(v/full*float64(most)-0.25)), most), 0)
}

// Bar is how many of w cells are filled when share of 1 is used: none only when
// share is nothing, and all only when it is everything.
func Bar(share float64, w int) int {
	switch {
	case w < 1 || !(share > 0):
		return 0
	case share >= 1:
		return w
	}
	n := int(math.Round(share * float64(w)))
	return max(min(n, w-1), min(1, w-1))
}

// Graph draws the last w values in h lines of w cells, the newest on the right.
// Every line has as many steps as there are levels.
func Graph(levels string, values []float64, full float64, w, h int) []string {
	steps := []rune(levels)
	if w < 1 || h < 1 || len(steps) == 0 {
		return nil
	}
	values = values[max(0, len(values)-w):]
	heights := make([]int, w) // in steps; -1 is a gap
	for i := range heights {
		heights[i] = -1
	}
	for i, v := range values {
		if !math.IsNaN(v) {
			// The lowest line always has a sign: a line of nothing is
			// still a line.
			heights[w-len(values)+i] = max(step(v, full, h*len(steps)), 1)
		}
	}
	lines := make([]string, h)
	var b strings.Builder
	for y := range lines {
		b.Reset()
		below := (h - 1 - y) * len(steps)
		for _, n := range heights {
			switch over := n - below; {
			case over <= 0:
				b.WriteByte(' ')
			default:
				b.WriteRune(steps[min(over, len(steps))-1])
			}
		}
		lines[y] = b.String()
	}
	return lines
}
