// Package table is a list of rows in columns. Rows have an identity: the
// selection and the marks follow a row's id when rows come, go or change their
// order, never its place. Columns shrink, grow and leave with the width. A row
// may have a second line. Only the rows in view are drawn.
package table

import (
	"iter"
	"slices"
	"strings"

	"cove/tui/text"
	"cove/tui/theme"
)

// Cell is one cell of a row. Texts are clean (see text.Clean).
type Cell struct {
	Text  string
	Style theme.Style
	// Short is shown where Text does not fit, if it is set.
	Short string
	// More follows Text in a look of its own, where both fit.
	More      string
	MoreStyle theme.Style
}

// Row is one row: as many cells as the table has columns.
type Row struct {
	ID    string
	Cells []Cell
	// Note is a second line below the row; "" is none.
	Note      string
	NoteStyle theme.Style
	// Dim draws the whole row as one that may no longer be true.
	Dim bool
}

// Table is the list. The zero value is not usable: see [New]. It belongs to
// one goroutine.
type Table struct {
	cols    []Column
	rows    []Row
	need    []int
	widths  []int
	w, h    int // cells; h includes the line of titles
	sel     int
	top     int // first row in view
	marked  func(id string) bool
	order   string
	upwards bool
}

// New returns an empty table with the columns.
func New(cols []Column) *Table {
	t := &Table{cols: cols, need: make([]int, len(cols)), marked: func(string) bool { return false }}
	t.layout()
	return t
}

// SetSize gives the table its place: w cells by h lines, the titles included.
func (t *Table) SetSize(w, h int) {
	if t.w == w && t.h == h {
		return
	}
	t.w, t.h = max(w, 0), max(h, 0)
	t.layout()
	t.follow()
}

// SetMarked says which rows are marked.
func (t *Table) SetMarked(marked func(id string) bool) { t.marked = marked }

// SetOrder says by which column's Sort the rows are in order, and whether the
// lowest is on top, for its title.
func (t *Table) SetOrder(sort string, upwards bool) { t.order, t.upwards = sort, upwards }

// SetRows replaces the rows, which are already in order. The selection stays
// on its row; when that one is gone, on the one that took its place.
func (t *Table) SetRows(rows []Row) {
	id := ""
	if t.sel < len(t.rows) {
		id = t.rows[t.sel].ID
	}
	t.rows = rows
	if i := t.index(id); i >= 0 {
		t.top += i - t.sel // what is above may have grown: the row stays where the eye is
		t.sel = i
	}
	clear(t.need)
	for i := range rows {
		for j := range rows[i].Cells {
			c := &rows[i].Cells[j]
			n := text.Width(c.Text)
			if c.More != "" {
				n += text.Width(c.More)
			}
			t.need[j] = max(t.need[j], n)
		}
	}
	for i, c := range t.cols {
		if c.Optional && t.need[i] == 0 {
			continue
		}
		t.need[i] = max(t.need[i], text.Width(c.Title))
		if c.Title != "" && c.Sort != "" {
			t.need[i] = max(t.need[i], text.Width(c.Title)+1) // for the arrow
		}
	}
	t.layout()
	t.follow()
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Selected returns the id of the selected row, "" when there is no row.
func (t *Table) Selected() string {
	if t.sel >= len(t.rows) {
		return ""
	}
	return t.rows[t.sel].ID
}

// All goes through the ids of all rows, in their order.
func (t *Table) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range t.rows {
			if !yield(t.rows[i].ID) {
				return
			}
		}
	}
}

// IDs returns the ids of all rows, in their order.
func (t *Table) IDs() []string { return slices.Collect(t.All()) }

// Between returns the ids of the rows from the one with the id to the selected
// one, both included; only the selected one when there is no such row.
func (t *Table) Between(id string) []string {
	if len(t.rows) == 0 {
		return nil
	}
	from := t.index(id)
	if from < 0 {
		from = t.sel
	}
	return t.IDs()[min(from, t.sel) : max(from, t.sel)+1]
}

// Select selects the row with the id, and tells whether there is one.
func (t *Table) Select(id string) bool {
	i := t.index(id)
	if i < 0 {
		return false
	}
	t.sel = i
	t.follow()
	return true
}

// Move moves the selection by n rows, as far as there are rows.
func (t *Table) Move(n int) {
	t.sel += n
	t.follow()
}

// First selects the first row, Last the last.
func (t *Table) First() { t.Move(-len(t.rows)) }

// Last selects the last row.
func (t *Table) Last() { t.Move(len(t.rows)) }

// Page is how many rows are in view at a time, at least 1.
func (t *Table) Page() int { return max(t.bottom()-t.top, 1) }

// InView returns the numbers of the first and the last row in view, from 1, and
// whether there are others.
func (t *Table) InView() (first, last int, more bool) {
	last = min(t.bottom(), len(t.rows))
	return min(t.top+1, last), last, last-t.top < len(t.rows)
}

// Scroll moves the view by n rows; the selection stays in view.
func (t *Table) Scroll(n int) {
	t.top += n
	t.clampTop()
	t.sel = min(max(t.sel, t.top), t.bottom()-1)
	t.follow()
}

// Click selects the row on line y of the table (0 is the titles), and tells
// whether there is one.
func (t *Table) Click(y int) bool {
	if y < 1 || y >= t.h {
		return false
	}
	for i, line := t.top, 1; i < len(t.rows); i++ {
		if line += t.height(i); y < line {
			t.sel = i
			t.follow()
			return true
		}
	}
	return false
}

// TitleAt returns the order that the title in cell x stands for, or "".
func (t *Table) TitleAt(x int) string {
	at := margin
	for i, w := range t.widths {
		if w == 0 {
			continue
		}
		if at > margin {
			at += t.cols[i].gap()
		}
		if x >= at && x < at+w {
			return t.cols[i].Sort
		}
		at += w
	}
	return ""
}

func (t *Table) index(id string) int {
	if id == "" {
		return -1
	}
	return slices.IndexFunc(t.rows, func(r Row) bool { return r.ID == id })
}

// height is the lines of row i.
func (t *Table) height(i int) int {
	if t.rows[i].Note != "" {
		return 2
	}
	return 1
}

// space is the lines for rows.
func (t *Table) space() int { return max(t.h-1, 1) }

// bottom is the row behind the last one whose first line is in view.
func (t *Table) bottom() int {
	i := t.top
	for used := 0; i < len(t.rows) && used < t.space(); i++ {
		used += t.height(i)
	}
	if i == len(t.rows) && i == t.top {
		return i + 1
	}
	return i
}

// follow keeps the selection a real row and in view, both its lines where that
// is possible.
func (t *Table) follow() {
	t.sel = max(0, min(t.sel, len(t.rows)-1))
	t.top = max(0, min(t.top, t.sel))
	if len(t.rows) > 0 {
		first, used := t.sel, t.height(t.sel)
		for first > 0 && used+t.height(first-1) <= t.space() {
			first--
			used += t.height(first)
		}
		t.top = max(t.top, first)
	}
	t.clampTop()
}

// clampTop lets no room below the last row stay empty while rows are above.
func (t *Table) clampTop() {
	last, used := len(t.rows), 0
	for last > 0 && used+t.height(last-1) <= t.space() {
		last--
		used += t.height(last)
	}
	if last == len(t.rows) {
		last = max(last-1, 0) // one row, higher than the space
	}
	t.top = max(0, min(t.top, last))
}

// margin is the space before the first column: the marker and a mark.
const margin = 2

func (t *Table) layout() { t.widths = Layout(t.cols, t.need, max(t.w-margin, 0)) }

// Lines draws the table: always h lines of exactly w cells. faded draws rows
// that may no longer be true.
func (t *Table) Lines(th *theme.Theme, faded bool) []string {
	lines := make([]string, 0, t.h)
	if t.h < 1 || t.w < 1 {
		return lines
	}
	var b strings.Builder
	b.Grow(t.w * 4)
	lines = append(lines, t.titles(&b, th))
	for i := t.top; i < len(t.rows) && len(lines) < t.h; i++ {
		lines = append(lines, t.line(&b, th, i, faded || t.rows[i].Dim))
		if t.rows[i].Note != "" && len(lines) < t.h {
			lines = append(lines, t.note(&b, th, i, faded || t.rows[i].Dim))
		}
	}
	for len(lines) < t.h {
		lines = append(lines, text.Spaces(t.w))
	}
	return lines
}

func (t *Table) titles(b *strings.Builder, th *theme.Theme) string {
	cells := make([]Cell, len(t.cols))
	for i, c := range t.cols {
		cells[i] = Cell{Text: c.Title, Style: th.Column}
		if c.Title != "" && c.Sort != "" && c.Sort == t.order {
			arrow := th.Glyphs.Descending
			if t.upwards {
				arrow = th.Glyphs.Ascending
			}
			cells[i].Text, cells[i].Style = c.Title+arrow, th.Column.With(theme.Underline)
		}
	}
	b.Reset()
	th.Column.Write(b, text.Spaces(min(margin, t.w)))
	t.cells(b, th, cells, th.Column)
	return b.String()
}

// base is the look below the cells of row i.
func (t *Table) base(th *theme.Theme, i int, faded bool) theme.Style {
	base := theme.Style{}
	if faded {
		base = th.Muted
	}
	if i == t.sel {
		base = th.Select
	}
	return base
}

func (t *Table) line(b *strings.Builder, th *theme.Theme, i int, faded bool) string {
	base := t.base(th, i, faded)
	b.Reset()
	head := " "
	if i == t.sel {
		head = th.Glyphs.Marker
	}
	if t.marked(t.rows[i].ID) {
		base.Write(b, text.Fit(head, min(1, t.w), ""))
		th.Mark.Over(base).Write(b, text.Fit(th.Glyphs.Mark, min(1, t.w-1), ""))
	} else {
		base.Write(b, text.Fit(head, min(margin, t.w), ""))
	}
	if faded {
		plain := make([]Cell, len(t.rows[i].Cells))
		for j, c := range t.rows[i].Cells {
			plain[j] = Cell{Text: c.Text, Short: c.Short, More: c.More}
		}
		t.cells(b, th, plain, base)
		return b.String()
	}
	t.cells(b, th, t.rows[i].Cells, base)
	return b.String()
}

func (t *Table) note(b *strings.Builder, th *theme.Theme, i int, faded bool) string {
	base := t.base(th, i, faded)
	style := t.rows[i].NoteStyle.Over(base)
	if faded {
		style = base
	}
	b.Reset()
	lead := text.Spaces(margin) + " " + th.Glyphs.Branch + " "
	lead = text.Cut(lead, t.w, "")
	base.Write(b, lead)
	style.Write(b, text.Fit(t.rows[i].Note, t.w-text.Width(lead), th.Glyphs.Ellipsis))
	return b.String()
}

// cells draws the cells of one line after the margin, to the table's width.
func (t *Table) cells(b *strings.Builder, th *theme.Theme, cells []Cell, base theme.Style) {
	used := min(margin, t.w)
	for i, w := range t.widths {
		if w == 0 || i >= len(cells) {
			continue
		}
		if used > margin {
			n := min(t.cols[i].gap(), t.w-used)
			base.Write(b, text.Spaces(n))
			used += n
		}
		w = min(w, t.w-used)
		t.cell(b, th, i, &cells[i], base, w)
		used += w
	}
	base.Write(b, text.Spaces(t.w-used))
}

// cell draws one cell in w cells of the screen.
func (t *Table) cell(b *strings.Builder, th *theme.Theme, col int, c *Cell, base theme.Style, w int) {
	style := c.Style.Over(base)
	s := c.Text
	if c.More != "" {
		n := text.Width(s) + text.Width(c.More)
		if n <= w {
			style.Write(b, s)
			c.MoreStyle.Over(base).Write(b, c.More)
			base.Write(b, text.Spaces(w-n))
			return
		}
	}
	// Numbers of one column are either all short or none.
	if c.Short != "" && (text.Width(s) > w || t.cols[col].Right && t.need[col] > w) {
		s = c.Short
	}
	fit := text.Fit
	if t.cols[col].Right {
		fit = text.FitRight
	}
	style.Write(b, fit(s, w, th.Glyphs.Ellipsis))
}
