package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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

// headHeight is the lines above the list: the header, and air where there is room.
func (a *App) headHeight() int {
	if a.h >= 14 {
		return 2
	}
	return 1
}

// listHeight is the lines of the list, its titles included.
func (a *App) listHeight() int { return max(a.h-a.headHeight()-footHeight, 1) }

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
	for len(lines) < a.headHeight() {
		lines = append(lines, "")
	}
	if a.list.Len() > 0 {
		lines = append(lines, a.list.Lines(&a.theme, a.snap.Link != Live)...)
	} else {
		lines = append(lines, a.empty(a.listHeight())...)
	}
	lines = append(lines, a.status(), a.footer())
	if a.dialogs.Top() != nil { // what lies below steps back
		for i, l := range lines {
			lines[i] = a.theme.Muted.Paint(ansi.Strip(l))
		}
	}
	return lines, a.dialogs.Draw(&a.theme, lines, a.w)
}

// header says how many sandboxes there are in which state, and how the
// connection is when it is not as it should be.
func (a *App) header() string {
	th := &a.theme
	right, style := a.link()
	room := a.w - text.Width(right) - 1
	var b strings.Builder
	th.Title.Write(&b, " cove")
	used := len(" cove")
	add := func(st theme.Style, s string) {
		if used+2+text.Width(s) <= room {
			b.WriteString("  ")
			st.Write(&b, s)
			used += 2 + text.Width(s)
		}
	}
	if a.snap.Known {
		n := len(a.snap.Sandboxes)
		word := " sandboxes"
		if n == 1 {
			word = " sandbox"
		}
		head := strconv.Itoa(n) + word
		if first, last, more := a.list.InView(); more {
			head = fmt.Sprintf("%d-%d of %s", first, last, head)
		}
		add(th.Text, head)
		for _, c := range tally(a.snap.Sandboxes, th) {
			add(c.style, c.glyph+" "+strconv.Itoa(c.n)+" "+c.word)
		}
	}
	b.WriteString(text.Spaces(a.w - used - text.Width(right) - 1))
	style.Write(&b, right)
	b.WriteByte(' ')
	return b.String()
}

// link says in words how the connection is, when that matters.
func (a *App) link() (string, theme.Style) {
	switch a.snap.Link {
	case Live:
	case Connecting:
		return "connecting" + a.theme.Glyphs.Ellipsis, a.theme.Muted
	case Down:
		return "daemon gone, reconnecting", a.theme.Warn
	}
	return "", theme.Style{}
}

// count is one part of the header.
type count struct {
	glyph, word string
	style       theme.Style
	n           int
}

// tally counts sandboxes by what a person wants to know of them.
func tally(boxes []api.Sandbox, th *theme.Theme) []count {
	g := th.Glyphs
	counts := []count{
		{g.Started, "started", th.OK, 0}, {g.Failed, "failed", th.Bad, 0},
		{g.Passing, "under way", th.Busy, 0}, {g.Stopped, "at rest", th.Rest, 0},
	}
	for i := range boxes {
		switch s := boxes[i].State; {
		case s == lifecycle.Started:
			counts[0].n++
		case failed(s):
			counts[1].n++
		case s.Passing():
			counts[2].n++
		default:
			counts[3].n++
		}
	}
	return slices.DeleteFunc(counts, func(c count) bool { return c.n == 0 })
}

// empty fills the place of a list without rows.
func (a *App) empty(h int) []string {
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
		lines := text.Wrap(s, min(a.w-4, 66))
		for i := range lines {
			lines[i] = st.Paint(lines[i])
		}
		add(lines...)
	}
	switch {
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
		out = append(out, text.Spaces((a.w-wide)/2)+l)
	}
	for len(out) < h {
		out = append(out, "")
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
	b := a.selected()
	if b == nil {
		return text.Spaces(w)
	}
	words, style := about(b, th, a.now.Location())
	return style.Paint(text.Fit(" "+words, w, th.Glyphs.Ellipsis))
}

// about says in one line what there is to say of a sandbox: why it is in the
// state it is in, then what the host does not enforce, else who it is.
func about(b *api.Sandbox, th *theme.Theme, zone *time.Location) (string, theme.Style) {
	dot := " " + th.Glyphs.Dot + " "
	name := b.Name
	switch {
	case b.Reason != nil && b.Reason.Kind != "" && !b.State.Running():
		s, style := b.Reason.String(), th.Muted
		if failed(b.State) {
			style = th.Bad
		}
		switch {
		case b.Reason.Detail != "" && b.Reason.Kind == lifecycle.ReasonFailed:
			s = b.Reason.Detail
		case b.Reason.Detail != "":
			s += dot + b.Reason.Detail
		}
		return name + " " + string(b.State) + ": " + s, style
	case len(b.Warnings) > 0:
		return name + ": " + strings.Join(b.Warnings, dot), th.Warn
	}
	s := name + dot + b.ID + dot + "made " + b.Created.In(zone).Format("2006-01-02 15:04")
	labels := make([]string, 0, len(b.Labels))
	for k, v := range b.Labels {
		labels = append(labels, k+"="+v)
	}
	slices.Sort(labels)
	for _, l := range labels {
		s += dot + l
	}
	return s, th.Muted
}

// footer shows the keys: those of the table that are marked for it, as many as
// fit, the help always. What cannot be done now is dim.
func (a *App) footer() string {
	th := &a.theme
	hints := a.actions.Hints(a.scope())
	width := func(h action.Hint) int { return 2 + text.Width(h.Key) + 1 + text.Width(h.Desc) }
	room := a.w + 1 // the first one needs one blank less
	for _, h := range hints {
		if h.ID == actHelp {
			room -= width(h)
		}
	}
	var b strings.Builder
	used := 0
	for _, h := range hints {
		n := width(h)
		if h.ID != actHelp {
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
