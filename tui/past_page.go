package tui

import (
	"slices"
	"strconv"

	"cove/runtime/api"
	"cove/tui/meter"
	"cove/tui/plot"
	"cove/tui/text"
)

// changesRoom is the lines that the graphs leave to what is around them.
const changesRoom = 9

// changesMost is how many changes of state the page has at most.
const changesMost = 200

// historyPage is what became of a sandbox and what it used; h is the height of
// the pane.
func (a *App) historyPage(p *page, b *api.Sandbox, h int) {
	d := &a.past
	th := p.th
	var scale string
	for i, r := range pastRanges() {
		word := " " + rangeWord(r) + " "
		if i == d.scale {
			scale += th.Strong.Paint("[" + rangeWord(r) + "]")
		} else {
			scale += th.Muted.Paint(word)
		}
	}
	scale += "  " + th.Key.Paint(a.keyOf(actShorter)) + th.Muted.Paint(" shorter  ") + th.Key.Paint(a.keyOf(actLonger)) + th.Muted.Paint(" longer")
	p.lines = append(p.lines, text.Cut(scale, p.w, ""))
	switch {
	case d.about != b.ID || d.span != pastRanges()[d.scale] || d.got == nil && d.err == nil:
		p.plain(th.Muted, "asking the daemon"+th.Glyphs.Ellipsis)
		return
	case d.err != nil:
		p.plain(th.Bad, d.err.Error())
		return
	}
	if len(d.got.Samples) == 0 {
		p.plain(th.Muted, "There is no sample of that time: what runs is counted every ten seconds, what is idle once a minute.")
	} else {
		a.pastGraphs(p, b, h)
	}
	p.head("CHANGES")
	if len(d.got.Changes) == 0 {
		p.plain(th.Muted, "none in that time")
	}
	zone := a.now.Location()
	for i := len(d.got.Changes) - 1; i >= max(0, len(d.got.Changes)-changesMost); i-- {
		c := &d.got.Changes[i]
		_, style := stateLook(c.State, th)
		if !failed(c.State) {
			style = th.Text
		}
		words := string(c.State)
		if r := reasonWords(c.Reason); r != "" && !c.State.Running() && !c.State.Passing() {
			words += ": " + r
		}
		if c.Held != "" {
			words += ", held: " + c.Held
		}
		p.styled(c.Time.In(zone).Format("15:04:05"), style, words)
	}
}

// pastGraphs draws the graphs that have something in them.
func (a *App) pastGraphs(p *page, b *api.Sandbox, h int) {
	d := &a.past
	all, values := meter.AllSeries(), d.values(p.w)
	var shown []int
	for i, s := range all {
		if s.Name != "gpu" && s.Name != "disk" || len(b.GPUs) > 0 && s.Name == "gpu" || highest(values[i]) > 0 {
			shown = append(shown, i)
		}
	}
	high := max(1, min((h-changesRoom)/len(shown)-1, 5))
	for _, i := range shown {
		words, full := a.pastWords(all[i].Name, b, values[i])
		p.styled(all[i].Name, p.th.Text, p.listed(words...))
		for _, l := range plot.Graph(p.th.Glyphs.Levels, values[i], full, p.w, high) {
			p.lines = append(p.lines, p.th.Spark.Paint(l))
		}
	}
	from := d.at.Add(-d.span).In(a.now.Location()).Format("15:04")
	p.lines = append(p.lines, p.th.Muted.Paint(text.Fit(from, max(p.w-3, 0), "")+"now"))
}

// pastWords are about one graph, with what it is at its full height.
func (a *App) pastWords(name string, b *api.Sandbox, values []float64) (words []string, full float64) {
	most := highest(values)
	var limits api.Stats
	if m := a.meters.Of(b.ID); m != nil {
		limits = m.Last
	}
	size := func(limit int64) ([]string, float64) {
		full := memoryFull(values, float64(limit))
		words := []string{"most " + text.Bytes(int64(most))}
		if limit > 0 {
			words = append(words, "limit "+text.Bytes(limit))
		}
		return append(words, "graph to "+text.Bytes(int64(full))), full
	}
	switch name {
	case "cpu":
		full := cpuFull(values, limits.CPULimit)
		return []string{"average " + text.Percent(mean(values)) + " of a core", "most " + text.Percent(most), "graph to " + text.Percent(full)}, full
	case "gpu":
		return []string{"average " + text.Percent(mean(values)), "most " + text.Percent(most)}, 1
	case "memory":
		return size(limits.MemoryLimit)
	case "disk":
		return size(limits.DiskLimit)
	}
	return []string{"most " + strconv.FormatFloat(most, 'f', 0, 64)}, max(most, 1)
}

// mean is the average of the values that are known.
func mean(values []float64) float64 {
	known := slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return v != v }) // gaps
	if len(known) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range known {
		sum += v
	}
	return sum / float64(len(known))
}
