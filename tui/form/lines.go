package form

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// Lines is any number of lines, each an answer of its own: there is always an
// empty one at the end to type the next into. It begins with lines that stand
// there before anything is typed.
type Lines struct {
	// Instead is shown in an empty line.
	Instead string
	// Ghost is what a completion would add to the line of the cursor. Its
	// key takes it.
	Ghost string

	base    []string
	rows    []*dialog.Input
	touched bool
	cur     int
	most    int
	take    key.Binding
	right   key.Binding
}

// NewLines returns no lines; each may have most runes.
func NewLines(most int) *Lines {
	l := &Lines{most: most, take: on("tab", "ctrl+space"), right: on("right", "ctrl+e", "end")}
	l.Begin(nil)
	return l
}

// Begin sets the lines that stand there before anything is typed. Where the
// person has changed lines already, those stay.
func (l *Lines) Begin(base []string) {
	l.base = slices.Clone(base)
	if !l.touched {
		l.set(base)
	}
}

func (l *Lines) set(rows []string) {
	l.rows = l.rows[:0]
	for _, r := range rows {
		l.rows = append(l.rows, l.input(r))
	}
	l.rows = append(l.rows, l.input(""))
	l.cur = min(l.cur, len(l.rows)-1)
}

func (l *Lines) input(s string) *dialog.Input {
	in := dialog.NewInput(l.most)
	in.Set(s)
	return in
}

// Values are the lines that are not empty.
func (l *Lines) Values() []string {
	var out []string
	for _, r := range l.rows {
		if v := strings.TrimSpace(r.Value()); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// Base are the lines that stood there before anything was typed.
func (l *Lines) Base() []string { return l.base }

// Changed tells whether the lines are others than those before.
func (l *Lines) Changed() bool { return !slices.Equal(l.Values(), l.base) }

// Current is the text of the cursor's line, and whether the cursor is at its
// end, where a completion could add to it.
func (l *Lines) Current() (line string, atEnd bool) {
	in := l.rows[l.cur]
	return in.Value(), in.AtEnd()
}

// Key implements [Field].
func (l *Lines) Key(k tea.KeyPressMsg) bool {
	in := l.rows[l.cur]
	if l.Ghost != "" && in.AtEnd() && key.Matches(k, l.take, l.right) {
		in.Insert(l.Ghost)
		l.edited()
		return true
	}
	before := in.Value()
	if !in.Key(k) {
		return false
	}
	if in.Value() != before {
		l.edited()
	}
	return true
}

// edited keeps an empty line at the end.
func (l *Lines) edited() {
	l.touched, l.Ghost = l.Changed(), ""
	if l.rows[len(l.rows)-1].Value() != "" {
		l.rows = append(l.rows, l.input(""))
	}
}

// Paste implements [Field]: several lines are several answers.
func (l *Lines) Paste(s string) {
	for i, part := range strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if i > 0 {
			l.cur++
			l.rows = slices.Insert(l.rows, l.cur, l.input(""))
		}
		l.rows[l.cur].Insert(part)
		l.edited()
	}
}

// Step implements [Field]. A line that was left empty is no line anymore.
func (l *Lines) Step(n int) bool {
	to := l.cur + n
	if to < 0 || to >= len(l.rows) {
		l.tidy()
		return false
	}
	if l.cur < len(l.rows)-1 && l.rows[l.cur].Value() == "" {
		l.rows = slices.Delete(l.rows, l.cur, l.cur+1)
		if n > 0 {
			to--
		}
	}
	l.cur, l.Ghost = to, ""
	return true
}

func (l *Lines) tidy() {
	last := len(l.rows) - 1
	l.rows = append(slices.DeleteFunc(l.rows[:last:last], func(in *dialog.Input) bool { return in.Value() == "" }), l.rows[last])
	l.cur, l.Ghost = min(l.cur, len(l.rows)-1), ""
	// What is as it was before follows what stands there before.
	l.touched = l.Changed()
}

// Enter implements [Field].
func (l *Lines) Enter(last bool) {
	l.tidy()
	l.cur = 0
	if last {
		l.cur = len(l.rows) - 1
	}
}

// Click implements [Field].
func (l *Lines) Click(_, y int) {
	if y < len(l.rows) {
		l.cur, l.Ghost = y, ""
	}
}

// Draw implements [Field].
func (l *Lines) Draw(th *theme.Theme, w int, focused bool) Drawn {
	var d Drawn
	for i, in := range l.rows {
		switch {
		case focused && i == l.cur:
			line, x := drawInput(th, in, l.Instead, w, true)
			d.Cursor = &dialog.Point{X: x, Y: len(d.Lines)}
			line = withGhost(th, line, in, l.Ghost, w)
			d.Lines = append(d.Lines, line)
		case in.Value() != "":
			style := th.Strong
			if slices.Contains(l.base, in.Value()) {
				style = th.Text
			}
			d.Lines = append(d.Lines, style.Paint(text.Cut(in.Value(), w, th.Glyphs.Ellipsis)))
		case focused:
			d.Lines = append(d.Lines, th.Muted.Paint(text.Cut(l.Instead, w, th.Glyphs.Ellipsis)))
		}
	}
	if len(d.Lines) == 0 {
		d.Lines = []string{th.Muted.Paint("-")}
	}
	return d
}
