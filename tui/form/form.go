// Package form is questions on a screen: a column of fields of which one has
// the focus, with a word on each of how it stands. It scrolls when the screen
// is too small for it. What the answers mean is its owner's business; nothing
// here does IO, so that its methods may be called by Update and View.
package form

import (
	"slices"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// Field is one question.
type Field interface {
	// Key handles a key while the field has the focus; false leaves it to
	// the form.
	Key(k tea.KeyPressMsg) bool
	// Paste handles pasted text.
	Paste(s string)
	// Step moves by n lines inside the field, and tells whether there was
	// one to move to.
	Step(n int) bool
	// Enter is called when the focus comes: to the last line, where there is
	// room for more, or to the first, when the cursor comes down from above.
	Enter(last bool)
	// Click handles a click, in cells from the field's corner.
	Click(x, y int)
	// Draw draws the field in w cells.
	Draw(th *theme.Theme, w int, focused bool) Drawn
}

// Drawn is a field as it looks now.
type Drawn struct {
	// Lines are at least one, of at most the cells that were given.
	Lines []string
	// Cursor is where the terminal's cursor belongs, nil when nowhere.
	Cursor *dialog.Point
}

// Kind says what kind of thing a note says.
type Kind int

// The kinds of notes.
const (
	Plain Kind = iota // a word of help, shown while the field has the focus
	Good
	Warn
	Bad
	Fact // what is so now, shown always
)

// Note is what is to be said of a field's answer; the zero Note is nothing.
type Note struct {
	Kind Kind
	Text string
}

// Item is a field with its name in a form.
type Item struct {
	// ID is the owner's name of the field, Label the one that is shown.
	ID, Label string
	Field     Field

	note Note
}

// Form is the fields, in the order in which they are shown.
type Form struct {
	items []Item
	focus int
	top   int   // the first line shown
	rows  []row // what the lines drawn last belong to
	tall  int   // the most lines there have been
	label int   // cells of the labels drawn last
	keys  formKeys
}

// row is the place of one line: y is its line within the item's field, -1 when
// it is a note.
type row struct{ item, y int }

type formKeys struct{ next, previous, up, down key.Binding }

func on(keys ...string) key.Binding { return key.NewBinding(key.WithKeys(keys...)) }

// New returns a form whose first field has the focus.
func New(items ...Item) *Form {
	return &Form{items: items, keys: formKeys{next: on("tab"), previous: on("shift+tab"), up: on("up", "ctrl+p"), down: on("down", "ctrl+n")}}
}

// Focus is the id of the field with the focus.
func (f *Form) Focus() string { return f.items[f.focus].ID }

// FocusOn gives the focus to the field with the id.
func (f *Form) FocusOn(id string) {
	if i := f.find(id); i >= 0 && i != f.focus {
		f.focus = i
		f.items[i].Field.Enter(true)
	}
}

func (f *Form) find(id string) int {
	return slices.IndexFunc(f.items, func(it Item) bool { return it.ID == id })
}

// Say puts a note on the field with the id.
func (f *Form) Say(id string, n Note) {
	if i := f.find(id); i >= 0 {
		n.Text = text.Clean(n.Text)
		f.items[i].note = n
	}
}

// Said is the note on the field with the id.
func (f *Form) Said(id string) Note {
	if i := f.find(id); i >= 0 {
		return f.items[i].note
	}
	return Note{}
}

// FirstBad is the id of the first field with a bad note, "" when there is none.
func (f *Form) FirstBad() string {
	for _, it := range f.items {
		if it.note.Kind == Bad && it.note.Text != "" {
			return it.ID
		}
	}
	return ""
}

// Key handles a key, and tells whether the form has a use for it.
func (f *Form) Key(k tea.KeyPressMsg) bool {
	field := f.items[f.focus].Field
	switch {
	case field.Key(k):
	case key.Matches(k, f.keys.next):
		f.move(1)
	case key.Matches(k, f.keys.previous):
		f.move(-1)
	case key.Matches(k, f.keys.up):
		f.step(-1)
	case key.Matches(k, f.keys.down):
		f.step(1)
	default:
		return false
	}
	return true
}

// move moves the focus by one field, around the ends.
func (f *Form) move(n int) {
	f.focus = (f.focus + n + len(f.items)) % len(f.items)
	f.items[f.focus].Field.Enter(true)
}

// step moves by one line: within the field, or to the next one.
func (f *Form) step(n int) {
	if f.items[f.focus].Field.Step(n) {
		return
	}
	if to := f.focus + n; to >= 0 && to < len(f.items) {
		f.focus = to
		f.items[to].Field.Enter(n < 0)
	}
}

// Paste pastes into the field with the focus.
func (f *Form) Paste(s string) { f.items[f.focus].Field.Paste(s) }

// Scroll handles the wheel: it moves by a line, as the arrow keys do.
func (f *Form) Scroll(n int) { f.step(max(-1, min(n, 1))) }

// Click gives a click at the form's x, y to the field there, and the focus.
func (f *Form) Click(x, y int) {
	y += f.top
	if y < 0 || y >= len(f.rows) {
		return
	}
	r := f.rows[y]
	if r.item != f.focus {
		f.focus = r.item
		f.items[r.item].Field.Enter(false)
	}
	if r.y >= 0 {
		f.items[r.item].Field.Click(x-f.label, r.y)
	}
}

// marker is the cells before a label, for the sign of the focus.
const marker = 2

// Draw draws the form in w by h cells: at most h lines, scrolled so that the
// line with the cursor is among them.
func (f *Form) Draw(th *theme.Theme, w, h int) ([]string, *dialog.Point) {
	f.label = 0
	for _, it := range f.items {
		f.label = max(f.label, marker+text.Width(it.Label)+2)
	}
	f.label = min(f.label, w/2)
	p := painter{form: f, th: th, w: w}
	f.rows = f.rows[:0]
	for i := range f.items {
		p.item(i)
	}
	f.tall = max(f.tall, len(p.lines))
	// The whole of the field in view where it fits, its cursor in any case.
	f.top = max(0, min(f.top, len(p.lines)-h))
	if p.last >= f.top+h {
		f.top = p.last - h + 1
	}
	if p.first < f.top {
		f.top = p.first
	}
	if c := p.cursor; c != nil {
		f.top = min(max(f.top, c.Y-h+1), c.Y)
	}
	shown := p.lines[f.top:min(f.top+h, len(p.lines))]
	if p.cursor == nil {
		return shown, nil
	}
	return shown, &dialog.Point{X: p.cursor.X, Y: p.cursor.Y - f.top}
}

// Height is how many lines there are in all, as drawn last, and how many of
// them are above what was shown.
func (f *Form) Height() (all, above int) { return len(f.rows), f.top }

// Tall is the most lines there have been so far.
func (f *Form) Tall() int { return f.tall }

// painter draws the items one below the other.
type painter struct {
	form        *Form
	th          *theme.Theme
	w           int
	lines       []string
	first, last int // the lines of the field with the focus
	cursor      *dialog.Point
}

func (p *painter) item(i int) {
	f, it := p.form, &p.form.items[i]
	focused := i == f.focus
	room := max(p.w-f.label, 1)
	d := it.Field.Draw(p.th, room, focused)
	style, sign := p.th.Muted, text.Spaces(marker)
	if focused {
		style, sign = p.th.Key, text.Fit(p.th.Glyphs.Marker, marker, "")
		p.first = len(p.lines)
		if d.Cursor != nil {
			p.cursor = &dialog.Point{X: f.label + d.Cursor.X, Y: len(p.lines) + d.Cursor.Y}
		}
	}
	below := it.note.Text
	if it.note.Kind == Plain && !focused {
		below = ""
	}
	for y, l := range d.Lines {
		head := text.Spaces(f.label)
		if y == 0 {
			head = style.Paint(text.Fit(sign+it.Label, f.label, p.th.Glyphs.Ellipsis))
			if n := text.Width(l); len(d.Lines) == 1 && below != "" && n+2+text.Width(below) <= room {
				l += "  " + p.style(it.note.Kind).Paint(below)
				below = ""
			}
		}
		p.add(head+l, row{i, y})
	}
	if below != "" && (focused || it.note.Kind == Bad) {
		p.note(i, room, below)
	}
	if focused {
		p.last = len(p.lines) - 1
	}
}

// noteMost is how many lines a note may have.
const noteMost = 4

// narrow is the width below which notes begin at the left edge.
const narrow = 56

func (p *painter) note(i, room int, words string) {
	indent := p.form.label
	if p.w < narrow {
		indent = min(2*marker, p.w/2)
		room = p.w - indent
	}
	wrapped := text.Wrap(words, room)
	if len(wrapped) > noteMost {
		wrapped = wrapped[:noteMost]
		wrapped[noteMost-1] = text.Cut(wrapped[noteMost-1], room-1, "") + p.th.Glyphs.Ellipsis
	}
	for _, l := range wrapped {
		p.add(text.Spaces(indent)+p.style(p.form.items[i].note.Kind).Paint(l), row{i, -1})
	}
}

func (p *painter) add(line string, r row) {
	p.lines = append(p.lines, line)
	p.form.rows = append(p.form.rows, r)
}

func (p *painter) style(k Kind) theme.Style {
	switch k {
	case Good:
		return p.th.OK
	case Warn:
		return p.th.Warn
	case Bad:
		return p.th.Bad
	case Plain, Fact:
	}
	return p.th.Muted
}
