package tui

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/form"
	"cove/tui/text"
)

// profilesMsg brings the profiles to the form that asked.
type profilesMsg struct {
	form     *createForm
	profiles []Profile
	err      error
}

// previewMsg tells what the answers of a form come to.
type previewMsg struct {
	form    *createForm
	rev     int
	profile string
	preview Preview
	ghost   string
	err     error
}

// createdMsg is the answer to a create.
type createdMsg struct {
	form    *createForm // nil where none was asked
	work    *work
	profile string
	box     api.Sandbox
	err     error
}

// openCreate opens the form at once, so that no key typed after its own can
// act on the list, and asks for the profiles. A form that the daemon refused
// after the person had left it is opened as it was left.
func (a *App) openCreate() tea.Cmd {
	if f := a.form; f != nil {
		if !a.dialogs.Has(f) {
			a.dialogs.Open(f)
		}
		return f.changedKeeping()
	}
	f := newCreateForm(a)
	a.form = f
	a.dialogs.Open(f)
	return tea.Batch(func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		ps, err := a.opts.Profiles.List(ctx)
		return profilesMsg{form: f, profiles: ps, err: err}
	}, func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		return originsMsg{f, a.origins(ctx), a.volumeNames(ctx)}
	})
}

// originsMsg tells what there is to make a sandbox of.
type originsMsg struct {
	form           *createForm
	names, volumes []string
}

func (msg originsMsg) deliver(*App) tea.Cmd {
	msg.form.origins, msg.form.volumes = msg.names, msg.volumes
	msg.form.complete()
	msg.form.judge()
	return nil
}

// origins are the images and the snapshots that are here, as the image field
// takes them. It is an offer: what cannot be asked for is left out.
func (a *App) origins(ctx context.Context) []string {
	var names []string
	add := func(name string) {
		if name != "" && name == text.Clean(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if a.opts.Snapshots != nil {
		list, _ := a.opts.Snapshots.Snapshots(ctx)
		for i := range list {
			add("snapshot:" + list[i].Name)
		}
	}
	if a.opts.Images != nil {
		list, _ := a.opts.Images.Images(ctx)
		for i := range list {
			add(shortImage(list[i].Ref))
			add(list[i].Ref)
		}
	}
	return names
}

// volumeNames are the volumes that are here.
func (a *App) volumeNames(ctx context.Context) []string {
	if a.opts.Volumes == nil {
		return nil
	}
	var names []string
	list, _ := a.opts.Volumes.Volumes(ctx)
	for i := range list {
		names = append(names, text.Clean(list[i].Name))
	}
	return names
}

// complete puts what the image field's text could go on with behind it.
func (f *createForm) complete() {
	f.fields.volumes.Ghost = ""
	if line, atEnd := f.fields.volumes.Current(); atEnd && line != "" {
		for _, name := range f.volumes {
			if rest, ok := strings.CutPrefix(name+":/"+name, line); ok && rest != "" {
				f.fields.volumes.Ghost = rest
				break
			}
		}
	}
	typed := f.fields.image.Value()
	f.fields.image.Ghost = ""
	if slices.Contains(f.origins, typed) { // it is whole
		return
	}
	for _, name := range f.origins {
		if rest, ok := strings.CutPrefix(name, typed); ok && typed != "" && rest != "" {
			f.fields.image.Ghost = rest
			return
		}
	}
}

// changedKeeping looks at the answers again without forgetting what the daemon
// said of them.
func (f *createForm) changedKeeping() tea.Cmd {
	f.rev++
	f.judge()
	return f.check()
}

func (msg profilesMsg) deliver(a *App) tea.Cmd {
	f := msg.form
	if a.form != f {
		return nil
	}
	f.loaded, f.err = true, msg.err
	if f.err == nil && len(msg.profiles) == 0 {
		f.err = errors.New("there is no profile")
	}
	f.fields.profile.Offer(options(msg.profiles))
	if a.last != "" && f.fields.profile.Empty() {
		f.fields.profile.Choose(a.last)
	}
	f.judge()
	if f.eager && f.err == nil {
		f.eager = false
		return tea.Batch(f.check(), f.enter(f.attach))
	}
	return f.check()
}

func options(profiles []Profile) []form.Option {
	out := make([]form.Option, 0, len(profiles))
	for _, p := range profiles {
		o := form.Option{Name: p.Name, About: p.Description, From: p.Source}
		if p.Err != nil {
			o.Wrong = mistake(p.Err)
		}
		out = append(out, o)
	}
	return out
}

// mistake is the first thing that is wrong with a profile. Its file has a long
// name and is named beside it.
func mistake(err error) string {
	var wrong *config.ProfileError
	if !errors.As(err, &wrong) || len(wrong.Problems) == 0 {
		return err.Error()
	}
	p := wrong.Problems[0]
	line := p.Line
	p.File, p.Line, p.Column = "", 0, 0
	if line > 0 {
		return "line " + strconv.Itoa(line) + ": " + p.String()
	}
	return p.String()
}

// made tells whether the daemon has a sandbox of the id, whatever became of it.
func (a *App) made(id string) bool { return a.find(id) != nil || a.mirror.Has(id) }

// previewed asks what a profile and flags come to, and for the completion of a
// path, in one go.
func (a *App) previewed(f *createForm, profile string, flags []Flag, typed string) tea.Cmd {
	rev := f.rev
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		msg := previewMsg{form: f, rev: rev, profile: profile}
		msg.preview, msg.err = a.opts.Profiles.Preview(ctx, profile, flags)
		if typed != "" {
			msg.ghost = a.opts.Profiles.Dirs(ctx, typed)
		}
		return msg
	}
}

func (msg previewMsg) deliver(a *App) tea.Cmd {
	if a.form != msg.form {
		return nil
	}
	return msg.form.take(msg)
}

// create asks the daemon for a sandbox. f is nil where no form asked.
func (a *App) create(f *createForm, profile, name string, flags []Flag) tea.Cmd {
	what := name
	if what == "" {
		what = "from " + profile
	}
	w, shown := a.begin("create", what, CreateCommand(profile, name, flags))
	w.id = newID()
	if f != nil {
		f.busy = w
	}
	return tea.Batch(shown, func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		defer cancel()
		msg := createdMsg{form: f, work: w, profile: profile}
		spec, err := a.opts.Profiles.Resolve(ctx, profile, flags)
		if err == nil {
			msg.box, err = a.opts.Backend.Create(ctx, w.id, name, spec)
		}
		msg.err = err
		return msg
	})
}

// newID is an id for a sandbox that is to be made.
func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// createNow makes a sandbox at once, from the profile of the last one or the
// one that is offered first.
func (a *App) createNow() tea.Cmd {
	if a.last != "" {
		return a.create(nil, a.last, "", nil)
	}
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		ps, err := a.opts.Profiles.List(ctx)
		return firstMsg{ps, err}
	}
}

// firstMsg brings the profiles for [App.createNow].
type firstMsg struct {
	profiles []Profile
	err      error
}

func (msg firstMsg) deliver(a *App) tea.Cmd {
	for _, p := range msg.profiles {
		if p.Err == nil {
			return a.create(nil, p.Name, "", nil)
		}
	}
	err := msg.err
	if err == nil {
		err = errors.New("there is no profile that can be used (cove profile check)")
	}
	a.fail("create", "cove create", err)
	return nil
}

func (msg createdMsg) deliver(a *App) tea.Cmd {
	f := msg.form
	open := f != nil && a.dialogs.Has(f)
	attach := f != nil && f.attach && open
	a.catchUp()
	switch {
	case msg.err != nil && f != nil && f.broken && errors.Is(msg.err, api.ErrCanceled):
		a.end(msg.work, msg.err, true)
		f.busy, f.broken, f.err = nil, false, errorLine("broken off: nothing was made")
		return nil
	case msg.err != nil && a.made(msg.work.id):
		// It is there, though something went wrong in it: its row says what,
		// and asking for it again would find the name taken.
		a.end(msg.work, msg.err, false)
		if f != nil && a.form == f {
			a.form = nil
			a.dialogs.Close(f)
			a.want = msg.work.id
			a.take(a.snap)
		}
		return nil
	case msg.err != nil:
		a.end(msg.work, msg.err, open)
		if f != nil && a.form == f {
			f.refused(msg.err)
		}
		return nil
	case f != nil && a.form == f:
		a.form = nil
	}
	a.end(msg.work, nil, false)
	a.last = msg.profile
	if f == nil || open {
		a.dialogs.Close(f)
		a.want = msg.box.ID // left open: the person is still with it
		a.take(a.snap)
	}
	a.notice.say(a.now, "created "+msg.box.Name+"   $ "+msg.work.cli)
	if attach && msg.box.State == lifecycle.Started && a.attach == nil && a.dialogs.Top() == nil {
		return a.join(&msg.box, nil)
	}
	return nil
}
