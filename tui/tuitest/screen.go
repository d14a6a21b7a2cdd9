package tuitest

import (
	"image/color"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/vt"
)

// Screen is what a terminal shows at one moment.
type Screen struct {
	// Lines are the rows as text, blanks at their ends removed.
	Lines []string
	// X, Y is the cursor, Cursor whether it is shown.
	X, Y   int
	Cursor bool
	// Alt tells whether it is the alternate screen.
	Alt bool
	// Title is the window's.
	Title string

	cells [][]uv.Cell
}

// Text is the whole screen as lines.
func (s Screen) Text() string { return strings.Join(s.Lines, "\n") }

// Has tells whether the text is somewhere on the screen, in one line.
func (s Screen) Has(text string) bool {
	for _, l := range s.Lines {
		if strings.Contains(l, text) {
			return true
		}
	}
	return false
}

// Line returns the first line that holds the text, and its number; -1 when
// there is none.
func (s Screen) Line(text string) (string, int) {
	for i, l := range s.Lines {
		if strings.Contains(l, text) {
			return l, i
		}
	}
	return "", -1
}

// Style is the look of one cell in words, "" for a plain one: as "bold fg=10".
func (s Screen) Style(x, y int) string {
	if y < 0 || y >= len(s.cells) || x < 0 || x >= len(s.cells[y]) {
		return ""
	}
	st := s.cells[y][x].Style
	var words []string
	for _, a := range []struct {
		bit  uint8
		name string
	}{{uv.AttrBold, "bold"}, {uv.AttrFaint, "faint"}, {uv.AttrItalic, "italic"}, {uv.AttrReverse, "reverse"}} {
		if st.Attrs&a.bit != 0 {
			words = append(words, a.name)
		}
	}
	if st.Underline != 0 {
		words = append(words, "underline")
	}
	if st.Fg != nil {
		words = append(words, "fg="+colorName(st.Fg))
	}
	if st.Bg != nil {
		words = append(words, "bg="+colorName(st.Bg))
	}
	return strings.Join(words, " ")
}

// Styles is a map of the looks: for every line a letter for each cell, '.'
// for plain ones, and the meaning of the letters after them. Together with
// the text it says all that a golden file needs.
func (s Screen) Styles() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	names := map[string]byte{"": '.'}
	var order []string
	var b strings.Builder
	for y := range s.cells {
		row := make([]byte, len(s.cells[y]))
		for x := range row {
			name := s.Style(x, y)
			l, ok := names[name]
			if !ok {
				l = '?'
				if len(order) < len(letters) {
					l = letters[len(order)]
				}
				names[name] = l
				order = append(order, name)
			}
			row[x] = l
		}
		b.WriteString(strings.TrimRight(string(row), "."))
		b.WriteByte('\n')
	}
	for _, name := range order {
		b.WriteString(string(names[name]) + " = " + name + "\n")
	}
	return b.String()
}

// capture copies what the emulator shows now.
func capture(e *vt.Emulator, cursor bool, title string) Screen {
	w, h := e.Width(), e.Height()
	s := Screen{Lines: make([]string, h), Cursor: cursor, Alt: e.IsAltScreen(), Title: title, cells: make([][]uv.Cell, h)}
	p := e.CursorPosition()
	s.X, s.Y = p.X, p.Y
	var b strings.Builder
	for y := range h {
		s.cells[y] = make([]uv.Cell, w)
		b.Reset()
		for x := 0; x < w; {
			c := e.CellAt(x, y)
			if c == nil || c.Content == "" {
				b.WriteByte(' ')
				x++
				continue
			}
			s.cells[y][x] = *c
			b.WriteString(c.Content)
			for i := 1; i < c.Width && x+i < w; i++ {
				s.cells[y][x+i].Style = c.Style
			}
			x += max(c.Width, 1)
		}
		s.Lines[y] = strings.TrimRight(b.String(), " ")
	}
	return s
}

// Draw shows one frame, as a program's View gives it, on a screen of w by h.
func Draw(frame string, w, h int) Screen {
	e := vt.NewEmulator(w, h)
	e.SetScrollbackSize(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		drain(e, nil)
	}()
	_, _ = e.WriteString("\x1b[?7l" + strings.ReplaceAll(frame, "\n", "\r\n"))
	s := capture(e, false, "")
	endReplies(e)
	<-done
	return s
}

func colorName(c color.Color) string {
	if s, ok := c.(interface{ String() string }); ok {
		return s.String()
	}
	return hex(c)
}

func hex(c color.Color) string {
	const digits = "0123456789abcdef"
	r, g, b, _ := c.RGBA()
	out := []byte{'#'}
	for _, v := range []uint32{r >> 8, g >> 8, b >> 8} {
		out = append(out, digits[v>>4], digits[v&15])
	}
	return string(out)
}
