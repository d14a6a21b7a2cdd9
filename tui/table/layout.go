package table

import "slices"

// Column describes one column of a [Table].
type Column struct {
	Title string
	// Min and Max are its narrowest and widest useful widths in cells,
	// without the gap. Between them it takes what its cells need.
	Min, Max int
	// Good is the width up to which its cells get what they need before
	// columns that may leave get any room; 0 is Min.
	Good int
	// Flex marks columns that may grow over Max when there is room: each
	// takes a share of this weight.
	Flex int
	// Leaves says when the column gives way on a narrow screen: 0 never,
	// the highest first.
	Leaves int
	// Right aligns its cells, for numbers and ages.
	Right bool
	// Joined puts it right behind the column before it, without a gap: the
	// two are one for the eye, and leave apart.
	Joined bool
	// Optional takes it away where no row has anything in it.
	Optional bool
	// Sort names the order that a click on the title asks for; "" is none.
	Sort string
}

// gap is the empty cells before the column when it is not the first one shown.
func (c Column) gap() int {
	if c.Joined {
		return 0
	}
	return Gap
}

// Gap is the number of empty cells between two columns.
const Gap = 2

// Layout returns the width of each column in a space of width cells; 0 is a
// column that has left. need is what the widest cell of each column takes.
// Columns leave while the good widths do not fit; then each gets at most
// what it needs, those that need little first; then flexible ones share what
// is over.
func Layout(cols []Column, need []int, width int) []int {
	shown := make([]bool, len(cols))
	for i := range shown {
		shown[i] = true
	}
	start := make([]int, len(cols))
	for i, c := range cols {
		start[i] = max(c.Min, min(need[i], c.Good))
		if c.Optional && need[i] == 0 {
			shown[i] = false
		}
	}
	for total(cols, start, shown) > width {
		out := -1
		for i, c := range cols {
			if shown[i] && c.Leaves > 0 && (out < 0 || c.Leaves >= cols[out].Leaves) {
				out = i
			}
		}
		if out < 0 {
			break
		}
		shown[out] = false
	}
	if total(cols, start, shown) > width {
		for i, c := range cols {
			start[i] = c.Min
		}
	}
	widths := make([]int, len(cols))
	spare := width - total(cols, start, shown)
	flex := 0
	for i, c := range cols {
		if shown[i] {
			widths[i] = start[i]
			flex += c.Flex
		}
	}
	// A cell to each in turn: no column starves because another is greedy.
	for grown := true; grown && spare > 0; {
		grown = false
		for i, c := range cols {
			if shown[i] && spare > 0 && widths[i] < min(need[i], c.Max) {
				widths[i]++
				spare--
				grown = true
			}
		}
	}
	for i, c := range cols {
		if flex == 0 || spare <= 0 {
			break
		}
		if shown[i] && c.Flex > 0 {
			grow := spare * c.Flex / flex
			widths[i] += grow
			spare -= grow
			flex -= c.Flex
		}
	}
	if spare < 0 { // not even the columns that never leave fit
		for i := range slices.Backward(widths) {
			cut := min(-spare, max(0, widths[i]-1))
			widths[i] -= cut
			spare += cut
		}
	}
	return widths
}

// total is the width of the shown columns and their gaps.
func total(cols []Column, widths []int, shown []bool) int {
	n := 0
	for i, c := range cols {
		if shown[i] {
			if n > 0 {
				n += c.gap()
			}
			n += widths[i]
		}
	}
	return n
}
