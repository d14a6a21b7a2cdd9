package tui

import (
	"context"
	"errors"
	"slices"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/form"
	"cove/tui/text"
	"cove/tui/theme"
)

// request is something that is asked of the daemon once: what it is called, the
// same on the command line, and what does it. do returns what to say of it.
type request struct {
	verb, what, cli string
	id              string // of the sandbox that it is about, "" for none
	do              func(context.Context) (string, error)
	// patient is set on what may take as long as it takes.
	patient bool
	// then runs after it went well, after however it went, in the program's
	// loop.
	then, after func(a *App)
}

// requestMsg is the answer to a request.
type requestMsg struct {
	work  *work
	from  *request
	sheet *sheet // that asked, nil for none
	said  string
	err   error
}

// request sends r. What the daemon keeps is looked at anew after it.
func (a *App) request(r request, from *sheet) tea.Cmd {
	w, shown := a.begin(r.verb, r.what, r.cli)
	w.id = r.id
	if r.id != "" {
		a.sent[r.id] = r.verb
	}
	if from != nil {
		from.busy = w
	}
	return tea.Batch(shown, func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		if r.patient {
			ctx, cancel = context.WithCancel(a.ctx)
		}
		defer cancel()
		said, err := r.do(ctx)
		return requestMsg{w, &r, from, said, err}
	})
}

func (msg requestMsg) deliver(a *App) tea.Cmd {
	if msg.from.id != "" {
		delete(a.sent, msg.from.id)
	}
	s := msg.sheet
	open := s != nil && a.dialogs.Has(s)
	a.end(msg.work, msg.err, open)
	a.catchUp()
	a.restock()
	if s != nil {
		s.busy, s.err = nil, msg.err
	}
	if msg.from.after != nil {
		msg.from.after(a)
	}
	if msg.err != nil {
		return nil
	}
	if open {
		a.dialogs.Close(s)
	}
	if msg.from.then != nil {
		msg.from.then(a)
	}
	if msg.said != "" {
		a.notice.say(a.now, msg.said+"   $ "+msg.work.cli)
	}
	return nil
}

// sheet is a dialog of a few fields whose answers make one request. It stays
// open, with all that was typed, until the daemon has done it.
type sheet struct {
	app   *App
	id    string // the dialog's
	title func() string
	form  *form.Form
	keys  sheetKeys
	// judge puts notes on the fields; make is what the answers ask for.
	judge func(f *form.Form)
	make  func() request
	// wrong is why it cannot be asked for at all now, "" when it can.
	wrong func() string

	busy *work
	err  error
}

type sheetKeys struct{ take, cancel, copy, all key.Binding }

// openSheet opens the dialog.
func (a *App) openSheet(s *sheet, take string) tea.Cmd {
	helped := func(b key.Binding, what string) key.Binding {
		b.SetHelp(b.Keys()[0], what)
		return b
	}
	s.app = a
	s.keys = sheetKeys{take: helped(on("enter"), take), cancel: helped(on("esc"), "cancel"), copy: helped(on("ctrl+y"), "copy $"), all: helped(on("ctrl+o"), "all of the error")}
	a.dialogs.Open(s)
	return nil
}

// ID implements dialog.Dialog.
func (s *sheet) ID() string { return s.id }

// Key implements dialog.Dialog.
func (s *sheet) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	switch {
	case key.Matches(k, s.keys.cancel):
		return true, nil // the daemon goes on with what it was asked
	case key.Matches(k, s.keys.copy):
		return false, s.app.copy("the command", s.make().cli)
	case key.Matches(k, s.keys.all) && s.err != nil:
		s.app.showText("Error", whole(s.make().verb, s.make().cli, s.err))
	case s.busy != nil:
	case key.Matches(k, s.keys.take):
		return false, s.enter()
	case s.form.Key(k):
		s.err = nil
	}
	return false, nil
}

// enter sends the request when nothing is wrong with it.
func (s *sheet) enter() tea.Cmd {
	s.judge(s.form)
	if bad := s.form.FirstBad(); bad != "" {
		s.form.FocusOn(bad)
		return nil
	}
	if why := s.app.scope().online(); why != "" {
		s.err = errors.New(why)
		return nil
	}
	if s.wrong != nil {
		if why := s.wrong(); why != "" {
			s.err = errors.New(why)
			return nil
		}
	}
	s.err = nil
	return s.app.request(s.make(), s)
}

// Paste implements dialog.Dialog.
func (s *sheet) Paste(text string) tea.Cmd {
	if s.busy == nil {
		s.form.Paste(text)
	}
	return nil
}

// Click implements dialog.Dialog.
func (s *sheet) Click(x, y int) (bool, tea.Cmd) {
	if s.busy == nil {
		s.form.Click(x, y)
	}
	return false, nil
}

// Scroll implements dialog.Scroller.
func (s *sheet) Scroll(n int) tea.Cmd {
	if s.busy == nil {
		s.form.Scroll(n)
	}
	return nil
}

// Draw implements dialog.Dialog.
func (s *sheet) Draw(th *theme.Theme, w, h int) dialog.Content {
	w = min(w, changeWidth)
	s.judge(s.form)
	r := s.make()
	foot := &formFoot{err: s.err, command: r.cli, hints: []key.Help{s.keys.take.Help(), {Key: "tab", Desc: "next"}, s.keys.cancel.Help(), s.keys.copy.Help()}}
	switch {
	case s.busy != nil:
		foot.busy = r.verb + th.Glyphs.Ellipsis + s.busy.elapsed(s.app.now)
		if b := s.app.find(r.id); b != nil && b.Progress != "" {
			foot.busy += ": " + text.Clean(b.Progress)
		}
		foot.hints = []key.Help{{Key: "esc", Desc: "leave it to the daemon"}, s.keys.copy.Help()}
	case s.err != nil:
		foot.hints = slices.Insert(foot.hints, 3, s.keys.all.Help())
	}
	still := s.busy != nil || s.app.dialogs.Top() != dialog.Dialog(s)
	return frameForm(th, s.title(), s.form, foot.draw(th, w, h >= 16), w, h, 0, still)
}

// nameWrong says why a name of something that is kept cannot be taken.
func (a *App) nameWrong(name string, taken bool) form.Note {
	switch err := a.opts.ValidName(name); {
	case name == "":
		return form.Note{Kind: form.Bad, Text: "a name is needed"}
	case err != nil:
		return form.Note{Kind: form.Bad, Text: err.Error()}
	case taken:
		return form.Note{Kind: form.Bad, Text: "the name is taken"}
	}
	return form.Note{Kind: form.Good, Text: "free"}
}

// alive is why nothing can be done with the sandbox of the id that op means, ""
// when it can.
func (a *App) alive(act, id string) func() string {
	return func() string { return a.actionReason(act, scope{app: a, box: a.find(id)}) }
}
