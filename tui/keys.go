package tui

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// fixedKeys are those that no action has: they mean something because of what
// the program is doing, not of what is selected.
type fixedKeys struct {
	everywhere key.Binding // the actions' own, whatever is open
	detach     key.Binding // right after a detach: back, and on to the program
	giveUp     key.Binding // while a session is being joined
	leave      key.Binding // while the details cover the list: back to it
}

func newFixedKeys() fixedKeys {
	return fixedKeys{everywhere: on("ctrl+c", "ctrl+z"), detach: on(detachKey), giveUp: on("esc", detachKey, "ctrl+c"), leave: on("q")}
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
	case a.filter.editing():
		a.filterKey(k)
		return nil
	case key.Matches(k, a.fixed.detach):
		return a.returnTo()
	case a.detailOver() && key.Matches(k, a.fixed.leave):
		a.toggleDetail()
		return nil
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
	switch d := a.dialogs.Top(); {
	case a.small():
	case d != nil:
		return d.Paste(s)
	case a.filter.editing():
		a.filter.input.Insert(s)
		a.setFilter(a.filter.input.Value())
	}
	return nil
}
