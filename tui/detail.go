package tui

import (
	"context"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/text"
	"cove/tui/theme"
)

// detail is the pane about the selected sandbox: beside the list where there is
// room for both, over it elsewhere.
type detail struct {
	hidden bool // it is not wanted beside the list
	full   bool // it is over the list
	tab    int
	top    int // first line in view
	lines  int // as drawn last
	page   int

	// What the daemon told of a sandbox, and when; gen numbers the questions.
	gen    int
	asking bool
	got    *api.Detail
	spec   string   // got's description as a profile
	log    []string // the end of what its build printed, where that failed
	gotAt  time.Time
	err    error
	about  string // the id that got or err are about
}

// The tabs of the pane.
const (
	tabOverview = iota
	tabSpec
	tabHistory
	tabActivity
)

func detailTabs() []string { return []string{"Overview", "Spec", "History", "Activity"} }

// Widths of the pane beside the list.
const (
	sideFrom = 120 // the screen is at least that wide
	sideMin  = 44
	sideMost = 92
)

// sideWidth is the cells of the pane beside the list, 0 when it is not there.
func (a *App) sideWidth() int {
	if a.w < sideFrom || a.detail.hidden || len(a.snap.Sandboxes) == 0 {
		return 0
	}
	return min(max(a.w*36/100, sideMin), sideMost)
}

// detailOver tells whether the pane covers the list.
func (a *App) detailOver() bool {
	return a.detail.full && a.w < sideFrom && a.selected() != nil
}

func (a *App) detailShown() bool { return a.sideWidth() > 0 || a.detailOver() }

// toggleDetail shows the pane or hides it.
func (a *App) toggleDetail() {
	if a.w >= sideFrom {
		a.detail.hidden = !a.detail.hidden
	} else {
		a.detail.full = !a.detail.full
	}
	a.detail.top = 0
	a.resize(a.w, a.h)
}

// turnTab shows another tab.
func (a *App) turnTab(n int) {
	tabs := len(detailTabs())
	a.detail.tab = (a.detail.tab + n + tabs) % tabs
	a.detail.top = 0
}

func (a *App) scrollDetail(n int) {
	a.detail.top = max(0, min(a.detail.top+n, a.detail.lines-a.detail.page))
}

const (
	// detailWait is how long the selection rests on a sandbox before its
	// details are asked for: who holds an arrow key asks for nothing.
	detailWait = 120 * time.Millisecond
	// detailOld is when they are asked for anew: sessions come and go without
	// an event.
	detailOld = 5 * time.Second
)

// detailDueMsg says that it is time to ask, unless something else is selected.
type detailDueMsg struct{ gen int }

// detailMsg is the daemon's answer.
type detailMsg struct {
	gen    int
	id     string
	detail api.Detail
	spec   string
	log    []string
	err    error
}

// wantDetail asks for the details of the selected sandbox when they are shown
// and not known, or changed says that they are not true anymore.
func (a *App) wantDetail(changed bool) tea.Cmd {
	d := &a.detail
	id := a.list.Selected()
	if id == "" || !a.detailShown() || a.snap.Link != Live {
		return nil
	}
	if d.about == id && !changed && (d.asking || a.now.Sub(d.gotAt) < detailOld) {
		return nil
	}
	if d.about != id {
		d.about, d.got, d.err, d.spec, d.log, d.top = id, nil, nil, "", nil, 0
	}
	d.gen++
	d.asking = true
	gen := d.gen
	return func() tea.Msg {
		if !a.pause(detailWait) {
			return nil
		}
		return detailDueMsg{gen: gen}
	}
}

// deliver asks the daemon, if the question is still the newest.
func (msg detailDueMsg) deliver(a *App) tea.Cmd {
	if msg.gen != a.detail.gen {
		return nil
	}
	id := a.detail.about
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		m := detailMsg{gen: msg.gen, id: id}
		if m.detail, m.err = a.opts.Backend.Get(ctx, id); m.err == nil && a.opts.SpecText != nil {
			m.spec = text.CleanLines(a.opts.SpecText(m.detail.Spec))
		}
		if m.err == nil && a.opts.Builds != nil && logTells(&m.detail) {
			m.log = logEnd(ctx, a.opts.Builds, id)
		}
		return m
	}
}

func (msg detailMsg) deliver(a *App) tea.Cmd {
	d := &a.detail
	if msg.gen != d.gen {
		return nil
	}
	d.asking, d.gotAt, d.err = false, a.now, msg.err
	if msg.err == nil {
		d.got, d.spec, d.log = &msg.detail, msg.spec, msg.log
	}
	return nil
}

// logMost is how many lines of a log the details show.
const logMost = 12

// logTells tells whether the log says why the sandbox failed.
func logTells(d *api.Detail) bool {
	return d.State == lifecycle.BuildFailed || d.State == lifecycle.Error && len(d.Spec.Setup) > 0
}

// logEnd is the end of a log in lines fit for a terminal. That there is none is
// no fault: the details are shown without it.
func logEnd(ctx context.Context, b Builds, id string) []string {
	lines, err := b.LogEnd(ctx, id, logMost)
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		s := text.Clean(l.Text)
		switch l.Stream {
		case api.LogPing:
			continue
		case api.LogStart:
			s = "$ " + s
		case api.LogStdout, api.LogStderr, api.LogEnd:
		}
		out = append(out, s)
	}
	return out
}

// detailLines draws the pane in h lines of w cells.
func (a *App) detailLines(w, h int) []string {
	th := &a.theme
	b := a.selected()
	lines := make([]string, 0, h)
	if b == nil {
		for len(lines) < h {
			lines = append(lines, text.Spaces(w))
		}
		return lines
	}
	lines = append(lines, a.tabLine(th, b.Name, w))
	p := page{th: th, w: w - 2}
	switch a.detail.tab {
	case tabSpec:
		a.specPage(&p)
	case tabHistory:
		a.historyPage(&p, b, h)
	case tabActivity:
		a.activityPage(&p, b.ID)
	default:
		a.overview(&p, b, h)
	}
	d := &a.detail
	d.lines, d.page = len(p.lines), max(h-1, 1)
	d.top = max(0, min(d.top, d.lines-d.page))
	for i := d.top; i < len(p.lines) && len(lines) < h; i++ {
		lines = append(lines, " "+p.lines[i])
	}
	if d.top+d.page < d.lines && len(lines) > 1 {
		more := th.Glyphs.Ellipsis + " more below "
		lines[len(lines)-1] = text.Spaces(w-text.Width(more)) + th.Muted.Paint(text.Cut(more, w, ""))
	}
	for i, l := range lines {
		lines[i] = text.Fit(l, w, "")
	}
	for len(lines) < h {
		lines = append(lines, text.Spaces(w))
	}
	return lines
}

// tabLine is the pane's first line: whose it is, and its tabs.
func (a *App) tabLine(th *theme.Theme, name string, w int) string {
	var tabs strings.Builder
	for i, t := range detailTabs() {
		tabs.WriteByte(' ')
		if i == a.detail.tab {
			th.Title.With(theme.Underline).Write(&tabs, t)
		} else {
			th.Muted.Write(&tabs, t)
		}
	}
	line := tabs.String() + " "
	room := w - text.Width(line) - 1
	if room < 4 {
		return text.Cut(line, w, "")
	}
	return " " + th.Strong.Paint(text.Fit(name, room, th.Glyphs.Ellipsis)) + line
}

// tabAt is the tab drawn at cell x of the pane's first line in w cells, or -1.
func (a *App) tabAt(x, w int) int {
	at := w - 1
	tabs := detailTabs()
	for i := len(tabs) - 1; i >= 0; i-- {
		end := at
		at -= text.Width(tabs[i])
		if x >= at && x < end {
			return i
		}
		at--
	}
	return -1
}
