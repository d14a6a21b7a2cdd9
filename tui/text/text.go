// Package text makes strings fit for a terminal: cleaned of everything that
// could act on it, cut and padded by the cells they occupy, wrapped, and ages
// in few letters. Widths are always those of x/ansi: counting runes shears
// columns as soon as a name is not plain ASCII.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Clean returns s as one line that cannot act on the terminal: escape
// sequences are removed, control characters and line ends become spaces,
// invisible and direction-changing characters (Unicode Cf, as in
// CVE-2021-42574) are dropped and broken UTF-8 becomes U+FFFD. What comes out
// of a sandbox, or through it, is shown only after this.
func Clean(s string) string { return clean(s, false) }

// CleanLines is [Clean] for text of several lines: line ends stay, tabs become
// four spaces.
func CleanLines(s string) string { return clean(s, true) }

func clean(s string, lines bool) string {
	if harmless(s) {
		return s
	}
	s = ansi.Strip(strings.ToValidUTF8(s, "\ufffd"))
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		switch {
		case lines && r == '\n':
			b.WriteByte('\n')
		case lines && r == '\t':
			b.WriteString("    ")
		case lines && r == '\r':
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			b.WriteByte(' ')
		case unicode.Is(unicode.Cf, r):
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// harmless tells whether s is printable ASCII only: nearly always.
func harmless(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Width is the number of cells that s occupies; escape sequences count nothing.
func Width(s string) int {
	if harmless(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// Fit returns s in exactly w cells: cut with tail at its end when it is too
// wide, padded with spaces when it is too narrow. A w below 1 gives "".
func Fit(s string, w int, tail string) string {
	if w < 1 {
		return ""
	}
	if n := Width(s); n > w {
		s = Cut(s, w, tail)
	}
	if n := Width(s); n < w {
		s += Spaces(w - n)
	}
	return s
}

// FitRight is [Fit] with the padding on the left.
func FitRight(s string, w int, tail string) string {
	if n := Width(s); n < w {
		return Spaces(w-n) + s
	}
	return Fit(s, w, tail)
}

// Cut returns s in at most w cells, its end replaced by tail when it was wider.
func Cut(s string, w int, tail string) string {
	switch {
	case w < 1:
		return ""
	case Width(s) <= w:
		return s
	case Width(tail) > w:
		return ansi.Truncate(s, w, "")
	}
	return ansi.Truncate(s, w, tail)
}

const blank = "                                                                                                                                "

// Spaces returns n spaces; none when n is not positive.
func Spaces(n int) string {
	switch {
	case n <= 0:
		return ""
	case n <= len(blank):
		return blank[:n]
	}
	return strings.Repeat(" ", n)
}

// Wrap breaks s into lines of at most w cells, at spaces where there are any.
// Empty lines stay; a w below 1 counts as 1.
func Wrap(s string, w int) []string {
	w = max(w, 1)
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		if Width(line) <= w {
			out = append(out, line)
			continue
		}
		for part := range strings.SplitSeq(ansi.Wrap(line, w, ""), "\n") {
			part = strings.TrimRight(part, " ")
			// A character wider than the line itself stays over: leave it out.
			if Width(part) > w {
				part = Cut(part, w, "")
			}
			out = append(out, part)
		}
	}
	return out
}
