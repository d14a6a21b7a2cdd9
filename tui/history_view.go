package tui

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// historyView is the dialog that shows the history: the latest on top, one
// line each, all that is typed after / left out that does not have it.
type historyView struct {
	app    *App
	keys   historyKeys
	find   *dialog.Input
	typing bool
	at     int // the number of the entry selected; 0: the latest
	top    int
	page   int
	first  int // the line of the first entry, as drawn last
	copied bool
}

type historyKeys struct {
	leave, up, down, pageUp, pageDown, first, last, find, done, open, copy, help key.Binding
}

func newHistoryKeys() historyKeys {
	helped := func(b key.Binding, what string) key.Binding {
		b.SetHelp(b.Keys()[0], what)
		return b
	}
	return historyKeys{
		leave: helped(on("esc", "q", "a", "6"), "close"), up: on("up", "k"), down: on("down", "j"),
		pageUp: on("pgup", "ctrl+b", "ctrl+u"), pageDown: on("pgdown", "ctrl+f", "ctrl+d", "space"),
		first: on("home", "g"), last: on("end", "G"), find: helped(on("/"), "filter"), done: on("enter"),
		open: helped(on("enter", "e"), "all of it"), copy: helped(on("y"), "copy"), help: helped(on("?"), "help"),
	}
}

func (a *App) openHistory() {
	a.dialogs.Open(&historyView{app: a, keys: newHistoryKeys(), find: dialog.NewInput(100)})
}

// ID implements dialog.Dialog.
func (h *historyView) ID() string { return "activity" }

// entries is the help of the keys.
func (k historyKeys) entries() []helpEntry {
	e := func(b key.Binding, title, help string) helpEntry {
		return helpEntry{keys: b.Keys(), title: title, help: help}
	}
	return []helpEntry{
		e(k.open, "all of it", "Show the whole of the entry: with why it failed, and its command line."),
		e(k.copy, "copy", "Copy the whole of the entry."),
		e(k.find, "filter", "Leave out all that does not have the words that are typed: of what was done, its command line, its result (ok, failed), who (you, daemon)."),
		e(k.up, "up", "The entry above, a later one."), e(k.down, "down", "The entry below."),
		e(k.pageUp, "page up", "A screen up."), e(k.pageDown, "page down", "A screen down."),
		e(k.first, "first", "The latest entry."), e(k.last, "last", "The oldest one that is kept."),
		e(k.leave, "close", "Back to the list; with a filter, without it first."),
	}
}

// shown is the entries that have what was typed.
func (h *historyView) shown() []entry {
	all := h.app.history.entries()
	want := strings.Fields(strings.ToLower(h.find.Value()))
	if len(want) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(e entry) bool {
		words := strings.ToLower(e.who() + " " + e.result() + " " + e.what + " " + e.cli + " " + e.fault)
		return slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(words, w) })
	})
}

// index is where the selected entry is among those shown.
func (h *historyView) index(shown []entry) int {
	if h.at == 0 {
		return 0
	}
	for i, e := range shown {
		if e.num <= h.at {
			return i
		}
	}
	return max(len(shown)-1, 0)
}

func (h *historyView) move(n int) {
	shown := h.shown()
	if len(shown) == 0 {
		return
	}
	i := max(0, min(h.index(shown)+n, len(shown)-1))
	h.at, h.copied = shown[i].num, false
	if i == 0 {
		h.at = 0 // goes with the latest
	}
}

// Key implements dialog.Dialog.
func (h *historyView) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	if h.typing {
		h.typed(k)
		return false, nil
	}
	switch {
	case key.Matches(k, h.keys.leave):
		if h.find.Value() != "" && k.String() == "esc" {
			h.find.Set("")
			return false, nil
		}
		return true, nil
	case key.Matches(k, h.keys.help):
		h.app.dialogs.Open(newHelp(h.keys.entries()))
	case key.Matches(k, h.keys.find):
		h.typing = true
	case key.Matches(k, h.keys.up):
		h.move(-1)
	case key.Matches(k, h.keys.down):
		h.move(1)
	case key.Matches(k, h.keys.pageUp):
		h.move(-h.page)
	case key.Matches(k, h.keys.pageDown):
		h.move(h.page)
	case key.Matches(k, h.keys.first):
		h.at = 0
	case key.Matches(k, h.keys.last):
		h.move(historyMost)
	case key.Matches(k, h.keys.open):
		if shown := h.shown(); len(shown) > 0 {
			h.app.showText("Activity", shown[h.index(shown)].whole(h.app.now.Location()))
		}
	case key.Matches(k, h.keys.copy):
		if shown := h.shown(); len(shown) > 0 {
			h.copied = true
			return false, h.app.copy("the entry", shown[h.index(shown)].whole(h.app.now.Location()))
		}
	}
	return false, nil
}

// typed handles a key of the filter.
func (h *historyView) typed(k tea.KeyPressMsg) {
	switch {
	case key.Matches(k, h.keys.done):
		h.typing = false
	case k.String() == "esc":
		h.find.Set("")
		h.typing = false
	case h.find.Key(k):
		h.at = 0
	case k.String() == "up", k.String() == "down":
		h.typing = false
	}
}

// Paste implements dialog.Dialog.
func (h *historyView) Paste(s string) tea.Cmd {
	if h.typing {
		h.find.Insert(s)
	}
	return nil
}

// Click implements dialog.Dialog: it selects, and opens what is selected.
func (h *historyView) Click(_, y int) (bool, tea.Cmd) {
	shown := h.shown()
	i := h.top + y - h.first
	if y < h.first || y >= h.first+h.page || i >= len(shown) {
		return false, nil
	}
	if i == h.index(shown) {
		h.app.showText("Activity", shown[i].whole(h.app.now.Location()))
		return false, nil
	}
	h.at = shown[i].num
	return false, nil
}

// Scroll implements dialog.Scroller.
func (h *historyView) Scroll(n int) tea.Cmd {
	h.move(n)
	return nil
}

func (e *entry) who() string {
	if e.mine {
		return "you"
	}
	return "daemon"
}

// result is how it ended, in a word or two.
func (e *entry) result() string {
	switch {
	case !e.mine:
		return ""
	case e.fault != "":
		return "failed"
	}
	return "ok " + took(e.took)
}

// took is a span of time to the tenth of a second.
func took(d time.Duration) string {
	if d < time.Minute {
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', 1, 64) + "s"
	}
	return text.Age(d)
}

// whole is all there is to say of it.
func (e *entry) whole(zone *time.Location) string {
	s := e.at.In(zone).Format(time.DateTime) + "  " + e.who() + "  " + e.result() + "\n" + e.what
	if e.fault != "" {
		return s + "\n\n" + e.fault // ends with the command line
	}
	if e.cli != "" {
		s += "\n\n$ " + e.cli
	}
	return s
}

// Draw implements dialog.Dialog: it takes the whole screen.
func (h *historyView) Draw(th *theme.Theme, w, height int) dialog.Content {
	shown := h.shown()
	i := h.index(shown)
	c := dialog.Content{Title: "Activity"}
	h.first = 0
	if h.typing || h.find.Value() != "" {
		h.first = 1
		view, x := h.find.View(w - 2)
		c.Lines = append(c.Lines, th.Key.Paint("/ ")+th.Input.Paint(text.Fit(view, w-2, "")))
		if h.typing {
			c.Cursor = &dialog.Point{X: 2 + x}
		}
	}
	h.page = max(height-h.first-1, 1)
	h.top = max(min(h.top, i), i-h.page+1)
	h.top = max(0, min(h.top, len(shown)-h.page))
	for n := h.top; n < min(h.top+h.page, len(shown)); n++ {
		c.Lines = append(c.Lines, h.line(th, &shown[n], w, n == i))
	}
	if len(shown) == 0 {
		words := "nothing has happened yet"
		if h.find.Value() != "" {
			words = "nothing has that"
		}
		c.Lines = append(c.Lines, th.Muted.Paint(text.Fit(words, w, th.Glyphs.Ellipsis)))
	}
	for len(c.Lines) < height-1 {
		c.Lines = append(c.Lines, text.Spaces(w))
	}
	hints := []key.Help{h.keys.open.Help(), h.keys.find.Help(), h.keys.copy.Help(), h.keys.help.Help(), h.keys.leave.Help()}
	foot := hintLine(th, w, hints...)
	if h.copied {
		foot = th.OK.Paint(text.Cut("copied, where the terminal allows it", w, ""))
	}
	c.Lines = append(c.Lines, foot)
	if len(shown) > h.page {
		c.Title += "  " + strconv.Itoa(h.top+1) + "-" + strconv.Itoa(h.top+h.page) + " of " + strconv.Itoa(len(shown))
	}
	return c
}

// line draws one entry: time, who, what, the command line, the result.
func (h *historyView) line(th *theme.Theme, e *entry, w int, selected bool) string {
	base, sign := theme.Style{}, "  "
	if selected {
		base, sign = th.Select, th.Glyphs.Marker+" "
	}
	result, style := e.result(), th.OK
	what, words := e.what, th.Text
	switch {
	case e.fault != "" && e.mine:
		style = th.Bad
		what, _, _ = strings.Cut(e.fault, "\n")
	case e.urgent:
		words = th.Bad
	case !e.mine:
		words = th.Muted
	}
	at := e.at.In(h.app.now.Location()).Format(time.TimeOnly)
	head := base.Paint(sign) + th.Muted.Over(base).Paint(at+" ")
	room := w - len(sign) - len(at) - 1
	if w >= 60 {
		head += th.Muted.Over(base).Paint(text.Fit(e.who(), 7, ""))
		room -= 7
	}
	tail := ""
	if result != "" {
		tail = style.Over(base).Paint(" " + result)
		room -= text.Width(result) + 1
	}
	cli := ""
	if n := text.Width(what) + 3; e.cli != "" && e.fault == "" && room-n > 10 {
		cli = text.Fit("$ "+e.cli, room-n, th.Glyphs.Ellipsis)
		room = n
	}
	return head + words.Over(base).Paint(text.Fit(text.Clean(what), room, th.Glyphs.Ellipsis)) + th.Muted.Over(base).Paint(cli) + tail
}
