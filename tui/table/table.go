// Package table is a list of rows in columns. Rows have an identity: the
// selection follows the row's id when rows come, go or change their order,
// never its place. Columns shrink, grow and leave with the width. Only the
// rows in view are drawn.
package table

import (
	"slices"
	"strings"

	"cove/tui/text"
	"cove/tui/theme"
)

// Cell is one cell of a row. Text is clean (see text.Clean).
type Cell struct {
	Text  string
	Style theme.Style
}

// Row is one row: as many cells as the table has columns.
type Row struct {
	ID    string
	Cells []Cell
}

// Table is the list. The zero value is not usable: see [New]. It belongs to
// one goroutine.
type Table struct {
	cols   []Column
	rows   []Row
	need   []int
	widths []int
	w, h   int // cells; h includes the line of titles
	sel    int
	top    int // first row in view
}

// New returns an empty table with the columns.
func New(cols []Column) *Table {
	t := &Table{cols: cols, need: make([]int, len(cols))}
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
	for i, c := range t.cols {
		t.need[i] = text.Width(c.Title)
	}
	for i := range rows {
		for j := range rows[i].Cells {
			t.need[j] = max(t.need[j], text.Width(rows[i].Cells[j].Text))
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
func (t *Table) Page() int { return max(t.h-1, 1) }

// InView returns the numbers of the first and the last row in view, from 1, and
// whether there are others.
func (t *Table) InView() (first, last int, more bool) {
	last = min(t.top+t.Page(), len(t.rows))
	return min(t.top+1, last), last, last-t.top < len(t.rows)
}

// Scroll moves the view by n rows; the selection stays in view.
func (t *Table) Scroll(n int) {
	t.top += n
	t.clampTop()
	t.sel = min(max(t.sel, t.top), t.top+t.Page()-1)
	t.follow()
}

// Click selects the row on line y of the table (0 is the titles), and tells
// whether there is one.
func (t *Table) Click(y int) bool {
	i := t.top + y - 1
	if y < 1 || y >= t.h || i >= len(t.rows) {
		return false
	}
	t.sel = i
	return true
}

func (t *Table) index(id string) int {
	if id == "" {
		return -1
	}
	return slices.IndexFunc(t.rows, func(r Row) bool { return r.ID == id })
}

// follow keeps the selection a real row and in view.
func (t *Table) follow() {
	t.sel = max(0, min(t.sel, len(t.rows)-1))
	t.top = max(min(t.top, t.sel), t.sel-t.Page()+1)
	t.clampTop()
}

// clampTop lets no room below the last row stay empty while rows are above.
func (t *Table) clampTop() { t.top = max(0, min(t.top, len(t.rows)-t.Page())) }

// margin is the space before the first column: the marker and a blank.
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
		lines = append(lines, t.line(&b, th, i, faded))
	}
	for len(lines) < t.h {
		lines = append(lines, text.Spaces(t.w))
	}
	return lines
}

func (t *Table) titles(b *strings.Builder, th *theme.Theme) string {
	cells := make([]Cell, len(t.cols))
	for i, c := range t.cols {
		cells[i].Text = c.Title
	}
	b.Reset()
	b.WriteString(text.Spaces(margin))
	t.cells(b, th, cells, theme.Style{})
	return th.Column.Paint(text.Fit(b.String(), t.w, ""))
}

func (t *Table) line(b *strings.Builder, th *theme.Theme, i int, faded bool) string {
	base, marker := theme.Style{}, " "
	if faded {
		base = th.Muted
	}
	if i == t.sel {
		base, marker = th.Select, th.Glyphs.Marker
	}
	b.Reset()
	base.Write(b, text.Fit(marker, min(margin, t.w), ""))
	if faded {
		plain := make([]Cell, len(t.rows[i].Cells))
		for j, c := range t.rows[i].Cells {
			plain[j].Text = c.Text
		}
		t.cells(b, th, plain, base)
		return b.String()
	}
	t.cells(b, th, t.rows[i].Cells, base)
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
			n := min(Gap, t.w-used)
			base.Write(b, text.Spaces(n))
			used += n
		}
		w = min(w, t.w-used)
		fit := text.Fit
		if t.cols[i].Right {
			fit = text.FitRight
		}
		cells[i].Style.Over(base).Write(b, fit(cells[i].Text, w, th.Glyphs.Ellipsis))
		used += w
	}
	base.Write(b, text.Spaces(t.w-used))
}
