package tui

import (
	"slices"
	"strconv"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// helpView shows every action with its keys, its words on the command line and
// why it cannot run now; those that have what is typed, and all without it.
type helpView struct {
	entries   []helpEntry
	find      *dialog.Input
	keys      helpKeys
	top, page int // as drawn last
	lines     int
}

type helpEntry struct {
	keys                     []string
	title, help, cli, reason string
}

type helpKeys struct{ leave, close, up, down, pageUp, pageDown, first, last key.Binding }

// newHelp is the help of a place.
func newHelp(entries []helpEntry) *helpView {
	return &helpView{entries: entries, find: dialog.NewInput(60), keys: helpKeys{
		leave: on("esc"), close: on("enter", "ctrl+c"), up: on("up"), down: on("down"), pageUp: on("pgup", "ctrl+b"), pageDown: on("pgdown", "ctrl+f"),
		first: on("home"), last: on("end"),
	}}
}

// openHelp opens the help of the list. What it says is of the moment in which
// it is opened.
func (a *App) openHelp() {
	c := a.scope()
	var entries []helpEntry
	for i := range a.actions.Rows() {
		act := &a.actions.Rows()[i]
		e := helpEntry{keys: act.Keys.Keys(), title: act.Title, help: act.Help, reason: act.Reason(c)}
		if act.CLI != nil {
			e.cli = act.CLI(c)
		}
		entries = append(entries, e)
	}
	entries = append(entries, helpEntry{
		keys: []string{detachKey}, title: "detach",
		help: "In an attached shell: come back to the list. A second ctrl+] right after the first is given to the program.",
	})
	entries = append(entries, helpEntry{
		keys: []string{"WAIT"}, title: "column",
		help: "What programs of the sandbox wait for, at least a tenth of the last seconds: c the processor or their limit, m memory, i disks.",
	}, helpEntry{
		keys: []string{"NEXT"}, title: "column",
		help: "What the sandbox's automation does to it within the hour; the details say why.",
	})
	a.dialogs.Open(newHelp(entries))
}

// ID implements dialog.Dialog.
func (h *helpView) ID() string { return "help" }

// Key implements dialog.Dialog: what is no key of its own is typed to find.
func (h *helpView) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	switch {
	case key.Matches(k, h.keys.leave):
		if h.find.Value() == "" {
			return true, nil
		}
		h.find.Set("")
		h.top = 0
	case key.Matches(k, h.keys.close):
		return true, nil
	case key.Matches(k, h.keys.up):
		h.scroll(-1)
	case key.Matches(k, h.keys.down):
		h.scroll(1)
	case key.Matches(k, h.keys.pageUp):
		h.scroll(-h.page)
	case key.Matches(k, h.keys.pageDown):
		h.scroll(h.page)
	case key.Matches(k, h.keys.first):
		h.scroll(-h.lines)
	case key.Matches(k, h.keys.last):
		h.scroll(h.lines)
	default:
		before := h.find.Value()
		if h.find.Key(k); h.find.Value() != before {
			h.top = 0
		}
	}
	return false, nil
}

func (h *helpView) scroll(n int) { h.top = max(0, min(h.top+n, h.lines-h.page)) }

// Scroll implements dialog.Scroller.
func (h *helpView) Scroll(n int) tea.Cmd {
	h.scroll(n)
	return nil
}

// Paste implements dialog.Dialog.
func (h *helpView) Paste(s string) tea.Cmd {
	h.find.Insert(s)
	h.top = 0
	return nil
}

// Click implements dialog.Dialog.
func (h *helpView) Click(int, int) (bool, tea.Cmd) { return false, nil }

// found is the entries that have what was typed. A key by its name comes first.
func (h *helpView) found() []helpEntry {
	want := strings.TrimSpace(h.find.Value())
	if want == "" {
		return h.entries
	}
	var byKey, byWord []helpEntry
	words := strings.Fields(strings.ToLower(want))
	for _, e := range h.entries {
		all := strings.ToLower(e.title + " " + e.help + " " + e.cli + " " + strings.Join(e.keys, " "))
		switch {
		case slices.Contains(e.keys, want): // upper and lower case are two keys
			byKey = append(byKey, e)
		case !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(all, w) }):
			byWord = append(byWord, e)
		}
	}
	return append(byKey, byWord...)
}

// helpWidth is how wide the help is drawn at most.
const helpWidth = 84

// Draw implements dialog.Dialog.
func (h *helpView) Draw(th *theme.Theme, w, height int) dialog.Content {
	w = min(w, helpWidth)
	const label = "Find  "
	view, x := h.find.View(w - len(label))
	instead := ""
	if h.find.Value() == "" {
		instead = "a word or a key"
	}
	c := dialog.Content{Title: "Help", Cursor: &dialog.Point{X: len(label) + x}}
	field := th.Input.Paint(text.Fit(view, w-len(label), ""))
	if instead != "" {
		field = th.Muted.Over(th.Input).Paint(text.Fit(instead, w-len(label), ""))
	}
	c.Lines = append(c.Lines, label+field)
	var lines []string
	for _, e := range h.found() {
		lines = append(lines, e.draw(th, w)...)
	}
	if len(lines) == 0 {
		lines = []string{th.Muted.Paint(text.Fit("no action has that, and no key", w, th.Glyphs.Ellipsis))}
	}
	h.lines, h.page = len(lines), min(len(lines), max(height-2, 1))
	h.scroll(0)
	c.Lines = append(c.Lines, lines[h.top:h.top+h.page]...)
	foot := "esc closes"
	if h.page < h.lines {
		foot = strconv.Itoa(h.top+1) + "-" + strconv.Itoa(h.top+h.page) + " of " + strconv.Itoa(h.lines) + " " + th.Glyphs.Dot + " " +
			th.Glyphs.Up + " " + th.Glyphs.Down + " scroll " + th.Glyphs.Dot + " " + foot
	}
	if len(c.Lines) < height {
		c.Lines = append(c.Lines, th.Muted.Paint(text.Cut(foot, w, "")))
	}
	return c
}

// draw draws one action: its keys and title beside what they do, or above it
// where there is no room.
func (e *helpEntry) draw(th *theme.Theme, w int) []string {
	const keyWidth, titleWidth = 16, 12
	left := keyWidth + titleWidth
	if w < 60 {
		left = 2
	}
	var lines []string
	head := th.Key.Paint(text.Fit(text.Cut(keyNames(e.keys), keyWidth-1, th.Glyphs.Ellipsis), keyWidth, "")) + th.Strong.Paint(text.Fit(e.title, titleWidth, ""))
	if left == 2 {
		lines = append(lines, text.Cut(head, w, ""))
		head = ""
	}
	for _, s := range text.Wrap(e.help, w-left) {
		if head == "" {
			head = text.Spaces(left)
		}
		lines = append(lines, head+s)
		head = ""
	}
	if e.cli != "" {
		lines = append(lines, text.Spaces(left)+th.Muted.Paint(text.Cut("$ "+text.Clean(e.cli), w-left, th.Glyphs.Ellipsis)))
	}
	if e.reason != "" {
		for _, s := range text.Wrap("now: "+e.reason, w-left) {
			lines = append(lines, text.Spaces(left)+th.Warn.Paint(s))
		}
	}
	return lines
}

// keyNames writes keys for people: the first two, which is as many as anybody
// looks for.
func keyNames(keys []string) string { return strings.Join(keys[:min(len(keys), 2)], " ") }
