package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/meter"
	"cove/tui/text"
)

// timeline is what the daemon keeps of the selected sandbox: its states and what it
// used, over the last minutes or hours.
type timeline struct {
	scale int // of pastRanges

	gen    int // numbers the questions
	asking bool
	about  string // the id and the span that got or err are about
	span   time.Duration
	at     time.Time
	got    *api.History
	err    error

	drawn pastDrawn
}

// pastDrawn is the values of the graphs, made when they are drawn first.
type pastDrawn struct {
	got    *api.History
	w      int
	values [][]float64
}

// pastRanges are the spans of time that can be seen.
func pastRanges() []time.Duration {
	return []time.Duration{15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}
}

// rangeWord is a span as the page names it.
func rangeWord(d time.Duration) string {
	if d == 24*time.Hour {
		return "24h"
	}
	return text.Age(d)
}

// zoom shows a longer or a shorter time.
func (a *App) zoom(n int) {
	a.past.scale = max(0, min(a.past.scale+n, len(pastRanges())-1))
	a.detail.top = 0
}

// pastSpan is how much of the past is wanted now: what the page shows, or what
// the graphs of a sandbox that has not been watched for long begin with.
func (a *App) pastSpan(id string) time.Duration {
	switch a.detail.tab {
	case tabHistory:
		return pastRanges()[a.past.scale]
	case tabOverview:
		if m := a.meters.Of(id); m != nil && !m.Seeded() {
			return meter.Depth * api.StatsInterval
		}
	}
	return 0
}

// pastDueMsg says that it is time to ask for the past, unless something else is
// wanted by now.
type pastDueMsg struct{ gen int }

// pastMsg is the daemon's answer.
type pastMsg struct {
	gen int
	got api.History
	err error
}

// wantPast asks for the past where it is shown and not known, or old.
func (a *App) wantPast(changed bool) tea.Cmd {
	d := &a.past
	id := a.list.Selected()
	if id == "" || !a.detailShown() || a.snap.Link != Live {
		return nil
	}
	span := a.pastSpan(id)
	if span == 0 {
		return nil
	}
	if d.about == id && d.span == span && !changed && (d.asking || a.now.Sub(d.at) < pastOld(span)) {
		return nil
	}
	if d.about != id || d.span != span {
		d.about, d.span, d.got, d.err = id, span, nil, nil
	}
	d.gen++
	d.asking = true
	gen := d.gen
	return func() tea.Msg {
		if !a.pause(detailWait) {
			return nil
		}
		return pastDueMsg{gen: gen}
	}
}

// pastOld is when the past of that span is asked for anew: as soon as the graph
// could show a difference.
func pastOld(span time.Duration) time.Duration { return max(span/100, 2*detailOld) }

func (msg pastDueMsg) deliver(a *App) tea.Cmd {
	if msg.gen != a.past.gen {
		return nil
	}
	id, span := a.past.about, a.past.span
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		m := pastMsg{gen: msg.gen}
		m.got, m.err = a.opts.Backend.History(ctx, id, span)
		return m
	}
}

func (msg pastMsg) deliver(a *App) tea.Cmd {
	d := &a.past
	if msg.gen != d.gen {
		return nil
	}
	d.asking, d.at, d.err = false, a.now, msg.err
	if msg.err == nil {
		d.got = &msg.got
	}
	if m := a.meters.Of(d.about); m != nil {
		m.Seed(msg.got.Samples) // with none too: it is not asked for again
	}
	return nil
}

// values are the series in w cells, up to when the daemon was asked.
func (d *timeline) values(w int) [][]float64 {
	if d.drawn.got != d.got || d.drawn.w != w {
		d.drawn = pastDrawn{got: d.got, w: w}
		for _, s := range meter.AllSeries() {
			d.drawn.values = append(d.drawn.values, s.Resample(d.got.Samples, d.at.Add(-d.span), d.at, w))
		}
	}
	return d.drawn.values
}
