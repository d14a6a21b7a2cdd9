package tui

import (
	"context"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/action"
	"cove/tui/dialog"
)

// patience is how long one operation of the daemon may take: as long as an
// image can take to be pulled.
const patience = 15 * time.Minute

// doneMsg is the daemon's answer to an operation.
type doneMsg struct {
	id, name, verb string
	err            error
}

// ask sends an operation on a sandbox to the daemon.
func (a *App) ask(verb string, box *api.Sandbox, do func(context.Context, string) error) tea.Cmd {
	id, name := box.ID, box.Name
	a.sent[id] = verb
	a.notice.say(a.now, verb+" "+name+a.theme.Glyphs.Ellipsis)
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		defer cancel()
		return doneMsg{id: id, name: name, verb: verb, err: do(ctx, id)}
	}
}

// past is what a verb becomes when it is done.
func past(verb string) string {
	switch verb {
	case "stop":
		return "stopped"
	case "delete":
		return "deleted"
	}
	return verb + "ed"
}

// cli is the command line's name of a verb.
func cli(verb, name string) string {
	if verb == "delete" {
		verb = "rm"
	}
	return "cove " + verb + " " + action.Quote(name)
}

func (a *App) answered(msg doneMsg) {
	delete(a.sent, msg.id)
	if msg.err != nil {
		a.notice.fail(msg.verb+" "+msg.name, msg.err)
		return
	}
	a.notice.say(a.now, fmt.Sprintf("%s %s   $ %s", past(msg.verb), msg.name, cli(msg.verb, msg.name)))
}

// askDelete asks the person first.
func (a *App) askDelete(box *api.Sandbox) tea.Cmd {
	b := *box
	body := "Its files are deleted with it."
	switch {
	case b.State.Running():
		body = "What runs in it ends, and its files are deleted with it."
	case b.State.Passing():
		body = fmt.Sprintf("It is %s: that is broken off, and its files are deleted with it.", b.State)
	}
	a.dialogs.Open(dialog.NewConfirm("Delete "+b.Name+"?", body, cli("delete", b.Name), "Delete", func() tea.Cmd {
		// Much may have happened while the question stood there.
		c := scope{app: a, box: a.find(b.ID)}
		if why := a.actionReason(actDelete, c); why != "" {
			a.notice.say(a.now, "delete: "+why)
			return nil
		}
		return a.ask("delete", c.box, a.opts.Backend.Delete)
	}))
	return nil
}

// showError opens the whole of the error in the notice.
func (a *App) showError() {
	a.dialogs.Open(dialog.NewMessage("error", "Error", a.notice.whole))
}
