package tui

import (
	"fmt"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/query"
	"cove/tui/text"
	"cove/tui/theme"
)

// filter is what the list shows of all sandboxes.
type filter struct {
	text  string      // as it was typed
	query query.Query // of what could be understood
	err   error       // why some of it could not
	input *dialog.Input
	keys  filterKeys
}

type filterKeys struct{ keep, clear, up, down key.Binding }

// filterMost is how many runes a filter may have.
const filterMost = 200

func newFilter() filter {
	return filter{keys: filterKeys{keep: on("enter", "tab"), clear: on("esc", "ctrl+["), up: on("up", "ctrl+p"), down: on("down", "ctrl+n")}}
}

// editing tells whether keys are typed into the filter.
func (f *filter) editing() bool { return f.input != nil }

// openFilter begins typing.
func (a *App) openFilter() {
	a.filter.input = dialog.NewInput(filterMost)
	a.filter.input.Insert(a.filter.text)
}

// filterKey handles a key while the filter is typed.
func (a *App) filterKey(k tea.KeyPressMsg) {
	f := &a.filter
	switch {
	case key.Matches(k, f.keys.keep):
		if f.err == nil { // one that cannot be understood is mended first
			f.input = nil
		}
	case key.Matches(k, f.keys.clear):
		a.clearFilter()
	case key.Matches(k, f.keys.up):
		a.list.Move(-1)
	case key.Matches(k, f.keys.down):
		a.list.Move(1)
	default:
		f.input.Key(k)
		a.setFilter(f.input.Value())
	}
}

// setFilter shows what the expression says. Words that cannot be understood are
// said to be so, and hide nothing.
func (a *App) setFilter(s string) {
	if s == a.filter.text {
		return
	}
	a.filter.text = s
	a.filter.query, a.filter.err = query.Parse(s)
	a.refresh()
}

// clearFilter shows all, and tells whether that is a change.
func (a *App) clearFilter() bool {
	had := a.filter.text != "" || a.filter.editing()
	a.filter = newFilter()
	a.refresh()
	return had
}

// filterWords is what the filter does, "" when there is none.
func (a *App) filterWords() string {
	if a.filter.text == "" {
		return ""
	}
	return fmt.Sprintf("/%s  %d of %d", a.filter.text, a.list.Len(), len(a.snap.Sandboxes))
}

// filterLine is the line in which the filter is typed, and its cursor's cell.
func (a *App) filterLine(th *theme.Theme) (string, int) {
	f := &a.filter
	right, style := fmt.Sprintf("%d of %d ", a.list.Len(), len(a.snap.Sandboxes)), th.Muted
	if f.err != nil {
		right, style = text.Clean(f.err.Error())+" ", th.Bad
	} else if f.text == "" {
		right = "text  state:started  label:k=v  cpu>50  mem>1GiB  !not "
	}
	const least = 14 // of what is typed
	right = text.Cut(right, max(a.w-least, 0), th.Glyphs.Ellipsis)
	room := a.w - 2 - text.Width(right) - 1
	shown, x := f.input.View(max(room, 1))
	return th.Key.Paint(" /") + th.Input.Paint(text.Fit(shown, room, "")) + " " + style.Paint(right), 2 + x
}
