package tui

import (
	"slices"
	"strconv"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/meter"
	"cove/tui/table"
	"cove/tui/text"
)

// soonest is how near something has to be for the list to count down to it.
const soonest = time.Hour

// due is what a sandbox's automation does to it next, nil where there is
// nothing or where what is known of it is old. The statistics have what is true
// now of those that run; of the others nothing changes without an event.
func (a *App) due(it item) *api.Due {
	switch {
	case a.snap.Link != Live || it.box.State.Passing() || held(it.box):
		return nil
	case !uses(it.box.State):
		return it.box.Due
	case it.meter == nil || !a.fresh():
		return nil
	}
	return it.meter.Last.Due
}

// nextCell counts down to what happens soon.
func (a *App) nextCell(it item) table.Cell {
	d := a.due(it)
	if d == nil || d.At.IsZero() {
		return table.Cell{}
	}
	left := d.At.Sub(a.now)
	if left > soonest {
		return table.Cell{}
	}
	style := a.theme.Muted
	if d.Error != "" || left < time.Minute || d.Action == lifecycle.OpDelete {
		style = a.theme.Warn
	}
	return table.Cell{Text: text.Clean(string(d.Action)) + " " + text.Age(left), Style: style}
}

// nextWords say what happens to a sandbox next, when and why: "stops in 4m12s: no
// terminal, exec, cpu"; "" where there is nothing.
func (a *App) nextWords(b *api.Sandbox) string {
	return text.Clean(a.due(item{box: b, meter: a.meters.Of(b.ID)}).Text(a.now))
}

// limited fills the cells of what a sandbox has beside processor and memory,
// and of what it waits for.
func (a *App) limited(row []table.Cell, m *meter.Meter) {
	th, u := &a.theme, &m.Last
	if (u.Disk > 0 || u.DiskLimit > 0) && !m.Lacks("disk") {
		row[colDisk] = table.Cell{Text: text.Bytes(u.Disk), Style: level(th, share(float64(u.Disk), float64(u.DiskLimit)))}
		if u.DiskLimit > 0 {
			row[colDiskLimit] = table.Cell{Text: "/" + text.Bytes(u.DiskLimit), Style: th.Muted}
		}
	}
	if len(u.GPUs) > 0 {
		row[colGPU] = table.Cell{Text: gpuShort(u.GPUs), Style: th.Text}
	}
	if w := m.Waits(); w != "" {
		row[colWait] = table.Cell{Text: w, Style: th.Warn}
	}
}

// gpuShort is how busy the devices are in few cells: their average where all
// are known, and how many where there are several.
func gpuShort(gpus []api.GPUUse) string {
	busy := 0.0
	for _, g := range gpus {
		if slices.Contains(g.Missing, "utilization") {
			return strconv.Itoa(len(gpus))
		}
		busy += g.Utilization
	}
	s := text.Percent(busy / float64(len(gpus)))
	if len(gpus) > 1 {
		s = strconv.Itoa(len(gpus)) + ":" + s
	}
	return s
}

// tellHeld says which sandboxes stand still from now on, or go on; boxes are
// what follows on the app's own.
func (a *App) tellHeld(boxes []api.Sandbox) {
	var stopped, freed []*api.Sandbox
	for i := range boxes {
		b, was := &boxes[i], a.byID[boxes[i].ID]
		switch {
		case was == nil:
		case held(b) && !held(was):
			stopped = append(stopped, b)
		case held(was) && !held(b) && b.State == lifecycle.Started:
			freed = append(freed, b)
		}
	}
	switch {
	case len(stopped) == 1:
		a.notice.say(a.now, stopped[0].Name+" is held: "+stopped[0].Held)
	case len(stopped) > 1:
		a.notice.say(a.now, strconv.Itoa(len(stopped))+" sandboxes are held: "+stopped[0].Held)
	case len(freed) == 1:
		a.notice.say(a.now, freed[0].Name+" goes on: it is held no more")
	case len(freed) > 1:
		a.notice.say(a.now, strconv.Itoa(len(freed))+" sandboxes go on: they are held no more")
	}
}
