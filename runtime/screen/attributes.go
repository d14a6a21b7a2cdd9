package screen

import "strconv"

// color is a colour of text: 0 the default, 1<<24|n one of the 256, 2<<24|rgb
// any.
type color uint32

const (
	indexed color = 1 << 24
	direct  color = 2 << 24
)

// attributes are what SGR sets (ECMA-48 8.3.117, xterm, kitty).
type attributes struct {
	flags     uint16 // bit n: SGR n is in force, n from 1 to 9 without 4
	underline uint8  // 0 none, else the style: 1 single to 5 dashed
	overline  bool
	fg, bg    color
	line      color // of the underline
}

// set carries out an SGR.
func (a *attributes) set(l *lexer) {
	if l.n == 0 {
		*a = attributes{}
		return
	}
	for i := 0; i < l.count(); i++ {
		p := l.params[i]
		switch {
		case p == 0:
			*a = attributes{}
		case p == 4:
			a.underline = 1
			if i+1 < l.count() && l.colon&(1<<(i+1)) != 0 {
				i++
				a.underline = uint8(min(l.params[i], 5))
			}
		case p >= 1 && p <= 9:
			a.flags |= 1 << p
		case p == 21:
			a.underline = 2
		case p == 22:
			a.flags &^= 1<<1 | 1<<2
		case p == 23:
			a.flags &^= 1 << 3
		case p == 24:
			a.underline = 0
		case p == 25:
			a.flags &^= 1<<5 | 1<<6
		case p >= 27 && p <= 29:
			a.flags &^= 1 << (p - 20)
		case p >= 30 && p <= 37:
			a.fg = indexed | color(p-30)
		case p == 38:
			i = extended(l, i, &a.fg)
		case p == 39:
			a.fg = 0
		case p >= 40 && p <= 47:
			a.bg = indexed | color(p-40)
		case p == 48:
			i = extended(l, i, &a.bg)
		case p == 49:
			a.bg = 0
		case p == 53, p == 55:
			a.overline = p == 53
		case p == 58:
			i = extended(l, i, &a.line)
		case p == 59:
			a.line = 0
		case p >= 90 && p <= 97:
			a.fg = indexed | color(p-90+8)
		case p >= 100 && p <= 107:
			a.bg = indexed | color(p-100+8)
		}
		// Sub-parameters that nobody took.
		for i+1 < l.count() && l.colon&(1<<(i+1)) != 0 {
			i++
		}
	}
}

// extended reads the colour that follows parameter i and returns the last
// parameter it took: 38;5;N, 38;2;R;G;B, 38:5:N, 38:2:R:G:B and 38:2:SPACE:R:G:B.
func extended(l *lexer, i int, c *color) int {
	at := func(k int) color {
		if k >= l.count() {
			return 0
		}
		return color(l.params[k] & 0xff)
	}
	if i+1 >= l.count() {
		return i
	}
	colons := 0
	for k := i + 1; k < l.count() && l.colon&(1<<k) != 0; k++ {
		colons++
	}
	switch l.params[i+1] {
	case 5:
		*c = indexed | at(i+2)
		return max(i+2, i+colons)
	case 2:
		k := i + 2
		if colons >= 5 {
			k++
		}
		*c = direct | at(k)<<16 | at(k+1)<<8 | at(k+2)
		return max(k+2, i+colons)
	}
	return i + 1
}

// append appends the SGR that sets a, from whatever is set.
func (a *attributes) append(b []byte) []byte {
	b = append(b, "\x1b[0"...)
	for n := 1; n <= 9; n++ {
		if a.flags&(1<<n) != 0 {
			b = append(b, ';', byte('0'+n))
		}
	}
	switch {
	case a.underline == 1:
		b = append(b, ";4"...)
	case a.underline > 1:
		b = append(b, ";4:"...)
		b = append(b, '0'+a.underline)
	}
	if a.overline {
		b = append(b, ";53"...)
	}
	b = appendColor(b, 38, a.fg)
	b = appendColor(b, 48, a.bg)
	b = append(b, 'm')
	if a.line != 0 {
		// On its own, because not all terminals know it.
		b = append(appendColor(append(b, "\x1b["...), 58, a.line), 'm')
	}
	return b
}

func appendColor(b []byte, base int64, c color) []byte {
	num := func(n int64) { b = strconv.AppendInt(b, n, 10) }
	if c != 0 && b[len(b)-1] != '[' {
		b = append(b, ';')
	}
	switch c &^ (1<<24 - 1) {
	case indexed:
		n := int64(c & 0xff)
		switch {
		case base != 58 && n < 8:
			num(base - 8 + n)
		case base != 58 && n < 16:
			num(base + 52 + n - 8)
		default:
			num(base)
			b = append(b, ";5;"...)
			num(n)
		}
	case direct:
		num(base)
		b = append(b, ";2;"...)
		num(int64(c >> 16 & 0xff))
		b = append(b, ';')
		num(int64(c >> 8 & 0xff))
		b = append(b, ';')
		num(int64(c & 0xff))
	}
	return b
}
