package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/text"
	"cove/tui/theme"
)

// parts writes pieces of a line one behind the other while they fit.
type parts struct {
	b          strings.Builder
	used, room int
}

// add adds a piece, unless it does not fit anymore.
func (p *parts) add(st theme.Style, s string) {
	if n := text.Width(s) + 2; p.used+n <= p.room {
		p.b.WriteString("  ")
		st.Write(&p.b, s)
		p.used += n
	}
}

// header says how many sandboxes there are in which state and what they use,
// and how the connection is when it is not as it should be.
func (a *App) header() string {
	th := &a.theme
	right, style := a.link()
	p := parts{room: a.w - text.Width(right) - 1}
	th.Title.Write(&p.b, " cove")
	p.used = len(" cove")
	if a.snap.Known {
		n := len(a.snap.Sandboxes)
		word := " sandboxes"
		if n == 1 {
			word = " sandbox"
		}
		head := strconv.Itoa(n) + word
		if first, last, more := a.list.InView(); more {
			head = fmt.Sprintf("%d-%d of %d", first, last, a.list.Len()) + word
		}
		p.add(th.Text, head)
		if w := a.filterWords(); w != "" && a.headHeight() == 1 {
			p.add(th.Warn, text.Cut(w, max(p.room-p.used-2, 0), th.Glyphs.Ellipsis))
		}
		if w := a.host.low(a.snap.Sandboxes); w != "" {
			p.add(th.Warn, th.Glyphs.Look+" "+w)
		}
		for _, c := range tally(a.snap.Sandboxes, th) {
			p.add(c.style, c.glyph+" "+strconv.Itoa(c.n)+" "+c.word)
		}
		if a.fresh() {
			cpu, memory := a.meters.Total()
			p.add(th.Muted, "cpu "+strconv.FormatFloat(cpu, 'f', 1, 64)+" cores  mem "+text.Bytes(memory))
		}
		for _, w := range a.host.words() {
			p.add(th.Muted, w)
		}
	}
	p.b.WriteString(text.Spaces(a.w - p.used - text.Width(right) - 1))
	style.Write(&p.b, right)
	p.b.WriteByte(' ')
	return p.b.String()
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

// banner is the line below the header: since when the daemon is gone, or else
// what the list is sorted by and what it leaves out.
func (a *App) banner() string {
	th := &a.theme
	if a.snap.Link == Down && a.snap.Known {
		return th.Warn.Paint(text.Fit(" "+th.Glyphs.Look+" "+a.outage(), a.w, th.Glyphs.Ellipsis))
	}
	p := parts{room: a.w}
	if len(a.snap.Sandboxes) == 0 {
		return text.Spaces(a.w)
	}
	by := a.order.by
	if a.order.reverse {
		by += " reversed"
	}
	p.used = -1
	p.add(th.Muted, "sorted by "+by)
	if w := a.filterWords(); w != "" {
		p.add(th.Warn, text.Cut(w, max(p.room-p.used-2, 0), th.Glyphs.Ellipsis))
	}
	if w := a.markedWords(); w != "" {
		p.add(th.Mark, th.Glyphs.Mark+" "+w)
	}
	if a.marks.from != "" {
		p.add(th.Mark, "marking a range")
	}
	if a.statsErr != nil && a.snap.Link == Live {
		p.add(th.Warn, text.Cut("no statistics: "+text.Clean(a.statsErr.Error()), max(p.room-p.used-2, 0), th.Glyphs.Ellipsis))
	}
	return p.b.String()[1:] + text.Spaces(a.w-p.used)
}

// outage says since when the daemon is gone, and what is done about it.
func (a *App) outage() string {
	s := &a.snap
	if s.Since.IsZero() {
		return "the daemon is gone"
	}
	dot := " " + a.theme.Glyphs.Dot + " "
	out := "the daemon is gone since " + s.Since.In(a.now.Location()).Format("15:04:05") + " (" + text.Age(a.now.Sub(s.Since)) + ")" + dot + "try " + strconv.Itoa(s.Tries)
	if wait := s.Next.Sub(a.now); wait > 0 {
		out += ", next in " + text.Age(max(wait, time.Second))
	}
	out += dot + "shown as it was then"
	if s.Err != nil {
		out += dot + text.Clean(s.Err.Error())
	}
	return out
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
		{g.Failed, "failed", th.Bad, 0}, {g.Look, "to look at", th.Warn, 0}, {g.Started, "started", th.OK, 0},
		{g.Passing, "under way", th.Busy, 0}, {g.Stopped, "at rest", th.Rest, 0},
	}
	for i := range boxes {
		switch s := boxes[i].State; {
		case failed(s):
			counts[0].n++
		case attention(&boxes[i]) != calm:
			counts[1].n++
		case s == lifecycle.Started:
			counts[2].n++
		case s.Passing():
			counts[3].n++
		default:
			counts[4].n++
		}
	}
	return slices.DeleteFunc(counts, func(c count) bool { return c.n == 0 })
}
