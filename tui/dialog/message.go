package dialog

import (
	"strconv"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/text"
	"cove/tui/theme"
)

// Message shows text that may be longer than the screen: an error with its
// whole chain, the help. It scrolls, and stays until it is closed.
type Message struct {
	id, title string
	body      func(th *theme.Theme, w int) []string
	keys      messageKeys
	text      string // what is copied
	copy      func(string) tea.Cmd
	copied    bool
	top       int
	page, len int // as drawn last
}

type messageKeys struct{ leave, up, down, pageUp, pageDown, first, last, copy key.Binding }

// NewMessage returns a message of plain text, wrapped to the screen.
func NewMessage(id, title, body string) *Message {
	body = text.CleanLines(body)
	m := NewPage(id, title, func(_ *theme.Theme, w int) []string { return text.Wrap(body, min(w, 96)) })
	m.text = body
	return m
}

// Copies gives the message a key that copies the whole of its text.
func (m *Message) Copies(copy func(string) tea.Cmd) *Message {
	m.copy = copy
	return m
}

// NewPage returns a message whose lines are made for the width they get, at
// most w cells each.
func NewPage(id, title string, lines func(th *theme.Theme, w int) []string) *Message {
	return &Message{id: id, title: title, body: lines, keys: messageKeys{
		leave: on("esc", "q", "enter", "?"), up: on("up", "k"), down: on("down", "j"),
		pageUp: on("pgup", "ctrl+b", "ctrl+u"), pageDown: on("pgdown", "ctrl+f", "ctrl+d", "space"),
		first: on("home", "g"), last: on("end", "G"), copy: on("y"),
	}}
}

// ID implements [Dialog].
func (m *Message) ID() string { return m.id }

// Key implements [Dialog].
func (m *Message) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	switch {
	case key.Matches(k, m.keys.leave):
		return true, nil
	case key.Matches(k, m.keys.copy) && m.copy != nil:
		m.copied = true
		return false, m.copy(m.text)
	case key.Matches(k, m.keys.up):
		m.scroll(-1)
	case key.Matches(k, m.keys.down):
		m.scroll(1)
	case key.Matches(k, m.keys.pageUp):
		m.scroll(-m.page)
	case key.Matches(k, m.keys.pageDown):
		m.scroll(m.page)
	case key.Matches(k, m.keys.first):
		m.scroll(-m.len)
	case key.Matches(k, m.keys.last):
		m.scroll(m.len)
	}
	return false, nil
}

// Scroll moves the text by n lines, for the wheel.
func (m *Message) Scroll(n int) tea.Cmd {
	m.scroll(n)
	return nil
}

func (m *Message) scroll(n int) { m.top = max(0, min(m.top+n, m.len-m.page)) }

// Paste implements [Dialog].
func (m *Message) Paste(string) tea.Cmd { return nil }

// Click implements [Dialog].
func (m *Message) Click(int, int) (bool, tea.Cmd) { return false, nil }

// Draw implements [Dialog].
func (m *Message) Draw(th *theme.Theme, w, h int) Content {
	all := m.body(th, w)
	foot := "esc closes"
	switch {
	case m.copied:
		foot = "copied, where the terminal allows it " + th.Glyphs.Dot + " " + foot
	case m.copy != nil:
		foot = "y copies " + th.Glyphs.Dot + " " + foot
	}
	m.len, m.page = len(all), min(len(all), max(h-2, 1))
	m.scroll(0)
	if m.page < m.len {
		foot = strconv.Itoa(m.top+1) + "-" + strconv.Itoa(m.top+m.page) + " of " + strconv.Itoa(m.len) +
			" " + th.Glyphs.Dot + " " + th.Glyphs.Up + " " + th.Glyphs.Down + " scroll " + th.Glyphs.Dot + " " + foot
	}
	lines := make([]string, 0, m.page+2)
	lines = append(lines, all[m.top:m.top+m.page]...)
	if len(lines)+2 <= h {
		lines = append(lines, "")
	}
	if len(lines) < h {
		lines = append(lines, th.Muted.Paint(text.Cut(foot, w, "")))
	}
	return Content{Title: m.title, Lines: lines}
}

// Scroller is a dialog that the wheel moves.
type Scroller interface {
	// Scroll moves the content by n lines.
	Scroll(n int) tea.Cmd
}
