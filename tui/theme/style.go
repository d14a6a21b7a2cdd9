package theme

import (
	"strconv"
	"strings"
)

// Color is a colour of the terminal's palette: 0 is the terminal's own
// default, [Index] gives the others. Palette colours follow the user's
// terminal theme, so they are readable on its background.
type Color int16

// Index is the palette colour n, 0 to 255.
func Index(n uint8) Color { return Color(n) + 1 }

// Attr is a set of text attributes.
type Attr uint8

// The attributes.
const (
	Bold Attr = 1 << iota
	Faint
	Underline
	Reverse
)

// Style is how text looks. The zero value is plain text.
type Style struct {
	Fg, Bg Color
	Attr   Attr
}

// Over returns s laid over base: its colours where it has some, the
// attributes of both. Cells of a selected row are painted this way, so that
// the row's look does not end at the first coloured cell.
func (s Style) Over(base Style) Style {
	if s.Fg == 0 {
		s.Fg = base.Fg
	}
	if s.Bg == 0 {
		s.Bg = base.Bg
	}
	s.Attr |= base.Attr
	return s
}

// With returns s with more attributes.
func (s Style) With(a Attr) Style {
	s.Attr |= a
	return s
}

// Paint returns text in the style; text must hold no escape sequences.
func (s Style) Paint(text string) string {
	if s == (Style{}) || text == "" {
		return text
	}
	var b strings.Builder
	s.Write(&b, text)
	return b.String()
}

// Write is [Style.Paint] into b.
func (s Style) Write(b *strings.Builder, text string) {
	if s == (Style{}) || text == "" {
		b.WriteString(text)
		return
	}
	var buf [32]byte
	b.Write(s.appendSGR(buf[:0]))
	b.WriteString(text)
	b.WriteString("\x1b[m")
}

func (s Style) appendSGR(b []byte) []byte {
	b = append(b, "\x1b["...)
	for i, code := range [...]byte{'1', '2', '4', '7'} {
		if s.Attr&(1<<i) != 0 {
			b = append(b, code, ';')
		}
	}
	b = appendColor(b, s.Fg, 30)
	b = appendColor(b, s.Bg, 40)
	b[len(b)-1] = 'm'
	return b
}

// appendColor appends the parameters of c and a semicolon; base is 30 for the
// foreground and 40 for the background.
func appendColor(b []byte, c Color, base int64) []byte {
	if c == 0 {
		return b
	}
	n := int64(c) - 1
	switch {
	case n < 8:
		b = strconv.AppendInt(b, base+n, 10)
	case n < 16:
		b = strconv.AppendInt(b, base+60+n-8, 10)
	default:
		b = strconv.AppendInt(b, base+8, 10)
		b = append(b, ";5;"...)
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ';')
}
