package dialog

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/text"
	"cove/tui/theme"
)

// Menu is a short list of things to choose one of: by its letter, by the arrows
// and Enter, or by a click.
type Menu struct {
	title   string
	entries []Entry
	at      int
	keys    menuKeys
	top     int // first entry in view, as drawn last
}

// Entry is one line of a menu.
type Entry struct {
	Key, Title, About string // About may be empty
	Run               func() tea.Cmd
}

type menuKeys struct{ leave, up, down, press key.Binding }

// NewMenu returns a menu on whose line at the choice begins.
func NewMenu(title string, at int, entries ...Entry) *Menu {
	return &Menu{title: title, entries: entries, at: max(0, min(at, len(entries)-1)), keys: menuKeys{
		leave: on("esc", "q"), up: on("up", "shift+tab"), down: on("down", "tab"), press: on("enter"),
	}}
}

// ID implements [Dialog].
func (m *Menu) ID() string { return "menu" }

// Key implements [Dialog].
func (m *Menu) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	for _, e := range m.entries { // its letters are the menu's own, even j and k
		if e.Key == k.String() {
			return true, e.Run()
		}
	}
	switch {
	case key.Matches(k, m.keys.leave):
		return true, nil
	case key.Matches(k, m.keys.up), k.String() == "k":
		m.Scroll(-1)
	case key.Matches(k, m.keys.down), k.String() == "j":
		m.Scroll(1)
	case key.Matches(k, m.keys.press) && len(m.entries) > 0:
		return true, m.entries[m.at].Run()
	}
	return false, nil
}

// Scroll moves the choice by n lines.
func (m *Menu) Scroll(n int) tea.Cmd {
	m.at = max(0, min(m.at+n, len(m.entries)-1))
	return nil
}

// Paste implements [Dialog].
func (m *Menu) Paste(string) tea.Cmd { return nil }

// Click implements [Dialog].
func (m *Menu) Click(_, y int) (bool, tea.Cmd) {
	if i := m.top + y; y >= 0 && i < len(m.entries) {
		return true, m.entries[i].Run()
	}
	return false, nil
}

// Draw implements [Dialog].
func (m *Menu) Draw(th *theme.Theme, w, h int) Content {
	letters, titles, wide := 0, 0, 0
	for _, e := range m.entries {
		letters, titles = max(letters, text.Width(e.Key)), max(titles, text.Width(e.Title))
	}
	for _, e := range m.entries {
		wide = max(wide, 2+letters+2+titles+2+text.Width(e.About))
	}
	wide = min(wide, w)
	m.top = max(min(m.top, m.at), m.at-h+1, 0)
	var lines []string
	for i := m.top; i < len(m.entries) && len(lines) < h; i++ {
		e := m.entries[i]
		base, marker := theme.Style{}, "  "
		if i == m.at {
			base, marker = th.Select, th.Glyphs.Marker+" "
		}
		head := text.Fit(e.Key, letters+2, "")
		title := text.Fit(e.Title, min(titles+2, max(wide-2-letters-2, 0)), th.Glyphs.Ellipsis)
		rest := text.Fit(e.About, wide-2-text.Width(head)-text.Width(title), th.Glyphs.Ellipsis)
		lines = append(lines, base.Paint(marker)+th.Key.Over(base).Paint(head)+base.Paint(title)+th.Muted.Over(base).Paint(rest))
	}
	return Content{Title: m.title, Lines: lines}
}
