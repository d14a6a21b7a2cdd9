package tui

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"cove/runtime/api"
	"cove/tui/dialog"
	"cove/tui/table"
	"cove/tui/text"
	"cove/tui/theme"
)

// changesView is the page of what a sandbox changed in directories that it has
// copy-on-write: the files, and beside or below them what became of the selected
// one. It takes the whole screen.
type changesView struct {
	app      *App
	id, name string
	keys     changesKeys
	list     *table.Table
	files    []changedFile
	marks    map[string]bool

	asking, known, stale bool
	at                   time.Time
	err                  error

	// diffs are the lines of files, by their keys; reading is the one that is
	// asked for.
	diffs   map[string]diff
	reading string

	zoomed    bool // the lines take the place of the files
	top, left int  // the first line and cell in view
	of        string
	lines     int // as drawn last
	page      int
	listTop   int
	listWidth int
}

// diff is what became of a file, in lines as the daemon tells them.
type diff struct {
	lines []string
	begin int // the first line of the first hunk
	err   error
}

// diffOf is what a patch says.
func diffOf(patch string, err error) diff {
	d := diff{lines: strings.Split(strings.TrimSuffix(patch, "\n"), "\n"), err: err}
	d.begin = max(slices.IndexFunc(d.lines, func(l string) bool { return strings.HasPrefix(l, "@@") }), 0)
	return d
}

type changesKeys struct {
	leave, zoom, apply, force, discard, mark, markAll, up, down, first, last, reload, help, fault, copy key.Binding
	diffUp, diffDown, pageUp, pageDown, left, right                                                     key.Binding
}

func newChangesKeys() changesKeys {
	helped := func(b key.Binding, what string) key.Binding {
		b.SetHelp(b.Keys()[0], what)
		return b
	}
	return changesKeys{
		leave: helped(on("esc", "q"), "close"), zoom: helped(on("enter", "v", "tab"), "diff"), apply: helped(on("a"), "apply"), force: helped(on("A"), "write over"), discard: helped(on("x"), "discard"),
		mark: helped(on("space"), "mark"), markAll: helped(on("*"), "mark all"), up: on("up", "k"), down: on("down", "j"), first: on("home", "g"), last: on("end", "G"),
		reload: helped(on("r"), "look again"), help: helped(on("?"), "help"), fault: helped(on("e"), "error"), copy: helped(on("y"), "copy"),
		diffUp: on("shift+up", "K", "ctrl+y"), diffDown: on("shift+down", "J", "ctrl+e"), pageUp: on("pgup", "ctrl+b", "ctrl+u"), pageDown: on("pgdown", "ctrl+f", "ctrl+d"),
		left: on("left", "h"), right: on("right", "l"),
	}
}

func (k changesKeys) entries() []helpEntry {
	e := func(b key.Binding, title, help string) helpEntry {
		return helpEntry{keys: b.Keys(), title: title, help: help}
	}
	apply := e(k.apply, "apply", "Write the file, or all that are marked, to this machine, after a question. A file that changed here since the sandbox got the directory is left out.")
	apply.cli = "cove apply NAME PATH"
	force := e(k.force, "write over", "Apply also what changed on this machine since: what is here is lost.")
	force.cli = "cove apply NAME --force PATH"
	discard := e(k.discard, "discard", "Take back what the sandbox did to the file, or to all that are marked, after a question.")
	discard.cli = "cove discard NAME PATH"
	return []helpEntry{
		apply, force, discard, e(k.mark, "mark", "Mark the file: apply and discard are then meant for all that are marked."), e(k.markAll, "mark all", "Mark all files, or none of them."),
		e(k.zoom, "diff", "Show the lines on the whole screen, or the files again."), e(k.up, "up", "The file above."), e(k.down, "down", "The file below."),
		e(k.diffUp, "scroll", "The lines, upwards."), e(k.diffDown, "scroll", "The lines, downwards."), e(k.pageUp, "page up", "The lines, a screen up."), e(k.pageDown, "page down", "The lines, a screen down."),
		e(k.left, "left", "The lines, to the left."), e(k.right, "right", "Long lines, to the right."),
		e(k.first, "first", "The first file."), e(k.last, "last", "The last one."),
		e(k.copy, "copy", "Copy the lines."), e(k.reload, "look again", "Ask anew what was changed: it is not asked by itself."),
		e(k.fault, "error", "Show the whole text of the error below the list."), e(k.leave, "close", "From the lines to the files, and back to the list."),
	}
}

// openChanges opens the page.
func (a *App) openChanges(box *api.Sandbox) tea.Cmd {
	v := &changesView{
		app: a, id: box.ID, name: box.Name, keys: newChangesKeys(), list: table.New(changeColumns()),
		marks: make(map[string]bool), diffs: make(map[string]diff), stale: true,
	}
	v.list.SetMarked(func(id string) bool { return v.marks[id] })
	a.changes = v
	a.dialogs.Open(v)
	return nil
}

type (
	// changesMsg tells what a sandbox changed, diffMsg what became of one file.
	changesMsg struct {
		view *changesView
		sets []api.ChangeSet
		err  error
	}
	diffMsg struct {
		view *changesView
		key  string
		diff diff
	}
)

// wantChanges asks for what the page shows and does not know: the files, then
// the lines of the selected one. Who holds an arrow key asks for one at a time.
func (a *App) wantChanges() tea.Cmd {
	v := a.changes
	if v == nil || a.snap.Link != Live || !a.dialogs.Has(v) || v.asking {
		return nil
	}
	if v.stale {
		v.asking, v.stale = true, false
		return func() tea.Msg {
			ctx, cancel := context.WithTimeout(a.ctx, patience)
			defer cancel()
			sets, err := a.opts.Changes.Changes(ctx, v.id)
			return changesMsg{v, sets, err}
		}
	}
	f := v.selected()
	if f == nil || !f.showable() || f.source == "" || v.reading != "" {
		return nil
	}
	k, target, path := f.key(), f.target, f.Path
	if _, ok := v.diffs[k]; ok {
		return nil
	}
	v.reading = k
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		defer cancel()
		patch, err := a.opts.Changes.FileDiff(ctx, v.id, target, path)
		return diffMsg{v, k, diffOf(patch, err)}
	}
}

func (msg changesMsg) deliver(a *App) tea.Cmd {
	v := msg.view
	v.asking, v.at, v.err = false, a.now, msg.err
	if msg.err != nil {
		return nil
	}
	v.known, v.files = true, changedFiles(msg.sets)
	clear(v.diffs)
	there := make(map[string]bool, len(v.files))
	for i := range v.files {
		there[v.files[i].key()] = true
	}
	for k := range v.marks {
		if !there[k] {
			delete(v.marks, k)
		}
	}
	v.list.SetRows(v.rows(&a.theme))
	return nil
}

func (msg diffMsg) deliver(*App) tea.Cmd {
	msg.view.reading = ""
	msg.view.diffs[msg.key] = msg.diff
	return nil
}

func (v *changesView) rows(th *theme.Theme) []table.Row {
	rows := make([]table.Row, len(v.files))
	for i := range v.files {
		rows[i] = v.files[i].row(th)
	}
	return rows
}

// selected is the file that the cursor is on, nil for none.
func (v *changesView) selected() *changedFile {
	id := v.list.Selected()
	i := slices.IndexFunc(v.files, func(f changedFile) bool { return f.key() == id })
	if i < 0 {
		return nil
	}
	return &v.files[i]
}

// meant are the files that are marked, or the selected one; with a directory all
// below it, which comes and goes with it.
func (v *changesView) meant() []changedFile {
	if len(v.marks) == 0 {
		if f := v.selected(); f != nil {
			return v.withBelow([]changedFile{*f})
		}
		return nil
	}
	return v.withBelow(slices.DeleteFunc(slices.Clone(v.files), func(f changedFile) bool { return !v.marks[f.key()] }))
}

// ID implements dialog.Dialog.
func (v *changesView) ID() string { return "changes" }

// Key implements dialog.Dialog.
func (v *changesView) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	move := v.list.Move
	if v.zoomed {
		move = v.scroll
	}
	switch {
	case key.Matches(k, v.keys.leave):
		switch {
		case k.String() == "esc" && v.app.notice.fault != "":
			v.app.notice.dismiss()
		case v.zoomed:
			v.zoomed = false
		case k.String() == "esc" && len(v.marks) > 0:
			clear(v.marks)
		default:
			return true, nil
		}
	case key.Matches(k, v.keys.zoom):
		v.zoomed = !v.zoomed && v.selected() != nil
	case key.Matches(k, v.keys.apply):
		return false, v.ask(settle{verb: "apply", title: "Apply"})
	case key.Matches(k, v.keys.force):
		return false, v.ask(settle{verb: "apply", title: "Write over", force: true})
	case key.Matches(k, v.keys.discard):
		return false, v.ask(settle{verb: "discard", title: "Discard"})
	case key.Matches(k, v.keys.mark):
		v.mark()
	case key.Matches(k, v.keys.markAll):
		v.markAll()
	case key.Matches(k, v.keys.up):
		move(-1)
	case key.Matches(k, v.keys.down):
		move(1)
	case key.Matches(k, v.keys.first):
		move(-max(v.lines, v.list.Len()))
	case key.Matches(k, v.keys.last):
		move(max(v.lines, v.list.Len()))
	case key.Matches(k, v.keys.diffUp):
		v.scroll(-wheelStep)
	case key.Matches(k, v.keys.diffDown):
		v.scroll(wheelStep)
	case key.Matches(k, v.keys.pageUp):
		v.scroll(-v.page)
	case key.Matches(k, v.keys.pageDown):
		v.scroll(v.page)
	case key.Matches(k, v.keys.left):
		v.left = max(v.left-sideStep, 0)
	case key.Matches(k, v.keys.right):
		v.left = min(v.left+sideStep, lineMost)
	case key.Matches(k, v.keys.reload):
		v.stale = true
	case key.Matches(k, v.keys.fault) && v.app.notice.whole != "":
		v.app.showError()
	case key.Matches(k, v.keys.copy):
		if f := v.selected(); f != nil && v.diffs[f.key()].lines != nil {
			return false, v.app.copy("the lines", pasteable(v.diffs[f.key()].lines))
		}
	case key.Matches(k, v.keys.help):
		v.app.dialogs.Open(newHelp(v.keys.entries()))
	}
	return false, nil
}

// pasteable are lines without what acts on a terminal that they are pasted into;
// tabs stay.
func pasteable(lines []string) string {
	parts := strings.Split(strings.Join(lines, "\n")+"\n", "\t")
	for i := range parts {
		parts[i] = text.CleanLines(parts[i])
	}
	return strings.Join(parts, "\t")
}

// sideStep is how many cells a key moves the lines sideways, lineMost the bytes
// of a line that are looked at.
const (
	sideStep = 8
	lineMost = 4096
)

func (v *changesView) mark() {
	if id := v.list.Selected(); v.marks[id] {
		delete(v.marks, id)
	} else if id != "" {
		v.marks[id] = true
	}
	v.list.Move(1)
}

func (v *changesView) markAll() {
	if len(v.marks) == len(v.files) {
		clear(v.marks)
		return
	}
	for i := range v.files {
		v.marks[v.files[i].key()] = true
	}
}

func (v *changesView) scroll(n int) { v.top = max(0, min(v.top+n, v.lines-v.page)) }

// Paste implements dialog.Dialog.
func (v *changesView) Paste(string) tea.Cmd { return nil }

// Click implements dialog.Dialog: it selects a file, and shows what is selected.
func (v *changesView) Click(x, y int) (bool, tea.Cmd) {
	if v.zoomed || x >= v.listWidth {
		return false, nil
	}
	was := v.list.Selected()
	if v.list.Click(y-v.listTop) && v.list.Selected() == was {
		v.zoomed = true
	}
	return false, nil
}

// Scroll implements dialog.Scroller: the wheel moves the lines where they are in
// view, and the files elsewhere.
func (v *changesView) Scroll(n int) tea.Cmd {
	if v.page > 0 {
		v.scroll(n)
	} else {
		v.list.Scroll(n)
	}
	return nil
}

// Sizes from which the lines stand beside the files, and below them.
const (
	besideFrom = 96
	belowFrom  = 18
)

// Draw implements dialog.Dialog.
func (v *changesView) Draw(th *theme.Theme, w, h int) dialog.Content {
	if f := v.selected(); f == nil {
		v.zoomed = false
	} else if f.key() != v.of {
		v.of, v.top, v.left = f.key(), 0, 0
	}
	v.list.SetRows(v.rows(th))
	c := dialog.Content{Title: "Changes of " + v.name, Lines: []string{v.head(th, w)}}
	v.listTop, v.listWidth, v.page, v.lines = 1, w, 0, 0
	room := max(h-3, 1)
	switch {
	case len(v.files) == 0:
		c.Lines = append(c.Lines, v.instead(th, w, room)...)
	case v.zoomed:
		v.listWidth = 0
		c.Lines = append(c.Lines, v.pane(th, w, room)...)
	case w >= besideFrom:
		v.listWidth = min(max(w*42/100, 44), 72)
		v.list.SetSize(v.listWidth, room)
		bar := " " + th.Border.Paint(th.Glyphs.Vertical) + " "
		right := v.pane(th, w-v.listWidth-3, room)
		for i, l := range v.list.Lines(th, false) {
			c.Lines = append(c.Lines, l+bar+right[i])
		}
	case h >= belowFrom:
		files := max(room*2/5, 4)
		v.list.SetSize(w, files)
		c.Lines = append(c.Lines, v.list.Lines(th, false)...)
		c.Lines = append(c.Lines, th.Border.Paint(strings.Repeat(th.Glyphs.Horizontal, w)))
		c.Lines = append(c.Lines, v.pane(th, w, room-files-1)...)
	default:
		v.list.SetSize(w, room)
		c.Lines = append(c.Lines, v.list.Lines(th, false)...)
	}
	for len(c.Lines) < h-2 {
		c.Lines = append(c.Lines, "")
	}
	c.Lines = append(c.Lines, v.status(th, w), hintLine(th, w, v.hints()...))
	c.Lines = c.Lines[:min(len(c.Lines), h)]
	return c
}

// instead is what stands in the place of the files where there are none.
func (v *changesView) instead(th *theme.Theme, w, h int) []string {
	st, words := th.Muted, "asking what was changed"+th.Glyphs.Ellipsis
	switch {
	case v.err != nil:
		st, words = th.Bad, text.CleanLines(v.err.Error())
	case v.known:
		words = "Nothing is changed.\n\nA sandbox that has a directory of this machine as cow (copy-on-write) may change all of it; this machine sees nothing of that until you apply it here: cove create --mount .:/workspace:cow"
	}
	lines := []string{""}
	for _, l := range text.Wrap(words, max(min(w-4, 72), 1)) {
		lines = append(lines, "  "+st.Paint(l))
	}
	return lines[:min(len(lines), h)]
}

// head is the first line: which directories, how many files, how many lines.
func (v *changesView) head(th *theme.Theme, w int) string {
	if !v.known {
		return text.Spaces(w)
	}
	var words []string
	added, removed := 0, 0
	var where []string
	for i := range v.files {
		f := &v.files[i]
		added, removed = added+f.Added, removed+f.Removed
		s := "its own files below " + text.Clean(f.target)
		if f.source != "" {
			s = text.Clean(f.target)
		}
		if f.source != "" {
			s += " from " + text.Clean(f.source)
		}
		if !slices.Contains(where, s) {
			where = append(where, s)
		}
	}
	if n := len(v.marks); n > 0 {
		words = append(words, strconv.Itoa(n)+" marked")
	}
	words = append(words, things(len(v.files), "change", "changes"))
	if added+removed > 0 {
		words = append(words, "+"+strconv.Itoa(added)+" -"+strconv.Itoa(removed))
	}
	words = append(words, where...)
	line := strings.Join(words, " "+th.Glyphs.Dot+" ")
	old := ""
	if d := v.app.now.Sub(v.at); d >= 10*time.Second {
		old = "as it was " + text.Age(d) + " ago"
	}
	if n := text.Width(old); old != "" && text.Width(line)+2+n <= w {
		return th.Muted.Paint(text.Fit(line, w-n, "")) + th.Warn.Paint(old)
	}
	return th.Muted.Paint(text.Fit(line, w, th.Glyphs.Ellipsis))
}

// pane draws what became of the selected file: exactly h lines of w cells.
func (v *changesView) pane(th *theme.Theme, w, h int) []string {
	out := make([]string, 0, h)
	add := func(st theme.Style, s string) { out = append(out, st.Paint(text.Fit(s, w, th.Glyphs.Ellipsis))) }
	if f := v.selected(); f != nil {
		add(th.Strong, f.path)
		for _, s := range f.words() {
			add(th.Muted, s)
		}
		if f.Conflict != "" {
			for _, l := range text.Wrap("not applied: "+f.Conflict, w) {
				add(th.Bad, l)
			}
		}
		if len(f.Flags) > 0 {
			for _, l := range text.Wrap(th.Glyphs.Look+" "+f.flags(), w) {
				add(th.Warn, l)
			}
		}
		d, known := v.diffs[f.key()]
		switch {
		case f.source == "":
			add(th.Muted, "it is of the sandbox alone: cove cp "+v.name+":"+strings.TrimSuffix(text.Clean(f.target), "/")+"/"+f.path+" . brings it here")
		case !f.showable():
		case !known:
			add(th.Muted, "reading it"+th.Glyphs.Ellipsis)
		case d.err != nil:
			for _, l := range text.Wrap(text.CleanLines(d.err.Error()), w) {
				add(th.Bad, l)
			}
		default:
			out = out[:min(len(out), max(h-1, 0))]
			v.page, v.lines = h-len(out), len(d.lines)
			v.scroll(0)
			for i := v.top; i < len(d.lines) && len(out) < h; i++ {
				out = append(out, v.line(th, d.lines[i], i < d.begin, w))
			}
			if rest := v.lines - v.top - v.page; rest > 0 && len(out) > 1 {
				more := th.Glyphs.Ellipsis + " " + strconv.Itoa(rest+1) + " more lines "
				out[len(out)-1] = text.Spaces(w-text.Width(more)) + th.Muted.Paint(text.Cut(more, w, ""))
			}
		}
	}
	out = out[:min(len(out), h)]
	for len(out) < h {
		out = append(out, text.Spaces(w))
	}
	return out
}

// line draws one line of a diff, which may hold anything.
func (v *changesView) line(th *theme.Theme, s string, head bool, w int) string {
	st := th.Text
	switch {
	case head, strings.HasPrefix(s, `\`):
		st = th.Muted
	case strings.HasPrefix(s, "+"):
		st = th.OK
	case strings.HasPrefix(s, "-"):
		st = th.Bad
	case strings.HasPrefix(s, "@@"):
		st = th.Busy
	}
	s = text.CleanLines(s[:min(len(s), lineMost)])
	if v.left > 0 {
		s = ansi.TruncateLeft(s, v.left, "")
	}
	return st.Paint(text.Fit(s, w, th.Glyphs.Ellipsis))
}

// status is what happened, or what is under way.
func (v *changesView) status(th *theme.Theme, w int) string {
	a := v.app
	if s := a.notice.line(th, w); s != "" {
		return s
	}
	if words := a.working(); words != "" {
		return th.Busy.Paint(text.Fit(" "+th.Glyphs.Passing+" "+words, w, th.Glyphs.Ellipsis))
	}
	switch why := a.scope().online(); {
	case why != "":
		return th.Warn.Paint(text.Fit(" "+why, w, th.Glyphs.Ellipsis))
	case v.err != nil && len(v.files) > 0:
		return th.Bad.Paint(text.Fit(" "+th.Glyphs.Failed+" "+text.Clean(v.err.Error()), w, th.Glyphs.Ellipsis))
	case v.asking:
		return th.Muted.Paint(text.Fit(" looking what was changed"+th.Glyphs.Ellipsis, w, th.Glyphs.Ellipsis))
	}
	return text.Spaces(w)
}

func (v *changesView) hints() []key.Help {
	if len(v.files) == 0 {
		return []key.Help{v.keys.reload.Help(), v.keys.help.Help(), v.keys.leave.Help()}
	}
	zoom := v.keys.zoom.Help()
	if v.zoomed {
		zoom.Desc = "files"
	}
	return []key.Help{v.keys.apply.Help(), v.keys.discard.Help(), v.keys.mark.Help(), v.keys.markAll.Help(), zoom, v.keys.help.Help(), v.keys.leave.Help(), v.keys.reload.Help()}
}
