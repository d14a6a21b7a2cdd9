package tui

import (
	"errors"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/dialog"
	"cove/tui/form"
	"cove/tui/text"
	"cove/tui/theme"
)

// createForm is the dialog that asks what sandbox to make. It belongs to the
// program, which does for it what takes IO.
type createForm struct {
	app    *App
	fields *createFields
	form   *form.Form
	keys   createKeys

	rev      int  // of the answers: a preview of others is late
	checking bool // a preview is under way
	loaded   bool // the profiles are there
	eager    bool // enter was pressed before they were
	preview  Preview
	seen     int // the answers that preview is about
	refusal  map[string]form.Note
	err      error    // of the whole: the daemon's, or why there are no profiles
	origins  []string // what there is to make one of
	volumes  []string // the names of those there are

	busy   *work // the create under way
	broken bool  // which is being broken off
	attach bool  // and attach to it then
}

type createKeys struct{ create, attach, cancel, leave, stop, copy, all key.Binding }

func newCreateKeys() createKeys {
	helped := func(b key.Binding, what string) key.Binding {
		b.SetHelp(b.Keys()[0], what)
		return b
	}
	return createKeys{
		create: helped(on("enter"), "create"), attach: helped(on("alt+enter"), "and attach"), cancel: helped(on("esc"), "cancel"),
		leave: helped(on("esc"), "leave it to the daemon"), stop: helped(on("ctrl+x"), "break off"), copy: helped(on("ctrl+y"), "copy $"), all: helped(on("ctrl+o"), "all of the error"),
	}
}

func newCreateForm(a *App) *createForm {
	f := &createForm{app: a, rev: 1, fields: newCreateFields(getenv(a.opts.Environ, "HOME"), len(a.host.gpus) > 0, a.opts.Volumes != nil), keys: newCreateKeys()}
	f.fields.profile.Waiting = "reading the profiles" + a.theme.Glyphs.Ellipsis
	f.form = form.New(f.fields.items()...)
	f.judge()
	return f
}

// ID implements dialog.Dialog.
func (f *createForm) ID() string { return "create" }

// Key implements dialog.Dialog.
func (f *createForm) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	switch {
	case key.Matches(k, f.keys.copy):
		return false, f.app.copy("the command", f.command())
	case key.Matches(k, f.keys.all) && f.err != nil:
		f.app.showText("Error", f.whole())
		return false, nil
	case key.Matches(k, f.keys.cancel):
		return f.escape()
	case f.busy != nil && key.Matches(k, f.keys.stop) && !f.broken:
		f.broken = true
		return false, f.app.ask("delete", cli("delete", f.busy.what), &api.Sandbox{ID: f.busy.id, Name: f.busy.what}, f.app.opts.Backend.Delete)
	case f.busy != nil:
		return false, nil
	case key.Matches(k, f.keys.create):
		return false, f.enter(false)
	case key.Matches(k, f.keys.attach):
		return false, f.enter(true)
	}
	if f.form.Key(k) {
		return false, f.changed()
	}
	return false, nil
}

// escape leaves the form; it asks first when there is something to lose.
func (f *createForm) escape() (bool, tea.Cmd) {
	if f.busy != nil {
		return true, nil // the daemon goes on with it
	}
	if !f.fields.typed() {
		f.app.form = nil
		return true, nil
	}
	f.app.dialogs.Open(dialog.NewConfirm("Leave the form?", "What was typed is lost.", "", "Leave", func() tea.Cmd {
		f.app.dialogs.Close(f)
		f.app.form = nil
		return nil
	}))
	return false, nil
}

// Paste implements dialog.Dialog.
func (f *createForm) Paste(s string) tea.Cmd {
	if f.busy != nil {
		return nil
	}
	f.form.Paste(s)
	return f.changed()
}

// Click implements dialog.Dialog.
func (f *createForm) Click(x, y int) (bool, tea.Cmd) {
	if f.busy != nil {
		return false, nil
	}
	f.form.Click(x, y)
	return false, f.changed()
}

// Scroll implements dialog.Scroller.
func (f *createForm) Scroll(n int) tea.Cmd {
	if f.busy != nil {
		return nil
	}
	f.form.Scroll(n)
	return f.changed()
}

// profile is the name of the chosen profile, "" when there is none.
func (f *createForm) profile() string {
	o, _ := f.fields.profile.Chosen()
	return o.Name
}

// command is the same on the command line.
func (f *createForm) command() string {
	return CreateCommand(f.profile(), strings.TrimSpace(f.fields.name.Value()), f.fields.flags())
}

// changed is called when the person has done something: answers may be others
// than before.
func (f *createForm) changed() tea.Cmd {
	f.rev++
	f.refusal, f.eager = nil, false
	f.complete()
	if f.loaded && f.profile() != "" {
		f.err = nil
	}
	f.judge()
	return f.check()
}

// check asks for a preview, one at a time.
func (f *createForm) check() tea.Cmd {
	name := f.profile()
	if f.checking || name == "" || f.seen == f.rev {
		return nil
	}
	f.checking = true
	typed := ""
	if f.form.Focus() == fieldMounts {
		if line, atEnd := f.fields.mounts.Current(); atEnd && !strings.Contains(line, ":") {
			typed = f.fields.expand(line)
		}
	}
	return f.app.previewed(f, name, f.fields.flags(), typed)
}

// take takes a preview of the answers of rev.
func (f *createForm) take(msg previewMsg) tea.Cmd {
	f.checking, f.seen = false, msg.rev
	f.preview = msg.preview
	if msg.err != nil {
		f.preview.Problems = []config.Problem{{Message: msg.err.Error()}}
	} else if msg.profile == f.profile() {
		f.fields.over(msg.preview.Base)
	}
	if msg.rev == f.rev {
		f.fields.mounts.Ghost = msg.ghost
	}
	f.judge()
	return f.check()
}

// enter sends the request when there is nothing wrong with it.
func (f *createForm) enter(attach bool) tea.Cmd {
	if !f.loaded {
		f.eager, f.attach = true, attach
		return nil
	}
	if f.seen != f.rev {
		// What the last preview found was about what stood there before. The
		// create itself checks it all again.
		f.preview.Problems, f.preview.Missing = nil, nil
		f.judge()
	}
	if bad := f.form.FirstBad(); bad != "" {
		f.form.FocusOn(bad)
		return nil
	}
	if f.profile() == "" {
		f.form.FocusOn(fieldProfile)
		return nil
	}
	f.err, f.refusal, f.attach = nil, nil, attach
	return f.app.create(f, f.profile(), strings.TrimSpace(f.fields.name.Value()), f.fields.flags())
}

// refused puts what is wrong beside the field that it is about, or below all.
func (f *createForm) refused(err error) {
	f.busy, f.broken, f.err = nil, false, err
	f.refusal = map[string]form.Note{}
	var problems []config.Problem
	var profile *config.ProfileError
	var answer *api.Error
	switch {
	case errors.As(err, &profile):
		problems = profile.Problems
	case errors.As(err, &answer) && answer.Code == api.CodeExists:
		f.refusal[fieldName] = form.Note{Kind: form.Bad, Text: answer.Message}
	case errors.As(err, &answer):
		problems = answer.Problems
	}
	for _, p := range problems {
		if id := f.fields.fieldOf(p); f.refusal[id].Text == "" {
			f.refusal[id] = problemNote(p)
		}
	}
	f.judge()
	if bad := f.form.FirstBad(); bad != "" {
		f.form.FocusOn(bad)
	}
	if len(f.refusal) > 0 {
		f.err = nil // each stands beside its field
	}
}

// whole is the error in full, with what can be done.
func (f *createForm) whole() string { return "$ " + f.command() + "\n\n" + f.err.Error() }

// createWidth is how wide the form is drawn at most, createTall how many lines
// its fields take at least, where there are as many.
const (
	createWidth = 88
	createTall  = 18
)

// Draw implements dialog.Dialog.
func (f *createForm) Draw(th *theme.Theme, w, h int) dialog.Content {
	w = min(w, createWidth)
	f.judge() // a name may have been taken meanwhile
	still := f.busy != nil || f.app.dialogs.Top() != dialog.Dialog(f)
	return frameForm(th, "New sandbox", f.form, f.foot().draw(th, w, h >= 20), w, h, createTall, still)
}

// foot is what is below the fields: the error or the progress, the command
// line, the keys.
func (f *createForm) foot() *formFoot {
	foot := &formFoot{err: f.err, command: f.command()}
	foot.hints = []key.Help{f.keys.create.Help(), {Key: "tab", Desc: "next"}, f.keys.cancel.Help(), f.keys.attach.Help(), f.keys.copy.Help()}
	switch {
	case f.busy != nil:
		foot.busy = f.progress()
		foot.hints = []key.Help{f.keys.leave.Help(), f.keys.stop.Help(), f.keys.copy.Help()}
	case f.err != nil:
		foot.hints = slices.Insert(foot.hints, 0, f.keys.all.Help())
	case f.fields.mounts.Ghost != "" && f.form.Focus() == fieldMounts, f.fields.image.Ghost != "" && f.form.Focus() == fieldImage, f.fields.volumes.Ghost != "" && f.form.Focus() == fieldVolumes:
		foot.hints[1].Desc = "completes"
	}
	return foot
}

// progress says how far the create is, by what the daemon tells of it.
func (f *createForm) progress() string {
	word := "creating"
	if b := f.app.find(f.busy.id); b != nil && b.State.Passing() {
		word = strings.ReplaceAll(string(b.State), "_", " ")
		switch {
		case b.State == lifecycle.PullingSnapshot && b.Progress != "": // which says so itself
			word = text.Clean(b.Progress)
		case b.Progress != "":
			word += ": " + text.Clean(b.Progress)
		}
	}
	if f.broken {
		word = "breaking it off"
	}
	return word + f.app.theme.Glyphs.Ellipsis + f.busy.elapsed(f.app.now)
}
