package tui

import (
	"context"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/action"
	"cove/tui/dialog"
	"cove/tui/table"
	"cove/tui/text"
	"cove/tui/theme"
)

// shelf is one tab of the page of what the daemon keeps beside sandboxes: images,
// snapshots or volumes.
type shelf interface {
	title() string
	columns() []table.Column
	// ask asks the daemon. What it returns puts the answer in its place, with
	// clean texts, and belongs to the program's loop.
	ask(ctx context.Context) (func(), error)
	// rows are one for each that there is, by its id.
	rows(th *theme.Theme) []table.Row
	// about says in a line what there is to say of one.
	about(th *theme.Theme, id string) string
	// sum says in a word or two how much all of it is.
	sum() string
	// nothing is said where there is none.
	nothing() string
	deeds() []deed
}

// deed is what can be done on a tab.
type deed struct {
	keys        key.Binding
	title, help string
	cli         string // what it is on the command line
	// why says why it cannot be done to the one with the id, "" for none
	// selected; run does it. done closes the page.
	why func(id string) string
	run func(id string) (done bool, cmd tea.Cmd)
}

// tab is a shelf on the page.
type tab struct {
	shelf
	list   *table.Table
	can    []deed
	known  bool
	asking bool
	stale  bool
	at     time.Time
	err    error
}

// shelfView is the page: it takes the whole screen.
type shelfView struct {
	app  *App
	tabs []*tab
	at   int
	keys shelfKeys
	// starts are the cells in which the names of the tabs begin, ends those
	// behind them, as drawn last.
	starts, ends []int
}

type shelfKeys struct {
	leave, next, previous, up, down, pageUp, pageDown, first, last, reload, help, fault key.Binding
	number                                                                              []key.Binding
}

func newShelfKeys() shelfKeys {
	helped := func(b key.Binding, what string) key.Binding {
		b.SetHelp(b.Keys()[0], what)
		return b
	}
	return shelfKeys{
		leave: helped(on("esc", "q"), "close"), next: helped(on("tab", "]", "right", "l"), "next tab"), previous: helped(on("shift+tab", "[", "left", "h"), "last tab"),
		up: on("up", "k"), down: on("down", "j"), pageUp: on("pgup", "ctrl+b", "ctrl+u"), pageDown: on("pgdown", "ctrl+f", "ctrl+d"),
		first: on("home", "g"), last: on("end", "G"), reload: helped(on("r"), "look again"), help: helped(on("?"), "help"), fault: helped(on("e"), "error"),
		number: []key.Binding{on("2"), on("3"), on("4")},
	}
}

// Titles of the tabs.
const (
	shelfImages    = "Images"
	shelfSnapshots = "Snapshots"
	shelfVolumes   = "Volumes"
)

// openShelf opens the page on a tab.
func (a *App) openShelf(title string) tea.Cmd {
	v := &shelfView{app: a, keys: newShelfKeys()}
	for _, s := range a.shelves() {
		t := &tab{shelf: s, list: table.New(s.columns()), can: s.deeds()}
		if s.title() == title {
			v.at = len(v.tabs)
		}
		v.tabs = append(v.tabs, t)
	}
	a.shelf = v
	a.dialogs.Open(v)
	return nil
}

// shelves are the tabs that there is something behind.
func (a *App) shelves() []shelf {
	var all []shelf
	if a.opts.Images != nil {
		all = append(all, &imageShelf{app: a})
	}
	if a.opts.Snapshots != nil {
		all = append(all, &snapshotShelf{app: a})
	}
	if a.opts.Volumes != nil {
		all = append(all, &volumeShelf{app: a})
	}
	return all
}

// restock has what is on the page looked at anew.
func (a *App) restock() {
	if a.shelf != nil {
		for _, t := range a.shelf.tabs {
			t.stale = true
		}
	}
}

// shelfMsg is the daemon's answer for a tab.
type shelfMsg struct {
	tab *tab
	set func()
	err error
}

// wantShelf asks for what the tab in view shows, when that is not known or old.
func (a *App) wantShelf() tea.Cmd {
	v := a.shelf
	if v == nil || a.snap.Link != Live || !a.dialogs.Has(v) {
		return nil
	}
	t := v.tab()
	if t.asking || !t.stale && a.now.Sub(t.at) < detailOld {
		return nil
	}
	t.asking, t.stale = true, false
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		set, err := t.ask(ctx)
		return shelfMsg{t, set, err}
	}
}

func (msg shelfMsg) deliver(a *App) tea.Cmd {
	t := msg.tab
	t.asking, t.at, t.err = false, a.now, msg.err
	if msg.err == nil {
		t.known = true
		msg.set()
		t.list.SetRows(t.rows(&a.theme))
	}
	return nil
}

func (v *shelfView) tab() *tab { return v.tabs[v.at] }

// ID implements dialog.Dialog.
func (v *shelfView) ID() string { return "shelf" }

// Key implements dialog.Dialog.
func (v *shelfView) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	t := v.tab()
	t.list.SetRows(t.rows(&v.app.theme)) // a pull may have come or gone
	for i := range t.can {
		if d := &t.can[i]; key.Matches(k, d.keys) {
			return v.do(d)
		}
	}
	for i, b := range v.keys.number {
		if key.Matches(k, b) {
			v.turn(map[int]string{0: shelfImages, 1: shelfSnapshots, 2: shelfVolumes}[i])
			return false, nil
		}
	}
	switch {
	case key.Matches(k, v.keys.leave):
		if k.String() == "esc" && v.app.notice.fault != "" {
			v.app.notice.dismiss()
			return false, nil
		}
		return true, nil
	case key.Matches(k, v.keys.next):
		v.at = (v.at + 1) % len(v.tabs)
	case key.Matches(k, v.keys.previous):
		v.at = (v.at + len(v.tabs) - 1) % len(v.tabs)
	case key.Matches(k, v.keys.up):
		t.list.Move(-1)
	case key.Matches(k, v.keys.down):
		t.list.Move(1)
	case key.Matches(k, v.keys.pageUp):
		t.list.Move(-t.list.Page())
	case key.Matches(k, v.keys.pageDown):
		t.list.Move(t.list.Page())
	case key.Matches(k, v.keys.first):
		t.list.First()
	case key.Matches(k, v.keys.last):
		t.list.Last()
	case key.Matches(k, v.keys.reload):
		t.stale = true
	case key.Matches(k, v.keys.fault) && v.app.notice.whole != "":
		v.app.showError()
	case key.Matches(k, v.keys.help):
		v.app.dialogs.Open(newHelp(v.help()))
	}
	return false, nil
}

// turn shows the tab with the title.
func (v *shelfView) turn(title string) {
	for i, t := range v.tabs {
		if t.title() == title {
			v.at = i
		}
	}
}

// do does what a key means, or says why not.
func (v *shelfView) do(d *deed) (bool, tea.Cmd) {
	id := v.tab().list.Selected()
	if why := d.why(id); why != "" {
		v.app.notice.say(v.app.now, d.title+": "+why)
		return false, nil
	}
	return d.run(id)
}

// onShelf is why nothing can be done now. row says that it takes something that is
// selected.
func (a *App) onShelf(row bool) func(id string) string {
	return func(id string) string {
		if why := a.scope().online(); why != "" {
			return why
		}
		if row && id == "" {
			return "nothing is selected"
		}
		return ""
	}
}

func (v *shelfView) help() []helpEntry {
	e := func(b key.Binding, title, help string) helpEntry {
		return helpEntry{keys: b.Keys(), title: title, help: help}
	}
	var out []helpEntry
	id := v.tab().list.Selected()
	for i := range v.tab().can {
		d := &v.tab().can[i]
		h := e(d.keys, d.title, d.help)
		h.cli, h.reason = d.cli, d.why(id)
		out = append(out, h)
	}
	return append(out,
		e(v.keys.next, "next tab", "Images, snapshots, volumes: 2, 3 and 4 go there too."), e(v.keys.previous, "last tab", "The tab before."),
		e(v.keys.up, "up", "The row above."), e(v.keys.down, "down", "The row below."),
		e(v.keys.pageUp, "page up", "A screen up."), e(v.keys.pageDown, "page down", "A screen down."),
		e(v.keys.first, "first", "The first row."), e(v.keys.last, "last", "The last row."),
		e(v.keys.reload, "look again", "Ask the daemon now. It is asked every five seconds anyway."),
		e(v.keys.fault, "error", "Show the whole text of the error below the list."),
		e(v.keys.leave, "close", "Back to the list of sandboxes."),
	)
}

// Paste implements dialog.Dialog.
func (v *shelfView) Paste(string) tea.Cmd { return nil }

// Click implements dialog.Dialog: it chooses a tab or a row.
func (v *shelfView) Click(x, y int) (bool, tea.Cmd) {
	if y > 0 {
		v.tab().list.Click(y - 1)
		return false, nil
	}
	for i := range v.starts {
		if x >= v.starts[i] && x < v.ends[i] {
			v.at = i
		}
	}
	return false, nil
}

// Scroll implements dialog.Scroller.
func (v *shelfView) Scroll(n int) tea.Cmd {
	v.tab().list.Scroll(n)
	return nil
}

// Draw implements dialog.Dialog: it takes the whole screen.
func (v *shelfView) Draw(th *theme.Theme, w, h int) dialog.Content {
	t := v.tab()
	lines := []string{v.tabLine(th, w)}
	room := max(h-3, 1)
	t.list.SetRows(t.rows(th))
	t.list.SetSize(w, room)
	switch {
	case t.list.Len() > 0:
		lines = append(lines, t.list.Lines(th, v.app.snap.Link != Live || t.err != nil)...)
	case t.err != nil:
		lines = append(lines, v.words(th.Bad, text.CleanLines(t.err.Error()), w, room)...)
	case t.known:
		lines = append(lines, v.words(th.Muted, t.nothing(), w, room)...)
	default:
		lines = append(lines, v.words(th.Muted, "asking the daemon"+th.Glyphs.Ellipsis, w, room)...)
	}
	for len(lines) < h-2 {
		lines = append(lines, "")
	}
	lines = append(lines, v.status(th, w), hintLine(th, w, v.hints()...))
	return dialog.Content{Title: t.title(), Lines: lines[:min(len(lines), h)]}
}

// words fills the place of a list without rows.
func (v *shelfView) words(st theme.Style, s string, w, h int) []string {
	lines := []string{""}
	for _, l := range text.Wrap(s, max(min(w-4, 72), 1)) {
		lines = append(lines, "  "+st.Paint(l))
	}
	return lines[:min(len(lines), h)]
}

// tabLine is the names of the tabs, and how much there is.
func (v *shelfView) tabLine(th *theme.Theme, w int) string {
	var b strings.Builder
	used := 0
	v.starts, v.ends = v.starts[:0], v.ends[:0]
	for i, t := range v.tabs {
		v.starts = append(v.starts, used)
		words := t.title()
		if t.known {
			words += " " + strconv.Itoa(t.list.Len())
		}
		if i == v.at {
			th.Title.With(theme.Underline).Write(&b, words)
		} else {
			th.Muted.Write(&b, words)
		}
		used += text.Width(words)
		v.ends = append(v.ends, used)
		b.WriteString("  ")
		used += 2
	}
	sum := ""
	if t := v.tab(); t.known {
		sum = t.sum()
	}
	if n := text.Width(sum); sum != "" && used+n <= w {
		return b.String() + text.Spaces(w-used-n) + th.Muted.Paint(sum)
	}
	return text.Fit(b.String(), w, "")
}

// status is what happened, or what is under way, or what there is to say of the
// selected one.
func (v *shelfView) status(th *theme.Theme, w int) string {
	a := v.app
	if s := a.notice.line(th, w); s != "" {
		return s
	}
	if words := a.working(); words != "" {
		return th.Busy.Paint(text.Fit(" "+th.Glyphs.Passing+" "+words, w, th.Glyphs.Ellipsis))
	}
	t := v.tab()
	switch {
	case a.snap.Link != Live:
		return th.Warn.Paint(text.Fit(" "+a.scope().online(), w, th.Glyphs.Ellipsis))
	case t.err != nil && t.list.Len() > 0:
		return th.Bad.Paint(text.Fit(" "+th.Glyphs.Failed+" "+text.Clean(t.err.Error()), w, th.Glyphs.Ellipsis))
	case t.list.Len() == 0:
		return text.Spaces(w)
	}
	return th.Muted.Paint(text.Fit(" "+t.about(th, t.list.Selected()), w, th.Glyphs.Ellipsis))
}

// hints are the keys of the tab.
func (v *shelfView) hints() []key.Help {
	var out []key.Help
	id := v.tab().list.Selected()
	for i := range v.tab().can {
		if d := &v.tab().can[i]; d.why(id) == "" {
			out = append(out, key.Help{Key: d.keys.Keys()[0], Desc: d.title})
		}
	}
	out = append(out, v.keys.help.Help(), v.keys.leave.Help())
	if len(v.tabs) > 1 {
		out = append(out, v.keys.next.Help())
	}
	return out
}

// usedBy is who uses something, in a cell.
func usedBy(th *theme.Theme, names []string) table.Cell {
	if len(names) == 0 {
		return table.Cell{Text: th.Glyphs.None, Style: th.Muted}
	}
	short := names[0]
	if n := len(names) - 1; n > 0 {
		short += " +" + strconv.Itoa(n)
	}
	return table.Cell{Text: strings.Join(names, ", "), Short: short, Style: th.Text}
}

// things is a number of things in words.
func things(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// bytesOf is a number of bytes in words.
func bytesOf(n int64) string {
	if n < 1000 {
		return things(int(max(n, 0)), "byte", "bytes")
	}
	return text.Bytes(n)
}

// quoted is a command of a few words.
func quoted(words ...string) string { return "cove " + action.Quote(words...) }
