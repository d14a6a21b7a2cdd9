package tui

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
)

// fixedKeys are those that no action has: they mean something because of what
// the program is doing, not of what is selected.
type fixedKeys struct {
	everywhere key.Binding // the actions' own, whatever is open
	detach     key.Binding // right after a detach: back, and on to the program
	giveUp     key.Binding // while a session is being joined
}

func newFixedKeys() fixedKeys {
	return fixedKeys{everywhere: on("ctrl+c", "ctrl+z"), detach: on(detachKey), giveUp: on("esc", detachKey, "ctrl+c")}
}

// key gives a key to whom it belongs: a session that is being joined, a dialog,
// the list.
func (a *App) key(k tea.KeyPressMsg) tea.Cmd {
	switch {
	case a.attach != nil:
		return a.typeAhead(k)
	case key.Matches(k, a.fixed.everywhere), a.small():
		return a.always(k)
	case a.dialogs.Top() != nil:
		return a.dialogs.Key(k)
	case key.Matches(k, a.fixed.detach):
		return a.returnTo()
	}
	act, why := a.actions.ForKey(k, a.scope())
	if act == nil {
		return nil
	}
	return a.perform(act, why)
}

// always handles the keys that mean the same everywhere, whatever is open.
func (a *App) always(k tea.KeyPressMsg) tea.Cmd {
	act, _ := a.actions.ForKey(k, a.scope())
	if act == nil || act.ID != actQuit && act.ID != actSuspend {
		return nil
	}
	return act.Run(a.scope())
}

// paste handles pasted text: the list has no use for it.
func (a *App) paste(s string) tea.Cmd {
	if a.attach != nil {
		a.attach.typed = append(a.attach.typed, s...)
		return nil
	}
	if d := a.dialogs.Top(); d != nil && !a.small() {
		return d.Paste(s)
	}
	return nil
}

// wheelStep is how many lines one notch of the wheel moves.
const wheelStep = 3

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
		a.list.Click(m.Y - a.headHeight())
	case tea.MouseWheelMsg:
		n := wheelStep
		switch m.Button {
		case tea.MouseWheelUp:
			n = -n
		case tea.MouseWheelDown:
		default:
			return nil
		}
		if s, ok := a.dialogs.Top().(dialog.Scroller); ok {
			return s.Scroll(n)
		} else if a.dialogs.Top() == nil {
			a.list.Scroll(n)
		}
	}
	return nil
}
