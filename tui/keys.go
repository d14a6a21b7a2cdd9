package tui

import (
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
)

// key gives a key to whom it belongs: a session that is being joined, a dialog,
// the list.
func (a *App) key(k tea.KeyPressMsg) tea.Cmd {
	switch {
	case a.attach != nil:
		return a.typeAhead(k)
	case k.String() == "ctrl+c", k.String() == "ctrl+z", a.small():
		return a.always(k.String())
	case a.dialogs.Top() != nil:
		return a.dialogs.Key(k)
	case k.String() == detachKey:
		return a.returnTo()
	}
	act, why := a.actions.ForKey(k.String(), a.scope())
	if act == nil {
		return nil
	}
	return a.perform(act, why)
}

// always handles the keys that mean the same everywhere, whatever is open.
func (a *App) always(key string) tea.Cmd {
	act, _ := a.actions.ForKey(key, a.scope())
	if act == nil || act.ID != actQuit && act.ID != actSuspend {
		return nil
	}
	return act.Run(a.scope())
}

// paste handles pasted text: the list has no use for it.
func (a *App) paste(s string) {
	if a.attach != nil {
		a.attach.typed = append(a.attach.typed, s...)
		return
	}
	if d := a.dialogs.Top(); d != nil && !a.small() {
		d.Paste(s)
	}
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
			s.Scroll(n)
		} else if a.dialogs.Top() == nil {
			a.list.Scroll(n)
		}
	}
	return nil
}
