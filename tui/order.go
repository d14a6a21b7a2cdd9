package tui

import (
	"cmp"
	"slices"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/dialog"
	"cove/tui/meter"
)

// order is what the list is sorted by. What it finds first comes first:
// the most urgent, the greediest, the newest; reverse turns that round.
type order struct {
	by      string
	reverse bool
}

// The orders.
const (
	byAttention = "attention"
	byName      = "name"
	byCPU       = "cpu"
	byMemory    = "memory"
	byDisk      = "disk"
	byGPU       = "gpu"
	byAge       = "age"
	byState     = "state"
	byProfile   = "profile"
)

// orders are all of them with what their first is, for the menu.
func orders() []struct{ by, about string } {
	return []struct{ by, about string }{
		{byAttention, "what needs you first, then by name"}, {byName, "a to z"}, {byCPU, "the busiest first"},
		{byMemory, "the largest first"}, {byDisk, "who occupies the most first"}, {byGPU, "the busiest first"}, {byAge, "the newest first"}, {byState, "alike together"}, {byProfile, "alike together"},
	}
}

// item is a sandbox of the list with what it is sorted by.
type item struct {
	box   *api.Sandbox
	meter *meter.Meter
}

// sort puts items in order. Those that are equal are by name, and the
// processor's share is in whole percent, so that rows do not dance.
func (o order) sort(items []item) {
	use := func(it item, of func(*meter.Meter) int64) int64 {
		if it.meter == nil {
			return -1
		}
		return of(it.meter)
	}
	slices.SortStableFunc(items, func(x, y item) int {
		n := 0
		switch o.by {
		case byAttention:
			n = cmp.Compare(attention(y.box), attention(x.box))
		case byCPU:
			percent := func(m *meter.Meter) int64 { return int64(m.CPU()*100 + 0.5) }
			n = cmp.Compare(use(y, percent), use(x, percent))
		case byMemory:
			mebis := func(m *meter.Meter) int64 { return m.Last.Memory >> 20 }
			n = cmp.Compare(use(y, mebis), use(x, mebis))
		case byDisk:
			mebis := func(m *meter.Meter) int64 { return m.Last.Disk >> 20 }
			n = cmp.Compare(use(y, mebis), use(x, mebis))
		case byGPU:
			n = cmp.Compare(use(y, gpuPercent), use(x, gpuPercent))
		case byAge:
			n = y.box.Created.Compare(x.box.Created)
		case byState:
			n = cmp.Compare(x.box.State, y.box.State)
		case byProfile:
			n = cmp.Compare(x.box.Profile, y.box.Profile)
		}
		byNames := cmp.Or(cmp.Compare(x.box.Name, y.box.Name), cmp.Compare(x.box.ID, y.box.ID))
		if o.by == byName {
			n = byNames
		}
		if o.reverse {
			n = -n
		}
		return cmp.Or(n, byNames)
	})
}

// gpuPercent is how busy a sandbox's devices are together; those that cannot be
// told count as idle ones, which comes before having none.
func gpuPercent(m *meter.Meter) int64 {
	if len(m.Last.GPUs) == 0 {
		return -1
	}
	busy := 0.0
	for _, g := range m.Last.GPUs {
		busy += g.Utilization
	}
	return int64(busy*100 + 0.5)
}

// upwards tells whether the lowest is on top: the first letter, the least age.
func (o order) upwards() bool {
	switch o.by {
	case byName, byAge, byState, byProfile:
		return !o.reverse
	}
	return o.reverse
}

// sortBy sorts by what the person asks for; asked again, the other way round.
func (a *App) sortBy(by string) {
	a.order = order{by: by, reverse: a.order.by == by && !a.order.reverse}
	a.refresh()
	a.notice.say(a.now, a.order.words(a))
}

// words say how the list is sorted.
func (o order) words(a *App) string {
	s := "sorted by " + o.by
	if o.reverse {
		s += ", the other way round"
	}
	return s + "; " + a.keyOf(actSort) + " changes it"
}

// openSort asks what the list is sorted by.
func (a *App) openSort() tea.Cmd {
	letters := map[string]string{byAttention: "a", byName: "n", byCPU: "c", byMemory: "m", byDisk: "d", byGPU: "u", byAge: "g", byState: "s", byProfile: "p"}
	var entries []dialog.Entry
	at := 0
	for i, o := range orders() {
		if o.by == a.order.by {
			at = i
			o.about += ", now"
		}
		entries = append(entries, dialog.Entry{Key: letters[o.by], Title: o.by, About: o.about, Run: func() tea.Cmd { a.sortBy(o.by); return nil }})
	}
	a.dialogs.Open(dialog.NewMenu("Sort by", at, entries...))
	return nil
}
