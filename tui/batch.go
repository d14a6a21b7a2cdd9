package tui

import (
	"context"
	"errors"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/action"
	"cove/tui/dialog"
	"cove/tui/text"
)

// batch is one operation on many sandboxes: asked about once, and summed up
// when the last of them is done.
type batch struct {
	work   *work
	total  int
	done   []string
	failed []string // NAME: why
}

// commandMost is how much of a command line is in a question; all of it is in
// the activity afterwards.
const commandMost = 300

// atOnce is how many operations of batches are sent at a time.
const atOnce = 8

// operation is what can be asked of the daemon for one sandbox or for many.
type operation struct {
	verb   string // in the person's words
	id     string // the action's
	do     func(context.Context, string) error
	effect string // what it means for the sandboxes, in a question
}

// order sends the operation for the sandboxes that are meant: at once for one,
// after a question for those that are marked.
func (a *App) command(c scope, op operation) tea.Cmd {
	if len(c.marked) == 0 {
		return a.ask(op.verb, cli(op.verb, c.box.Name), c.box, op.do)
	}
	a.askMany(c.marked, op)
	return nil
}

// askMany asks once whether the operation is meant for all those sandboxes.
func (a *App) askMany(boxes []*api.Sandbox, op operation) {
	can, names, left := a.possible(boxes, op)
	noun := "sandboxes"
	if len(can) == 1 {
		noun = "sandbox"
	}
	body := some(names) + "\n" + op.effect
	if len(left) > 0 {
		body += "\nLeft out: " + some(left)
	}
	verb := strings.ToUpper(op.verb[:1]) + op.verb[1:]
	title := fmt.Sprintf("%s %d %s?", verb, len(can), noun)
	command := cliName(op.verb) + " " + action.Quote(names...)
	a.dialogs.Open(dialog.NewConfirm(title, body, text.Cut(command, commandMost, a.theme.Glyphs.Ellipsis), verb, func() tea.Cmd { return a.runMany(can, command, op) }))
}

// some is a list of words that stays readable however long it is.
func some(words []string) string {
	const most = 20
	if len(words) <= most+1 {
		return strings.Join(words, ", ")
	}
	return strings.Join(words[:most], ", ") + fmt.Sprintf(" and %d more", len(words)-most)
}

// possible is which of the sandboxes the operation is legal for, and why it is
// not for the others.
func (a *App) possible(boxes []*api.Sandbox, op operation) (ids, names, left []string) {
	for _, b := range boxes {
		if why := a.actionReason(op.id, scope{app: a, box: b}); why != "" {
			left = append(left, b.Name+" ("+string(b.State)+")")
			continue
		}
		ids, names = append(ids, b.ID), append(names, b.Name)
	}
	return ids, names, left
}

// runMany sends the operation for all sandboxes for which it is still legal:
// much may have happened while the question stood there.
func (a *App) runMany(ids []string, command string, op operation) tea.Cmd {
	a.batches++
	n := a.batches
	b := &batch{}
	var cmds []tea.Cmd
	for _, id := range ids {
		box := a.find(id)
		if box == nil {
			continue
		}
		b.total++
		if why := a.actionReason(op.id, scope{app: a, box: box}); why != "" {
			b.failed = append(b.failed, box.Name+": "+why)
			continue
		}
		cmds = append(cmds, a.send(doneMsg{id: id, name: box.Name, verb: op.verb, batch: n}, op.do))
	}
	var shown tea.Cmd
	b.work, shown = a.begin(op.verb, fmt.Sprintf("%d sandboxes", b.total), command)
	cmds = append(cmds, shown)
	a.running[n] = b
	a.marks.clear()
	a.sum(n)
	return tea.Batch(cmds...)
}

// counted takes the answer to one operation of a batch.
func (a *App) counted(msg doneMsg) {
	b := a.running[msg.batch]
	if b == nil {
		return
	}
	if msg.err != nil {
		b.failed = append(b.failed, msg.name+": "+msg.err.Error())
	} else {
		b.done = append(b.done, msg.name)
	}
	a.sum(msg.batch)
}

// sum says how a batch went when all of it is answered, and how far it is until
// then.
func (a *App) sum(n int) {
	b := a.running[n]
	verb := b.work.verb
	answered := len(b.done) + len(b.failed)
	if answered < b.total {
		a.notice.say(a.now, fmt.Sprintf("%s: %d of %d done%s", verb, answered, b.total, a.theme.Glyphs.Ellipsis))
		return
	}
	delete(a.running, n)
	var err error
	if len(b.failed) > 0 {
		err = errors.New(strings.Join(b.failed, "\n"))
	}
	a.end(b.work, err, true)
	switch {
	case err != nil:
		what := fmt.Sprintf("%d failed", len(b.failed))
		if len(b.done) > 0 {
			what = fmt.Sprintf("%d %s, ", len(b.done), past(verb)) + what
		}
		a.notice.fail(what, b.work.cli, err)
	case len(b.done) > 0:
		a.notice.say(a.now, fmt.Sprintf("%d %s   $ %s", len(b.done), past(verb), b.work.cli))
	}
}
