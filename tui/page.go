package tui

import (
	"slices"
	"strings"

	"cove/tui/text"
	"cove/tui/theme"
)

// page gathers the lines of a text with headings, and with values behind their
// names, for a width.
type page struct {
	th    *theme.Theme
	w     int
	lines []string
}

// nameWidth is the cells of the names before values.
const nameWidth = 10

// plain adds text, wrapped.
func (p *page) plain(st theme.Style, s string) {
	for _, l := range text.Wrap(text.CleanLines(s), p.w) {
		p.lines = append(p.lines, st.Paint(l))
	}
}

// air adds an empty line, unless there is one.
func (p *page) air() {
	if n := len(p.lines); n > 0 && p.lines[n-1] != "" {
		p.lines = append(p.lines, "")
	}
}

// head adds a heading.
func (p *page) head(s string) {
	p.air()
	p.lines = append(p.lines, p.th.Column.Paint(text.Cut(s, p.w, p.th.Glyphs.Ellipsis)))
}

// row adds a value behind its name, wrapped; an empty value adds nothing.
func (p *page) row(name, value string) { p.styled(name, p.th.Text, value) }

func (p *page) styled(name string, st theme.Style, value string) {
	if value == "" {
		return
	}
	for i, l := range text.Wrap(text.CleanLines(value), p.w-nameWidth) {
		if i > 0 {
			name = ""
		}
		p.lines = append(p.lines, p.th.Muted.Paint(text.Fit(name, nameWidth, p.th.Glyphs.Ellipsis))+st.Paint(l))
	}
}

// list is words with a dot between them.
func (p *page) list(words ...string) string {
	kept := slices.DeleteFunc(words, func(w string) bool { return w == "" })
	return strings.Join(kept, " "+p.th.Glyphs.Dot+" ")
}

// listed is [page.list] of as many words as fit in one line of values.
func (p *page) listed(words ...string) string {
	for n := len(words); n > 1; n-- {
		if s := p.list(slices.Clone(words[:n])...); text.Width(s) <= p.w-nameWidth {
			return s
		}
	}
	return words[0]
}
