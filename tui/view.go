package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/action"
	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// footHeight is the lines below the list: one about the selected sandbox or
// what happened, and the keys.
const footHeight = 2

// headHeight is the lines above the list: the header, and one about the list
// where there is room.
func (a *App) headHeight() int {
	if a.h >= notesHeight {
		return 2
	}
	return 1
}

// listHeight is the lines of the list, its titles included.
func (a *App) listHeight() int { return max(a.h-a.headHeight()-footHeight, 1) }

// sideSpace is the cells that the pane takes from the list, with the line and a
// blank between them.
func (a *App) sideSpace() int {
	if w := a.sideWidth(); w > 0 {
		return w + 2
	}
	return 0
}

// View implements tea.Model.
func (a *App) View() tea.View {
	v := tea.NewView("")
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "cove"
	if a.w < 1 || a.h < 1 {
		return v
	}
	lines, cursor := a.lines()
	v.SetContent(strings.Join(lines, "\n"))
	if cursor != nil {
		v.Cursor = tea.NewCursor(cursor.X, cursor.Y)
	}
	return v
}

// lines draws the screen: exactly h lines of at most w cells.
func (a *App) lines() ([]string, *dialog.Point) {
	if a.small() {
		lines := make([]string, a.h)
		lines[0] = text.Cut(fmt.Sprintf("cove needs %dx%d (now %dx%d)", minWidth, minHeight, a.w, a.h), a.w, "")
		return lines, nil
	}
	lines := make([]string, 0, a.h)
	lines = append(lines, a.header())
	if a.headHeight() > 1 {
		lines = append(lines, a.banner())
	}
	lines = append(lines, a.body()...)
	bottom, cursor := a.status(), (*dialog.Point)(nil)
	if a.filter.editing() && a.dialogs.Top() == nil {
		var x int
		bottom, x = a.filterLine(&a.theme)
		cursor = &dialog.Point{X: min(x, a.w-1), Y: len(lines)}
	}
	lines = append(lines, bottom, a.footer())
	if a.dialogs.Top() == nil {
		return lines, cursor
	}
	for i, l := range lines { // what lies below steps back
		lines[i] = a.theme.Muted.Paint(ansi.Strip(l))
	}
	return lines, a.dialogs.Draw(&a.theme, lines, a.w)
}

// body draws the list, the pane, or both side by side.
func (a *App) body() []string {
	h := a.listHeight()
	if a.detailOver() {
		return a.detailLines(a.w, h)
	}
	var lines []string
	if a.list.Len() > 0 {
		lines = a.list.Lines(&a.theme, a.snap.Link != Live)
	} else {
		lines = a.empty(a.w-a.sideSpace(), h)
	}
	side := a.sideWidth()
	if side == 0 {
		return lines
	}
	bar := " " + a.theme.Border.Paint(a.theme.Glyphs.Vertical)
	for i, l := range a.detailLines(side, h) {
		lines[i] += bar + l
	}
	return lines
}

// empty fills the place of a list without rows, w by h cells.
func (a *App) empty(w, h int) []string {
	th := &a.theme
	var body []string
	full := false
	// add adds a paragraph, unless it would not be whole.
	add := func(lines ...string) {
		if full = full || len(body)+len(lines) > h; !full {
			body = append(body, lines...)
		}
	}
	air := func() {
		if h >= 12 {
			add("")
		}
	}
	plain := func(st theme.Style, s string) {
		lines := text.Wrap(s, max(min(w-4, 66), 1))
		for i := range lines {
			lines[i] = st.Paint(lines[i])
		}
		add(lines...)
	}
	switch {
	case len(a.snap.Sandboxes) > 0:
		plain(th.Strong, "No sandbox is as the filter says.")
		air()
		plain(th.Muted, "/"+a.filter.text)
		air()
		add(th.Key.Paint(a.keyOf(actBack)) + " shows all " + strconv.Itoa(len(a.snap.Sandboxes)))
	case a.snap.Known:
		plain(th.Strong, "No sandboxes yet.")
		air()
		add(th.Key.Paint(a.keyOf(actCreate)) + " makes your first sandbox")
		air()
		plain(th.Muted, "A sandbox has files, processes and a network of its own: code that nobody has read yet can run in it. It keeps its files when it stops.")
	case a.snap.Link == Down:
		plain(th.Warn, "The daemon does not answer.")
		air()
		plain(th.Text, text.Clean(a.snap.Err.Error()))
		air()
		plain(th.Muted, "cove goes on trying. $ cove daemon status")
	default:
		plain(th.Muted, "Connecting to the daemon"+th.Glyphs.Ellipsis)
	}
	out := make([]string, 0, h)
	for range (h - len(body)) / 3 {
		out = append(out, "")
	}
	wide := 0
	for _, l := range body {
		wide = max(wide, text.Width(l))
	}
	for _, l := range body {
		out = append(out, text.Fit(text.Spaces((w-wide)/2)+l, w, ""))
	}
	for i := range out {
		out[i] = text.Fit(out[i], w, "")
	}
	for len(out) < h {
		out = append(out, text.Spaces(w))
	}
	return out
}

// status is the line below the list: what happened, or more of the selected
// sandbox than its row has room for; at its right what is under way.
func (a *App) status() string {
	words := a.working()
	if words == "" {
		return a.statusIn(a.w)
	}
	words = text.Cut(a.theme.Glyphs.Passing+" "+words, a.w*2/3, a.theme.Glyphs.Ellipsis)
	return a.statusIn(a.w-text.Width(words)-2) + " " + a.theme.Busy.Paint(words) + " "
}

// statusIn is the status without what is under way, in w cells.
func (a *App) statusIn(w int) string {
	th := &a.theme
	if a.attach != nil {
		return text.Fit(" attaching to "+a.attach.name+th.Glyphs.Ellipsis+"  esc gives up", w, th.Glyphs.Ellipsis)
	}
	if s := a.notice.line(th, w); s != "" {
		return s
	}
	if a.snap.Link == Down && a.snap.Known && a.headHeight() == 1 {
		return th.Warn.Paint(text.Fit(" "+a.outage(), w, th.Glyphs.Ellipsis))
	}
	b := a.selected()
	if b == nil {
		return text.Spaces(w)
	}
	words, style := a.about(b)
	return style.Paint(text.Fit(" "+words, w, th.Glyphs.Ellipsis))
}

// about says in one line what there is to say of a sandbox: why it is in the
// state it is in, then which of its limits the host does not enforce, what
// happens to it next, else who it is.
func (a *App) about(b *api.Sandbox) (string, theme.Style) {
	th := &a.theme
	dot := " " + th.Glyphs.Dot + " "
	r := why(b)
	switch {
	case held(b):
		return b.Name + " is started, but held: " + b.Held, th.Warn
	case r != "" && !b.State.Running():
		_, style := boxLook(b, th)
		if attention(b) == calm {
			style = th.Muted
		}
		words := b.Name + " " + string(b.State) + ": " + r
		if next := a.nextWords(b); next != "" {
			words += dot + next
		}
		return words, style
	case b.Progress != "":
		return b.Name + " " + string(b.State) + ": " + b.Progress, th.Busy
	}
	if own := a.host.own(b.Warnings); len(own) > 0 {
		return b.Name + ": " + strings.Join(own, dot), th.Warn
	}
	words := []string{b.Name}
	if next := a.nextWords(b); next != "" {
		words = append(words, next)
	}
	words = append(words, b.ID, "made "+b.Created.In(a.now.Location()).Format("2006-01-02 15:04"))
	return strings.Join(append(words, labels(b)...), dot), th.Muted
}

// footer shows the keys: those of the table that are marked for it, as many as
// fit, the help always and how to leave nearly so. What cannot be done now is
// dim.
func (a *App) footer() string {
	th := &a.theme
	hints := a.hints()
	width := func(h action.Hint) int { return 2 + text.Width(h.Key) + 1 + text.Width(h.Desc) }
	room := a.w + 1 // the first one needs one blank less
	for _, h := range hints {
		if a.kept(h) {
			room -= width(h)
		}
	}
	var b strings.Builder
	used := 0
	if n := len(a.marks.ids); n > 0 {
		s := " " + th.Glyphs.Mark + " " + strconv.Itoa(n)
		th.Mark.Write(&b, s)
		used += text.Width(s)
		room -= text.Width(s) + 1
	}
	for _, h := range hints {
		n := width(h)
		if !a.kept(h) {
			if n > room {
				continue
			}
			room -= n
		}
		if used == 0 {
			b.WriteString(" ")
			used--
		} else {
			b.WriteString("  ")
		}
		key, title := th.Key, th.Text
		if h.Reason != "" {
			key, title = th.Muted, th.Muted
		}
		key.Write(&b, h.Key)
		b.WriteByte(' ')
		title.Write(&b, h.Desc)
		used += n
	}
	b.WriteString(text.Spaces(a.w - used))
	return b.String()
}

// hints are those of the table that have a meaning now.
func (a *App) hints() []action.Hint {
	all := a.actions.Hints(a.scope())
	drop := func(ids ...string) {
		all = slices.DeleteFunc(all, func(h action.Hint) bool { return slices.Contains(ids, h.ID) })
	}
	if b := a.selected(); b != nil && b.State == lifecycle.BuildFailed && len(a.marks.ids) == 0 {
		drop(actAttach, actStart, actStop, actRestart)
	} else { // few ever need it
		drop(actRebuild)
	}
	if len(a.marks.ids) > 0 { // room for what is meant for the marked
		drop(actAttach, actCreate)
	}
	if a.detailOver() {
		drop(actCreate, actFilter, actMark, actSort, actDetail)
		all = slices.Insert(all, 0, action.Hint{ID: actBack, Help: key.Help{Key: a.keyOf(actBack), Desc: "list"}},
			action.Hint{ID: actTabNext, Help: key.Help{Key: a.keyOf(actTabBack) + " " + a.keyOf(actTabNext), Desc: "tabs"}})
	}
	return all
}

// kept tells whether a hint is in the footer whatever else is.
func (a *App) kept(h action.Hint) bool {
	return h.ID == actHelp || h.ID == actQuit && a.w >= 60
}

// hintLine draws keys and what they do, as many as fit in w.
func hintLine(th *theme.Theme, w int, hints ...key.Help) string {
	var b strings.Builder
	used := 0
	for _, h := range hints {
		n := text.Width(h.Key) + 1 + text.Width(h.Desc)
		if used > 0 {
			n += 2
		}
		if used+n > w {
			break
		}
		if used > 0 {
			b.WriteString("  ")
		}
		th.Key.Write(&b, h.Key)
		b.WriteByte(' ')
		th.Muted.Write(&b, h.Desc)
		used += n
	}
	return b.String()
}
