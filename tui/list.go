package tui

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/meter"
	"cove/tui/plot"
	"cove/tui/query"
	"cove/tui/table"
	"cove/tui/text"
	"cove/tui/theme"
)

// Cells of the sparkline and of the bar, and the blank before each.
const (
	sparkWidth = 8
	barWidth   = 8
)

// The columns' places in a row.
const (
	colName = iota
	colState
	colCPU
	colSpark
	colMemory
	colMemoryLimit
	colMemoryBar
	colWait
	colSince
	colGPU
	colDisk
	colDiskLimit
	colNext
	colIdle
	colProfile
	colNet
	colPids
	colAge
	colImage
	colLabels
	columnCount
)

// columns of the list. The name, the state, processor and memory never leave;
// the others do as the screen narrows, the last ones first. Optional ones are
// there only where some sandbox has something to show in them.
func columns() []table.Column {
	cols := make([]table.Column, columnCount)
	cols[colName] = table.Column{Title: "NAME", Min: 12, Good: 20, Max: 40, Sort: byName}
	cols[colState] = table.Column{Title: "STATE", Min: 9, Good: 11, Max: 24, Sort: byState}
	cols[colCPU] = table.Column{Title: "CPU", Min: 5, Max: 5, Right: true, Sort: byCPU}
	cols[colSpark] = table.Column{Min: sparkWidth + 1, Max: sparkWidth + 1, Joined: true, Leaves: 5, Sort: byCPU}
	cols[colMemory] = table.Column{Title: "MEM", Min: 5, Max: 5, Right: true, Sort: byMemory}
	cols[colMemoryLimit] = table.Column{Min: 3, Good: 6, Max: 6, Joined: true, Leaves: 2, Sort: byMemory}
	cols[colMemoryBar] = table.Column{Min: barWidth + 1, Max: barWidth + 1, Joined: true, Leaves: 11, Sort: byMemory}
	cols[colWait] = table.Column{Title: "WAIT", Min: 4, Max: 4, Leaves: 7, Optional: true}
	cols[colSince] = table.Column{Title: "SINCE", Min: 6, Max: 7, Right: true, Leaves: 1}
	cols[colGPU] = table.Column{Title: "GPU", Min: 4, Max: 7, Right: true, Leaves: 3, Optional: true, Sort: byGPU}
	cols[colDisk] = table.Column{Title: "DISK", Min: 5, Max: 5, Right: true, Leaves: 6, Optional: true, Sort: byDisk}
	cols[colDiskLimit] = table.Column{Min: 3, Good: 6, Max: 6, Joined: true, Leaves: 8, Optional: true, Sort: byDisk}
	cols[colNext] = table.Column{Title: "NEXT", Min: 11, Max: 14, Right: true, Leaves: 4, Optional: true}
	cols[colIdle] = table.Column{Title: "IDLE", Min: 5, Max: 6, Right: true, Leaves: 10}
	cols[colProfile] = table.Column{Title: "PROFILE", Min: 8, Max: 16, Leaves: 9, Sort: byProfile}
	cols[colNet] = table.Column{Title: "NET IN/OUT", Min: 10, Max: 11, Right: true, Leaves: 12}
	cols[colPids] = table.Column{Title: "PIDS", Min: 5, Max: 5, Right: true, Leaves: 13}
	cols[colAge] = table.Column{Title: "AGE", Min: 5, Max: 6, Right: true, Leaves: 14, Sort: byAge}
	cols[colImage] = table.Column{Title: "IMAGE", Min: 10, Max: 40, Leaves: 15}
	cols[colLabels] = table.Column{Title: "LABELS", Min: 14, Max: 60, Leaves: 16, Optional: true}
	return cols
}

// refresh makes the rows anew, because sandboxes, what they use, time, the
// filter or the theme changed.
func (a *App) refresh() {
	items := make([]item, 0, len(a.snap.Sandboxes))
	for i := range a.snap.Sandboxes {
		it := item{box: &a.snap.Sandboxes[i], meter: a.meters.Of(a.snap.Sandboxes[i].ID)}
		if a.filter.query.Empty() || a.matches(it) {
			items = append(items, it)
		}
	}
	a.order.sort(items)
	a.list.SetOrder(a.order.by, a.order.upwards())
	a.list.SetRows(a.rows(items))
}

// nextUrgent is the next sandbox of the list that needs a person, after the
// selected one and from the top again; "" when there is none.
func (a *App) nextUrgent() string {
	first, after, passed := "", "", false
	for id := range a.list.All() {
		if b := a.byID[id]; b != nil && attention(b) != calm {
			if first == "" {
				first = id
			}
			if passed && after == "" {
				after = id
			}
		}
		passed = passed || id == a.list.Selected()
	}
	return cmp.Or(after, first)
}

// matches tells whether the filter shows the sandbox.
func (a *App) matches(it item) bool {
	q := query.Item{Box: it.box, Attention: attention(it.box) != calm, Now: a.now}
	if m := it.meter; m != nil {
		q.Use = &query.Use{CPU: m.CPU(), Memory: m.Last.Memory, Pids: m.Last.Pids, Active: m.Last.Active}
	}
	return a.filter.query.Match(&q)
}

// rows makes the list's rows of items, in their order. Their texts are clean:
// the mirror sees to it.
func (a *App) rows(items []item) []table.Row {
	th, fresh, notes := &a.theme, a.fresh(), a.h >= notesHeight
	out := make([]table.Row, len(items))
	cells := make([]table.Cell, len(items)*columnCount)
	var values []float64
	for i, it := range items {
		b := it.box
		glyph, style := boxLook(b, th)
		long, short := stateWords(b, th)
		row := cells[i*columnCount : (i+1)*columnCount : (i+1)*columnCount]
		row[colName] = table.Cell{Text: b.Name, Style: th.Strong}
		row[colState] = table.Cell{Text: glyph + " " + long, Short: glyph + " " + short, Style: style}
		row[colSince] = table.Cell{Text: since(b, a.snap.Passing, a.now), Style: th.Text}
		row[colNext] = a.nextCell(it)
		row[colProfile] = table.Cell{Text: b.Profile, Style: th.Muted}
		row[colAge] = table.Cell{Text: text.Age(a.now.Sub(b.Created)), Style: th.Muted}
		row[colImage] = table.Cell{Text: shortImage(b.Image), Style: th.Muted}
		row[colLabels] = table.Cell{Text: strings.Join(labels(b), " "), Style: th.Muted}
		switch {
		case !uses(b.State):
		case !fresh || it.meter == nil:
			for _, c := range []int{colCPU, colMemory} {
				row[c] = table.Cell{Text: th.Glyphs.None, Style: th.Muted}
			}
		default:
			values = a.usage(row, it.meter, b, values)
		}
		out[i] = table.Row{ID: b.ID, Cells: row}
		switch {
		case !notes:
		case attention(b) != calm:
			out[i].Note, out[i].NoteStyle = trouble(b), style
		case b.Progress != "":
			out[i].Note, out[i].NoteStyle = b.Progress, th.Busy
		}
	}
	return out
}

// notesHeight is the height of a screen that has room for second lines.
const notesHeight = 14

// uses tells whether a sandbox in the state uses the processor and memory.
func uses(s lifecycle.State) bool { return s.Running() || s == lifecycle.Starting }

// usage fills the cells of what a sandbox uses; values is room to work in.
func (a *App) usage(row []table.Cell, m *meter.Meter, b *api.Sandbox, values []float64) []float64 {
	th := &a.theme
	none := table.Cell{Text: th.Glyphs.None, Style: th.Muted}
	u := &m.Last
	row[colCPU], row[colMemory], row[colIdle], row[colNet], row[colPids] = none, none, none, none, none
	if !m.Lacks("cpu") {
		cpu := m.CPU()
		row[colCPU] = table.Cell{Text: text.Percent(cpu), Style: th.Text}
		switch {
		case cpu < 0.005:
			row[colCPU].Style = th.Muted
		case share(cpu, u.CPULimit) >= 0.95: // as fast as it may, which is no fault
			row[colCPU].Style = th.Warn
		}
		values = m.CPUs(values[:0], sparkWidth)
		row[colSpark] = table.Cell{Text: " " + plot.Spark(th.Glyphs.Levels, values, cpuFull(values, u.CPULimit), sparkWidth), Style: th.Spark}
	}
	if !m.Lacks("memory") {
		style := level(th, share(float64(u.Memory), float64(u.MemoryLimit)))
		row[colMemory] = table.Cell{Text: text.Bytes(u.Memory), Style: style}
		if u.MemoryLimit > 0 {
			n := plot.Bar(share(float64(u.Memory), float64(u.MemoryLimit)), barWidth)
			row[colMemoryLimit] = table.Cell{Text: "/" + text.Bytes(u.MemoryLimit), Style: th.Muted}
			if style == th.Text {
				style = th.OK
			}
			row[colMemoryBar] = table.Cell{Text: " " + strings.Repeat(th.Glyphs.Fill, n), Style: style,
				More: strings.Repeat(th.Glyphs.Track, barWidth-n), MoreStyle: th.Track}
		}
	}
	a.limited(row, m)
	if idle := a.now.Sub(u.Active); !u.Active.IsZero() && b.State == lifecycle.Started && idle >= time.Minute {
		row[colIdle] = table.Cell{Text: text.Age(idle.Truncate(time.Minute)), Style: th.Muted}
	}
	if !m.Lacks("net_rx") && u.NetRxRate+u.NetTxRate >= 1 {
		row[colNet] = table.Cell{Text: text.Bytes(int64(u.NetRxRate)) + "/" + text.Bytes(int64(u.NetTxRate)), Style: th.Muted}
	}
	if !m.Lacks("pids") {
		row[colPids] = table.Cell{Text: strconv.FormatInt(u.Pids, 10), Style: level(th, share(float64(u.Pids), float64(u.PidsLimit)))}
	}
	return values
}

// share is how much of a limit is used; 0 where there is no limit.
func share(used, limit float64) float64 {
	if limit <= 0 {
		return 0
	}
	return used / limit
}

// level is the look of a number that is that share of its limit.
func level(th *theme.Theme, share float64) theme.Style {
	switch {
	case share >= 0.95:
		return th.Bad
	case share >= 0.8:
		return th.Warn
	}
	return th.Text
}

// cpuFull is what a graph of processor time shows at its full height: what was
// used at most, at least one core, and no more than the limit.
func cpuFull(values []float64, limit float64) float64 {
	full := max(1, highest(values))
	if limit > 0 {
		full = min(full, limit)
	}
	return full
}

// memoryFull is that of memory: the next power of two, and no more than the limit.
func memoryFull(values []float64, limit float64) float64 {
	full := float64(1 << 20)
	for most := highest(values); full < most; {
		full *= 2
	}
	if limit > 0 {
		full = min(full, limit)
	}
	return full
}

// highest is the largest value that is known.
func highest(values []float64) float64 {
	most := 0.0
	for _, v := range values {
		if v > most { // false for gaps
			most = v
		}
	}
	return most
}

// labels are a sandbox's as KEY=VALUE, sorted.
func labels(b *api.Sandbox) []string {
	out := make([]string, 0, len(b.Labels))
	for k, v := range b.Labels {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// shortImage leaves out of an image's reference what everybody leaves out.
func shortImage(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/library/"), "docker.io/")
}
