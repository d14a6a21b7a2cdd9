package tui

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
)

// undoneMsg is the daemon's answer to an undo.
type undoneMsg struct {
	work *work
	box  api.Sandbox
	err  error
}

// undoDelete asks for the sandbox that was deleted last.
func (a *App) undoDelete() tea.Cmd {
	w, shown := a.begin("undo", "the last delete", "cove undo")
	return tea.Batch(shown, func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		defer cancel()
		box, err := a.opts.Backend.Undo(ctx)
		return undoneMsg{w, box, err}
	})
}

func (msg undoneMsg) deliver(a *App) tea.Cmd {
	a.end(msg.work, msg.err, false)
	a.catchUp()
	if msg.err == nil {
		a.want = msg.box.ID
		a.take(a.snap)
		a.notice.say(a.now, cleaned(msg.box).Name+" is back, stopped   $ "+msg.work.cli)
	}
	return nil
}
