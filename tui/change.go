package tui

import (
	"context"
	"errors"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/dialog"
	"cove/tui/form"
	"cove/tui/theme"
)

// changeForm is the dialog that changes settings of one sandbox. Its fields show
// what is now, and what is typed takes its place. It stays open, with all that
// was typed, until the daemon has done it.
type changeForm struct {
	app        *App
	act        string // the action's id
	id, name   string
	verb       string // "resize"
	kind       changeKind
	form       *form.Form
	keys       changeKeys
	spec       *config.Spec // what it has now, nil until the daemon has told
	err        error        // the daemon's
	refusal    map[string]form.Note
	busy       *work
	eager      bool // enter was pressed before the daemon had told
	fieldNames []string
}

// changeKind is what one kind of change is about.
type changeKind interface {
	// title and items are the form's.
	title(name string) string
	items() []form.Item
	// show puts what is now behind what is typed.
	show(s *config.Spec)
	// note is what is to be said of a field: what is wrong with it, or a fact.
	note(id string, s *config.Spec, use *api.Stats) form.Note
	// apply puts what was typed into s. It tells whether there is anything.
	apply(s *config.Spec) bool
	// command is the same on the command line.
	command(name string) string
	// field is the field that a key of a profile is about, "" for none.
	field(key string) string
	// send asks the daemon; changed is what apply made.
	send(ctx context.Context, b Backend, id string, changed *config.Spec) error
}

type changeKeys struct{ take, cancel, copy, all key.Binding }

func newChangeKeys() changeKeys {
	helped := func(b key.Binding, what string) key.Binding {
		b.SetHelp(b.Keys()[0], what)
		return b
	}
	return changeKeys{take: helped(on("enter"), "change it"), cancel: helped(on("esc"), "cancel"), copy: helped(on("ctrl+y"), "copy $"), all: helped(on("ctrl+o"), "all of the error")}
}

// changeSpecMsg brings what a sandbox has now to the form that asked.
type changeSpecMsg struct {
	form *changeForm
	spec config.Spec
	err  error
}

// changedMsg is the answer to a change.
type changedMsg struct {
	form *changeForm
	work *work
	err  error
}

// openChange opens the dialog and asks what the sandbox has now.
func (a *App) openChange(act, verb string, box *api.Sandbox, kind changeKind) tea.Cmd {
	f := &changeForm{app: a, act: act, verb: verb, id: box.ID, name: box.Name, kind: kind, keys: newChangeKeys()}
	items := kind.items()
	for _, it := range items {
		f.fieldNames = append(f.fieldNames, it.ID)
	}
	f.form = form.New(items...)
	a.dialogs.Open(f)
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		d, err := a.opts.Backend.Get(ctx, f.id)
		return changeSpecMsg{form: f, spec: d.Spec, err: err}
	}
}

func (msg changeSpecMsg) deliver(a *App) tea.Cmd {
	f := msg.form
	if !a.dialogs.Has(f) {
		return nil
	}
	if f.err = msg.err; msg.err != nil {
		return nil
	}
	f.spec = &msg.spec
	f.kind.show(f.spec)
	if f.eager {
		f.eager = false
		return f.enter()
	}
	return nil
}

// ID implements dialog.Dialog.
func (f *changeForm) ID() string { return f.verb }

// command is the same on the command line.
func (f *changeForm) command() string { return f.kind.command(f.name) }

// Key implements dialog.Dialog.
func (f *changeForm) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	switch {
	case key.Matches(k, f.keys.cancel):
		return true, nil // the daemon goes on with what it was asked
	case key.Matches(k, f.keys.copy):
		return false, f.app.copy("the command", f.command())
	case key.Matches(k, f.keys.all) && f.err != nil:
		f.app.showText("Error", "$ "+f.command()+"\n\n"+f.err.Error())
	case f.busy != nil:
	case key.Matches(k, f.keys.take):
		return false, f.enter()
	case f.form.Key(k):
		f.touched()
	}
	return false, nil
}

// touched is called when the person has done something to the form.
func (f *changeForm) touched() {
	f.refusal, f.eager = nil, false
	if f.spec != nil {
		f.err = nil
	}
}

// Paste implements dialog.Dialog.
func (f *changeForm) Paste(s string) tea.Cmd {
	if f.busy == nil {
		f.form.Paste(s)
		f.touched()
	}
	return nil
}

// Click implements dialog.Dialog.
func (f *changeForm) Click(x, y int) (bool, tea.Cmd) {
	if f.busy == nil {
		f.form.Click(x, y)
	}
	return false, nil
}

// Scroll implements dialog.Scroller.
func (f *changeForm) Scroll(n int) tea.Cmd {
	if f.busy == nil {
		f.form.Scroll(n)
	}
	return nil
}

// judge says beside every field how it stands: what can be seen at once, what
// is wrong with the whole as it would be, what the daemon said.
func (f *changeForm) judge() {
	var use *api.Stats
	if m := f.app.meters.Of(f.id); m != nil && f.app.fresh() {
		use = &m.Last
	}
	var problems []config.Problem
	if f.spec != nil {
		changed := *f.spec
		if f.kind.apply(&changed) {
			problems = changed.Validate()
		}
	}
	for _, id := range f.fieldNames {
		n := f.kind.note(id, f.spec, use)
		if i := slices.IndexFunc(problems, func(p config.Problem) bool { return f.kind.field(p.Key) == id }); i >= 0 && n.Kind != form.Bad {
			n = problemNote(problems[i])
		}
		if r := f.refusal[id]; r.Text != "" && n.Kind != form.Bad {
			n = r
		}
		f.form.Say(id, n)
	}
}

// enter sends the change when there is one and nothing is wrong with it.
func (f *changeForm) enter() tea.Cmd {
	if f.spec == nil {
		f.eager = f.err == nil
		return nil
	}
	f.err, f.refusal = nil, nil
	f.judge()
	if bad := f.form.FirstBad(); bad != "" {
		f.form.FocusOn(bad)
		return nil
	}
	a := f.app
	changed := *f.spec
	if !f.kind.apply(&changed) {
		f.err = errors.New("nothing was changed yet")
		return nil
	}
	if why := a.actionReason(f.act, scope{app: a, box: a.find(f.id)}); why != "" {
		f.err = errors.New(f.verb + ": " + why)
		return nil
	}
	w, shown := a.begin(f.verb, f.name, f.command())
	w.id = f.id
	f.busy = w
	a.sent[f.id] = f.verb
	return tea.Batch(shown, func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		defer cancel()
		return changedMsg{form: f, work: w, err: f.kind.send(ctx, a.opts.Backend, f.id, &changed)}
	})
}

func (msg changedMsg) deliver(a *App) tea.Cmd {
	f := msg.form
	delete(a.sent, f.id)
	open := a.dialogs.Has(f)
	a.end(msg.work, msg.err, open)
	a.catchUp()
	f.busy = nil
	if msg.err == nil {
		a.dialogs.Close(f)
		a.detail.about = "" // what it has now is to be asked for again
		a.notice.say(a.now, past(f.verb)+" "+f.name+"   $ "+msg.work.cli)
		return nil
	}
	f.refused(msg.err)
	return nil
}

// refused puts what is wrong beside the field that it is about, or below all.
func (f *changeForm) refused(err error) {
	f.err, f.refusal = err, map[string]form.Note{}
	var answer *api.Error
	if !errors.As(err, &answer) {
		return
	}
	placed := 0
	for _, p := range answer.Problems {
		if id := f.kind.field(p.Key); id != "" && f.refusal[id].Text == "" {
			f.refusal[id] = problemNote(p)
			placed++
		}
	}
	f.judge()
	if bad := f.form.FirstBad(); bad != "" {
		f.form.FocusOn(bad)
	}
	if placed > 0 && placed == len(answer.Problems) {
		f.err = nil // each stands beside its field
	}
}

// changeWidth is how wide the form is drawn at most.
const changeWidth = 76

// Draw implements dialog.Dialog.
func (f *changeForm) Draw(th *theme.Theme, w, h int) dialog.Content {
	w = min(w, changeWidth)
	f.judge()
	still := f.busy != nil || f.app.dialogs.Top() != dialog.Dialog(f)
	return frameForm(th, f.kind.title(f.name), f.form, f.foot(th).draw(th, w, h >= 16), w, h, 0, still)
}

// foot is what is below the fields: the error or the progress, the command
// line, the keys.
func (f *changeForm) foot(th *theme.Theme) *formFoot {
	foot := &formFoot{err: f.err, command: f.command()}
	foot.hints = []key.Help{f.keys.take.Help(), {Key: "tab", Desc: "next"}, f.keys.cancel.Help(), f.keys.copy.Help()}
	switch {
	case f.busy != nil:
		foot.busy = f.verb + th.Glyphs.Ellipsis + f.busy.elapsed(f.app.now)
		if b := f.app.find(f.id); b != nil && b.Progress != "" {
			foot.busy += ": " + b.Progress
		}
		foot.hints = []key.Help{{Key: "esc", Desc: "leave it to the daemon"}, f.keys.copy.Help()}
	case f.err != nil:
		foot.hints = slices.Insert(foot.hints, 3, f.keys.all.Help())
	case f.spec == nil:
		foot.waiting = "asking the daemon what it has now" + th.Glyphs.Ellipsis
	}
	return foot
}

// typedOf is what was typed into a field, without blanks around it.
func typedOf(t *form.Text) string { return strings.TrimSpace(t.Value()) }
