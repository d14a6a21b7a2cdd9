package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
)

// wheelStep is how many lines one notch of the wheel moves.
const wheelStep = 3

// doubleClick is how soon after a click the second one on the same row means
// Enter.
const doubleClick = 400 * time.Millisecond

// click is the last click on a row.
type click struct {
	id string
	at time.Time
}

// still drops messages of a mouse that is only moved: nothing here follows it,
// and each of them would cost a frame.
func still(_ tea.Model, msg tea.Msg) tea.Msg {
	switch msg.(type) {
	case tea.MouseMotionMsg, tea.MouseReleaseMsg:
		return nil
	}
	return msg
}

// mouse handles clicks and the wheel.
func (a *App) mouse(msg tea.MouseMsg) tea.Cmd {
	if a.small() || a.attach != nil {
		return nil
	}
	m := msg.Mouse()
	switch msg.(type) {
	case tea.MouseClickMsg:
		if m.Button != tea.MouseLeft {
			return nil
		}
		if a.dialogs.Top() != nil {
			return a.dialogs.Click(m.X, m.Y)
		}
		return a.pressed(m.X, m.Y)
	case tea.MouseWheelMsg:
		n := wheelStep
		switch m.Button {
		case tea.MouseWheelUp:
			n = -n
		case tea.MouseWheelDown:
		default:
			return nil
		}
		return a.wheel(m.X, n)
	}
	return nil
}

// wheel scrolls what the mouse is over.
func (a *App) wheel(x, n int) tea.Cmd {
	top := a.dialogs.Top()
	if s, ok := top.(dialog.Scroller); ok {
		return s.Scroll(n)
	}
	switch {
	case top != nil:
	case a.detailOver(), a.sideWidth() > 0 && x >= a.w-a.sideWidth():
		a.scrollDetail(n)
	default:
		a.list.Scroll(n)
	}
	return nil
}

// pressed handles a click into the list or the pane.
func (a *App) pressed(x, y int) tea.Cmd {
	y -= a.headHeight()
	side := a.sideWidth()
	switch {
	case a.detailOver():
		a.pressTab(x, y, a.w)
		return nil
	case side > 0 && x >= a.w-side:
		a.pressTab(x-(a.w-side), y, side)
		return nil
	case y == 0:
		if by := a.list.TitleAt(x); by != "" {
			a.sortBy(by)
		}
		return nil
	case !a.list.Click(y):
		return nil
	}
	last := a.click
	a.click = click{id: a.list.Selected(), at: a.now}
	if last.id != a.click.id || a.now.Sub(last.at) > doubleClick {
		return nil
	}
	a.click = click{}
	act, ok := a.actions.Find(actAttach)
	if !ok {
		return nil
	}
	return a.perform(act, act.Reason(a.scope()))
}

// pressTab shows the tab at x of a pane of w cells.
func (a *App) pressTab(x, y, w int) {
	if i := a.tabAt(x, w); y == 0 && i >= 0 {
		a.turnTab(i - a.detail.tab)
	}
}
