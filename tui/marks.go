package tui

import (
	"maps"
	"slices"
	"strconv"

	"cove/runtime/api"
)

// marks are the sandboxes that actions are meant for instead of the selected
// one. They are ids: a mark stays on its sandbox whatever the list shows.
type marks struct {
	ids map[string]bool
	// from is where a range begins, "" when none is being made; before is
	// what was marked until then.
	from   string
	before map[string]bool
}

func (m *marks) has(id string) bool { return m.ids[id] }

func (m *marks) set(id string, on bool) {
	if m.ids == nil {
		m.ids = make(map[string]bool)
	}
	if on {
		m.ids[id] = true
	} else {
		delete(m.ids, id)
	}
}

// clear removes all marks, and tells whether there were any.
func (m *marks) clear() bool {
	had := len(m.ids) > 0
	*m = marks{}
	return had
}

// toggleMark marks the selected sandbox, or not, and goes on to the next.
func (a *App) toggleMark() {
	if a.marks.from != "" { // the range is done
		a.marks.from = ""
		return
	}
	id := a.list.Selected()
	if id == "" {
		return
	}
	a.marks.set(id, !a.marks.has(id))
	a.list.Move(1)
}

// toggleRange begins a range at the selected sandbox, or ends it.
func (a *App) toggleRange() {
	if a.marks.from != "" {
		a.marks.from = ""
		return
	}
	a.marks.from, a.marks.before = a.list.Selected(), maps.Clone(a.marks.ids)
	a.stretch()
}

// stretch marks from where the range began to the selected sandbox.
func (a *App) stretch() {
	if a.marks.from == "" {
		return
	}
	a.marks.ids = maps.Clone(a.marks.before)
	for _, id := range a.list.Between(a.marks.from) {
		a.marks.set(id, true)
	}
}

// toggleAll marks all that the list shows, or none of them when all are.
func (a *App) toggleAll() {
	a.marks.from = ""
	ids := a.list.IDs()
	on := slices.ContainsFunc(ids, func(id string) bool { return !a.marks.has(id) })
	for _, id := range ids {
		a.marks.set(id, on)
	}
}

// prune forgets marks of sandboxes that are no more.
func (a *App) prune() {
	maps.DeleteFunc(a.marks.ids, func(id string, _ bool) bool { return a.find(id) == nil })
}

// marked returns the marked sandboxes, by name.
func (a *App) marked() []*api.Sandbox {
	if len(a.marks.ids) == 0 {
		return nil
	}
	var out []*api.Sandbox
	for i := range a.snap.Sandboxes {
		if b := &a.snap.Sandboxes[i]; a.marks.has(b.ID) {
			out = append(out, b)
		}
	}
	return out
}

// markedWords is how many are marked, "" when none.
func (a *App) markedWords() string {
	n := len(a.marks.ids)
	if n == 0 {
		return ""
	}
	hidden := n
	for id := range a.list.All() {
		if a.marks.has(id) {
			hidden--
		}
	}
	s := strconv.Itoa(n) + " marked"
	if hidden > 0 {
		s += " (" + strconv.Itoa(hidden) + " not shown)"
	}
	return s
}
