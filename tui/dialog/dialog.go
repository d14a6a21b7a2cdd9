// Package dialog is what lies over the list: questions, messages, forms. A
// dialog gets keys while it is on top and draws itself as a box; the stack
// places the box in the middle of the screen.
package dialog

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"cove/tui/text"
	"cove/tui/theme"
)

// Dialog is one dialog. Its methods are called by the program's Update and
// View only, and do no IO: that is for the commands they return.
type Dialog interface {
	// ID names the kind of dialog.
	ID() string
	// Key handles a key. done closes the dialog; cmd may be nil.
	Key(k tea.KeyPressMsg) (done bool, cmd tea.Cmd)
	// Paste handles pasted text.
	Paste(s string) tea.Cmd
	// Click handles a click into the box, in cells from its corner.
	Click(x, y int) (done bool, cmd tea.Cmd)
	// Draw returns the content for a space of at most w by h cells.
	Draw(th *theme.Theme, w, h int) Content
}

// on binds keys, named as tea.Key.String writes them.
func on(keys ...string) key.Binding { return key.NewBinding(key.WithKeys(keys...)) }

// Content is what a dialog draws inside its border.
type Content struct {
	Title string
	// Lines hold no more than the cells they were given; shorter ones are
	// padded by the frame.
	Lines []string
	// Cursor is where the terminal's cursor belongs, from the content's
	// corner; nil hides it.
	Cursor *Point
}

// Point is a place in cells.
type Point struct{ X, Y int }

// The frame takes a border and a blank on each side, and a border above and below.
const (
	padX = 2
	padY = 1
)

// Stack is the open dialogs, the last one on top.
type Stack struct {
	open []Dialog
	// Where the top one was drawn last, for the mouse.
	x, y, w, h int
}

// Open puts d on top.
func (s *Stack) Open(d Dialog) { s.open = append(s.open, d) }

// Top returns the dialog on top, or nil.
func (s *Stack) Top() Dialog {
	if len(s.open) == 0 {
		return nil
	}
	return s.open[len(s.open)-1]
}

// Close closes d, wherever in the stack it is.
func (s *Stack) Close(d Dialog) {
	for i := range s.open {
		if s.open[i] == d {
			s.open = append(s.open[:i], s.open[i+1:]...)
			return
		}
	}
}

// Has tells whether d is open.
func (s *Stack) Has(d Dialog) bool {
	for _, o := range s.open {
		if o == d {
			return true
		}
	}
	return false
}

// Key gives the key to the top dialog and closes it when it is done.
func (s *Stack) Key(k tea.KeyPressMsg) tea.Cmd {
	d := s.Top()
	if d == nil {
		return nil
	}
	done, cmd := d.Key(k)
	if done {
		s.Close(d)
	}
	return cmd
}

// Click gives a click at the screen's x, y to the top dialog.
func (s *Stack) Click(x, y int) tea.Cmd {
	d := s.Top()
	if d == nil || x < s.x || y < s.y || x >= s.x+s.w || y >= s.y+s.h {
		return nil
	}
	done, cmd := d.Click(x-s.x-padX, y-s.y-padY)
	if done {
		s.Close(d)
	}
	return cmd
}

// Draw lays the top dialog over lines, which are w cells wide each, and
// returns where the cursor belongs on the screen, or nil.
func (s *Stack) Draw(th *theme.Theme, lines []string, w int) *Point {
	var cursor *Point
	for i, d := range s.open {
		if i > 0 { // what lies below steps back
			for j, l := range lines {
				lines[j] = th.Muted.Paint(ansi.Strip(l))
			}
		}
		cursor = s.draw(d, th, lines, w)
	}
	return cursor
}

// draw draws one dialog.
func (s *Stack) draw(d Dialog, th *theme.Theme, lines []string, w int) *Point {
	h := len(lines)
	c := d.Draw(th, max(w-2*padX, 1), max(h-2*padY, 1))
	inner := text.Width(c.Title) + 2
	for _, l := range c.Lines {
		inner = max(inner, text.Width(l))
	}
	inner = min(inner, max(w-2*padX, 1))
	s.w, s.h = min(inner+2*padX, w), min(len(c.Lines)+2*padY, h)
	s.x, s.y = (w-s.w)/2, max((h-s.h)/2, 0)
	for i, l := range frame(th, c, inner, s.h) {
		lines[s.y+i] = splice(lines[s.y+i], text.Cut(l, s.w, ""), s.x, s.w, w)
	}
	if c.Cursor == nil {
		return nil
	}
	return &Point{X: min(s.x+padX+c.Cursor.X, w-1), Y: min(s.y+padY+c.Cursor.Y, h-1)}
}

// frame draws the border around the content: h lines in all.
func frame(th *theme.Theme, c Content, inner, h int) []string {
	g := th.Glyphs
	bar := func(n int) string {
		s := ""
		for range n {
			s += g.Horizontal
		}
		return s
	}
	out := make([]string, 0, h)
	head := text.Cut(" "+c.Title+" ", inner, g.Ellipsis)
	out = append(out, th.Border.Paint(g.TopLeft+g.Horizontal)+th.Title.Paint(head)+
		th.Border.Paint(bar(inner+1-text.Width(head))+g.TopRight))
	side := th.Border.Paint(g.Vertical)
	for i := 0; i < len(c.Lines) && len(out) < h-1; i++ {
		out = append(out, side+" "+text.Fit(c.Lines[i], inner, g.Ellipsis)+" "+side)
	}
	if len(out) < h {
		out = append(out, th.Border.Paint(g.BottomLeft+bar(inner+2)+g.BottomRight))
	}
	return out
}

// splice puts box, bw cells wide, into line, w cells wide, at x. A wide
// character that the box cuts in half leaves a blank.
func splice(line, box string, x, bw, w int) string {
	left := text.Fit(ansi.Truncate(line, x, ""), x, "")
	right := ansi.TruncateLeft(line, x+bw, "")
	room := max(w-x-bw, 0)
	if n := text.Width(right); n < room {
		right = text.Spaces(room-n) + right
	} else if n > room {
		right = text.Spaces(1) + ansi.TruncateLeft(line, x+bw+1, "")
	}
	return left + "\x1b[m" + box + "\x1b[m" + right
}
