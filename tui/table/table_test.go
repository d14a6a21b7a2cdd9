package table

import (
	"fmt"
	"strings"
	"testing"

	"cove/tui/internal/require"
	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"cove/tui/theme"
)

func cols() []Column {
	return []Column{
		{Title: "NAME", Min: 8, Max: 20},
		{Title: "STATE", Min: 7, Max: 12},
		{Title: "AGE", Min: 4, Max: 6, Right: true, Leaves: 1},
		{Title: "IMAGE", Min: 6, Max: 40, Leaves: 2},
	}
}

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		width int
		need  []int
		want  []int
	}{
		{100, []int{10, 9, 3, 12}, []int{10, 9, 4, 12}},
		{100, []int{40, 30, 30, 60}, []int{20, 12, 6, 40}},
		{31, []int{9, 8, 5, 12}, []int{8, 7, 4, 6}},
		{35, []int{9, 8, 5, 12}, []int{9, 8, 5, 7}},
		{30, []int{9, 8, 5, 12}, []int{9, 8, 5, 0}},
		{18, []int{9, 8, 5, 12}, []int{9, 7, 0, 0}},
		{17, []int{9, 8, 5, 12}, []int{8, 7, 0, 0}},
		{10, []int{9, 8, 5, 12}, []int{7, 1, 0, 0}},
	} {
		require.Equal(t, c.want, Layout(cols(), c.need, c.width), "in %d", c.width)
	}
	flexible := cols()
	flexible[3].Flex, flexible[0].Flex = 2, 1
	require.Equal(t, []int{29, 9, 4, 52}, Layout(flexible, []int{10, 9, 3, 12}, 100))
}

func TestLayoutFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var cs []Column
		var need []int
		for range rapid.IntRange(1, 8).Draw(t, "columns") {
			lo := rapid.IntRange(1, 12).Draw(t, "min")
			cs = append(cs, Column{Min: lo, Max: rapid.IntRange(0, 40).Draw(t, "max"),
				Flex: rapid.IntRange(0, 3).Draw(t, "flex"), Leaves: rapid.IntRange(0, 4).Draw(t, "leaves")})
			need = append(need, rapid.IntRange(0, 60).Draw(t, "need"))
		}
		width := rapid.IntRange(0, 300).Draw(t, "width")
		sum, n, never := 0, 0, 0
		for i, w := range Layout(cs, need, width) {
			require.AtLeast(t, w, 0)
			if w > 0 {
				sum += w
				n++
			}
			if cs[i].Leaves == 0 {
				require.AtLeast(t, w, 1)
				never++
			}
		}
		if floor := never * (1 + Gap); width >= floor {
			require.AtMost(t, sum+max(n-1, 0)*Gap, width)
		}
	})
}

func named(names ...string) []Row {
	rows := make([]Row, len(names))
	for i, n := range names {
		rows[i] = Row{ID: n, Cells: []Cell{{Text: n}, {Text: "started", Style: theme.Style{Fg: theme.Index(2)}}, {Text: "3d"}, {Text: "host"}}}
	}
	return rows
}

func TestSelectionFollowsTheRow(t *testing.T) {
	tb := New(cols())
	tb.SetSize(60, 4)
	tb.SetRows(named("b", "d", "f"))
	require.Equal(t, "b", tb.Selected())
	tb.Move(1)
	require.Equal(t, "d", tb.Selected())
	tb.SetRows(named("a", "b", "c", "d", "e", "f"))
	require.Equal(t, "d", tb.Selected(), "rows came above it")
	tb.SetRows(named("f", "e", "d"))
	require.Equal(t, "d", tb.Selected(), "the order changed")
	tb.SetRows(named("f", "e"))
	require.Equal(t, "e", tb.Selected(), "it went: the last one is the nearest")
	tb.SetRows(nil)
	require.Equal(t, "", tb.Selected())
	tb.SetRows(named("x", "y"))
	require.Equal(t, "x", tb.Selected())
	require.False(t, tb.Select("nobody"))
	require.Equal(t, "x", tb.Selected())
	tb.Move(100)
	require.Equal(t, "y", tb.Selected())
}

func TestScrolling(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("n%02d", i))
	}
	tb := New(cols())
	tb.SetSize(60, 11)
	tb.SetRows(named(names...))
	th := theme.New(theme.Options{NoColor: true})
	see := func(first, last, selected string) {
		t.Helper()
		lines := tb.Lines(&th, false)
		require.Len(t, lines, 11)
		require.Contains(t, lines[1], first)
		require.Contains(t, lines[10], last)
		require.Equal(t, selected, tb.Selected())
	}
	see("n00", "n09", "n00")
	first, last, more := tb.InView()
	require.Equal(t, []int{1, 10}, []int{first, last})
	require.True(t, more)
	tb.Move(tb.Page())
	see("n01", "n10", "n10")
	tb.Last()
	see("n90", "n99", "n99")
	tb.Scroll(-20)
	see("n70", "n79", "n79")
	require.True(t, tb.Click(1))
	see("n70", "n79", "n70")
	require.False(t, tb.Click(0), "the titles are no row")
	require.False(t, tb.Click(11))
	tb.First()
	see("n00", "n09", "n00")
	tb.SetSize(60, 200)
	require.True(t, tb.Click(100))
	require.False(t, tb.Click(101), "there is no row")
	tb.Select("n50")
	tb.SetSize(60, 5)
	require.Contains(t, strings.Join(tb.Lines(&th, false), "\n"), "n50")
}

func TestSelectedRowIsReversedToItsEnd(t *testing.T) {
	tb := New(cols())
	tb.SetSize(40, 3)
	tb.SetRows(named("a", "b"))
	th := theme.New(theme.Options{})
	line := tb.Lines(&th, false)[1]
	require.Equal(t, 40, ansi.StringWidth(line))
	require.True(t, strings.HasPrefix(ansi.Strip(line), "> a "))
	for part := range strings.SplitSeq(strings.TrimSuffix(line, "\x1b[m"), "\x1b[m") {
		require.True(t, strings.HasPrefix(part, "\x1b[7"), "%q of %q is not reversed", part, line)
	}
}

func TestLinesAreAlwaysWhole(t *testing.T) {
	th := theme.New(theme.Options{})
	rapid.Check(t, func(t *rapid.T) {
		tb := New(cols())
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z日本🇩]{1,30}`), 0, 30, rapid.ID[string]).Draw(t, "names")
		tb.SetRows(named(names...))
		w, h := rapid.IntRange(0, 120).Draw(t, "w"), rapid.IntRange(0, 30).Draw(t, "h")
		tb.SetSize(w, h)
		tb.Move(rapid.IntRange(-5, 40).Draw(t, "move"))
		tb.Scroll(rapid.IntRange(-9, 9).Draw(t, "scroll"))
		lines := tb.Lines(&th, rapid.Bool().Draw(t, "faded"))
		if w < 1 || h < 1 {
			require.Empty(t, lines)
			return
		}
		require.Len(t, lines, h)
		for _, l := range lines {
			require.Equal(t, w, ansi.StringWidth(l), "%q", l)
		}
		if len(names) > 0 {
			require.In(t, names, tb.Selected())
		}
		if h > 1 && len(names) > 0 {
			require.Contains(t, strings.Join(lines, "\n"), th.Glyphs.Marker)
		}
	})
}

// noted is rows of which every second one has a second line.
func noted(n int) []Row {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("n%02d", i))
	}
	rows := named(names...)
	for i := 1; i < n; i += 2 {
		rows[i].Note = "note of " + rows[i].ID
	}
	return rows
}

func TestNotesAreSecondLines(t *testing.T) {
	tb := New(cols())
	tb.SetSize(60, 8)
	tb.SetRows(noted(10))
	th := theme.New(theme.Options{NoColor: true})
	plain := func() []string { return strings.Split(ansi.Strip(strings.Join(tb.Lines(&th, false), "\n")), "\n") }
	require.Contains(t, plain()[3], "└ note of n01")
	require.Contains(t, plain()[6], "└ note of n03")
	require.Contains(t, plain()[7], "n04")
	require.Equal(t, 5, tb.Page())
	require.True(t, tb.Click(3), "a click on the note is one on the row")
	require.Equal(t, "n01", tb.Selected())
	require.Contains(t, tb.Lines(&th, false)[3], "\x1b[7m", "the note of the selected row is selected too")
	tb.Select("n05") // both its lines come into view
	require.Contains(t, plain()[6], "note of n05")
	tb.Last()
	require.Contains(t, plain()[6], "note of n09")
	first, last, more := tb.InView()
	require.Equal(t, []int{7, 10}, []int{first, last})
	require.True(t, more)
	tb.SetSize(60, 2) // one line for a row of two
	require.Contains(t, plain()[1], "> n09")
	require.True(t, tb.Click(1))
	tb.First()
	require.Contains(t, plain()[1], "> n00")
}

func TestMarksStayOnTheirRows(t *testing.T) {
	tb := New(cols())
	tb.SetSize(60, 6)
	tb.SetRows(named("a", "b", "c"))
	tb.SetMarked(func(id string) bool { return id == "b" })
	th := theme.New(theme.Options{NoColor: true})
	line := func(i int) string { return ansi.Strip(tb.Lines(&th, false)[i]) }
	require.True(t, strings.HasPrefix(line(1), "> a"))
	require.True(t, strings.HasPrefix(line(2), " ◆b"))
	tb.SetRows(named("b", "c"))
	require.True(t, strings.HasPrefix(line(1), ">◆b"))
	require.Equal(t, []string{"b", "c"}, tb.IDs())
	tb.Last()
	require.Equal(t, []string{"b", "c"}, tb.Between("b"))
	require.Equal(t, []string{"c"}, tb.Between("gone"))
}

func TestJoinedOptionalAndShort(t *testing.T) {
	cs := []Column{
		{Title: "NAME", Min: 4, Good: 8, Max: 8, Sort: "name"}, {Title: "N", Min: 3, Max: 9, Right: true, Sort: "n"},
		{Min: 4, Max: 4, Joined: true, Leaves: 1, Sort: "n"}, {Title: "TAGS", Min: 6, Max: 9, Leaves: 2, Optional: true},
	}
	row := func(id, n, tag string) Row {
		return Row{ID: id, Cells: []Cell{{Text: id}, {Text: n + " of 9", Short: n}, {Text: "==", More: "--"}, {Text: tag}}}
	}
	th := theme.New(theme.Options{NoColor: true})
	draw := func(w int, rows ...Row) []string {
		tb := New(cs)
		tb.SetSize(w, len(rows)+1)
		tb.SetOrder("n", true)
		tb.SetRows(rows)
		return strings.Split(ansi.Strip(strings.Join(tb.Lines(&th, false), "\n")), "\n")
	}
	require.Equal(t, []string{"  NAME       N▲             ", "> ab     1 of 9==--         "}, draw(28, row("ab", "1", "")))
	require.Equal(t, []string{"  NAME       N▲      TAGS   ", "> ab     1 of 9==--  x      "}, draw(28, row("ab", "1", "x")))
	// All numbers of a column are short when one of them must be.
	require.Equal(t, []string{"  NAME    N▲   ", "> ab       1==--", "  ab       7==--"}[1:], draw(16, row("ab", "1", ""), row("ab", "7", ""))[1:])
	tb := New(cs)
	tb.SetSize(40, 3)
	tb.SetRows([]Row{row("ab", "1", "x")})
	require.Equal(t, "name", tb.TitleAt(2))
	require.Equal(t, "n", tb.TitleAt(12))
	require.Equal(t, "", tb.TitleAt(7))
	require.Equal(t, "", tb.TitleAt(39))
}
