package tui

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/action"
	"cove/tui/dialog"
	"cove/tui/text"
)

// patience is how long one operation of the daemon may take: as long as an
// image can take to be pulled.
const patience = 15 * time.Minute

// work is something that was asked of the daemon and not answered yet.
type work struct {
	id         string // the sandbox's, "" when it is about several or none yet
	verb, what string // "stop", "fix-auth"
	cli        string // the same on the command line
	since      time.Time
	note       string // how far it is, "" where that is not known
}

// elapsed is how long it has been under way, in words that follow it; nothing
// for less than a second.
func (w *work) elapsed(now time.Time) string {
	if d := now.Sub(w.since); d >= time.Second {
		return " " + text.Age(d)
	}
	return ""
}

// workDelay is how long something is under way before it is shown: what is
// done at once needs no word.
const workDelay = 300 * time.Millisecond

// workMsg makes the screen look again at what is under way.
type workMsg struct{}

func (workMsg) deliver(*App) tea.Cmd { return nil }

// begin notes that something is under way. The command brings it to the screen
// when it takes long enough to be worth a word.
func (a *App) begin(verb, what, cli string) (*work, tea.Cmd) {
	w := &work{verb: verb, what: what, cli: cli, since: a.now}
	a.works = append(a.works, w)
	return w, func() tea.Msg {
		if !a.pause(a.soon) {
			return nil
		}
		return workMsg{}
	}
}

// end notes how it ended. A failure that is shown elsewhere is quiet.
func (a *App) end(w *work, err error, quiet bool) {
	a.works = slices.DeleteFunc(a.works, func(o *work) bool { return o == w })
	a.history.did(w, a.now, err)
	if err != nil && !quiet {
		a.notice.fail(w.verb+" "+w.what, w.cli, err)
	}
}

// catchUp shows what the mirror knows at this moment. The daemon tells of a
// change before it answers who asked for it: the list must not lag behind the
// answer, or the next key would act on what was.
func (a *App) catchUp() {
	if s := a.mirror.Snapshot(); s.Known {
		a.take(s)
	}
}

// fail notes a failure of something that never got under way.
func (a *App) fail(what, command string, err error) {
	a.history.did(&work{verb: what, cli: command, since: a.now}, a.now, err)
	a.notice.fail(what, command, err)
}

// working says what is under way, in a few words: "" when nothing takes long.
func (a *App) working() string {
	var slow []*work
	for _, w := range a.works {
		if a.now.Sub(w.since) >= workDelay {
			slow = append(slow, w)
		}
	}
	switch len(slow) {
	case 0:
		return ""
	case 1:
		s := slow[0].verb + " " + text.Clean(slow[0].what) + a.theme.Glyphs.Ellipsis + slow[0].elapsed(a.now)
		if slow[0].note != "" {
			s += "  " + slow[0].note
		}
		return s
	}
	return fmt.Sprintf("%d under way%s%s", len(slow), a.theme.Glyphs.Ellipsis, slow[0].elapsed(a.now))
}

// doneMsg is the daemon's answer to an operation.
type doneMsg struct {
	id, name, verb string
	work           *work
	batch          int // of which it is a part, 0 for none
	err            error
}

// ask sends an operation on a sandbox to the daemon; command is the same on the
// command line.
func (a *App) ask(verb, command string, box *api.Sandbox, do func(context.Context, string) error) tea.Cmd {
	w, shown := a.begin(verb, box.Name, command)
	w.id = box.ID
	a.notice.say(a.now, verb+" "+box.Name+a.theme.Glyphs.Ellipsis)
	return tea.Batch(shown, a.send(doneMsg{id: box.ID, name: box.Name, verb: verb, work: w}, do))
}

// send sends one operation. Of a batch a few are sent at a time.
func (a *App) send(msg doneMsg, do func(context.Context, string) error) tea.Cmd {
	a.sent[msg.id] = msg.verb
	return func() tea.Msg {
		if msg.batch != 0 {
			select {
			case a.slots <- struct{}{}:
				defer func() { <-a.slots }()
			case <-a.ctx.Done():
				msg.err = context.Cause(a.ctx)
				return msg
			}
		}
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		defer cancel()
		msg.err = do(ctx, msg.id)
		return msg
	}
}

// past is what a verb becomes when it is done.
func past(verb string) string {
	switch verb {
	case "stop":
		return "stopped"
	case "label":
		return "labelled"
	case "automate":
		return "changed"
	}
	if strings.HasSuffix(verb, "e") { // delete, pause, resume, rename
		return verb + "d"
	}
	return verb + "ed"
}

// cliName is the command line's name of a verb.
func cliName(verb string) string {
	if verb == "delete" {
		verb = "rm"
	}
	return "cove " + verb
}

// cli is the command line's form of a verb on a sandbox.
func cli(verb, name string) string { return cliName(verb) + " " + action.Quote(name) }

func (msg doneMsg) deliver(a *App) tea.Cmd {
	delete(a.sent, msg.id)
	if msg.batch != 0 {
		a.counted(msg)
		return nil
	}
	w := msg.work
	if w == nil {
		w = &work{id: msg.id, verb: msg.verb, what: msg.name, cli: cli(msg.verb, msg.name), since: a.now}
	}
	a.end(w, msg.err, false)
	a.catchUp()
	if msg.err == nil {
		said := fmt.Sprintf("%s %s   $ %s", past(msg.verb), msg.name, w.cli)
		if msg.verb == "delete" {
			said += "   " + a.keyOf(actUndo) + " brings it back"
		}
		a.notice.say(a.now, said)
	}
	return nil
}

// askDelete asks the person first.
func (a *App) askDelete(c scope) tea.Cmd {
	if len(c.marked) > 0 {
		a.askMany(c.marked, operation{verb: "delete", id: actDelete, do: a.opts.Backend.Delete,
			effect: "What runs in them ends, and their files are deleted with them. For 10 minutes each can be brought back."})
		return nil
	}
	b := *c.box
	body := "Its files are deleted with it."
	switch {
	case b.State.Running():
		body = "What runs in it ends, and its files are deleted with it."
	case b.State.Passing():
		body = fmt.Sprintf("It is %s: that is broken off, and its files are deleted with it.", b.State)
	}
	body += " For 10 minutes " + a.keyOf(actUndo) + " brings it back."
	a.dialogs.Open(dialog.NewConfirm("Delete "+b.Name+"?", body, cli("delete", b.Name), "Delete", func() tea.Cmd {
		// Much may have happened while the question stood there.
		c := scope{app: a, box: a.find(b.ID)}
		if why := a.actionReason(actDelete, c); why != "" {
			a.notice.say(a.now, "delete: "+why)
			return nil
		}
		return a.ask("delete", cli("delete", c.box.Name), c.box, a.opts.Backend.Delete)
	}))
	return nil
}

// showError opens the whole of the error in the notice.
func (a *App) showError() { a.showText("Error", a.notice.whole) }

// showText opens a text that can be scrolled and copied.
func (a *App) showText(title, body string) {
	a.dialogs.Open(dialog.NewMessage(strings.ToLower(title), title, body).Copies(func(s string) tea.Cmd { return a.copy("it", s) }))
}

// copy puts s into the clipboard of the person's terminal (OSC 52), and says
// so. Terminals do not say whether they have done it.
func (a *App) copy(what, s string) tea.Cmd {
	a.notice.say(a.now, fmt.Sprintf("copied %s (%d characters), where the terminal allows it", what, len([]rune(s))))
	return tea.SetClipboard(s)
}
