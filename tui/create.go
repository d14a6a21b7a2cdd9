package tui

import (
	"context"
	"errors"
	"slices"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/action"
	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// createDialog asks for a profile and a name. There is nothing to switch
// between: arrows choose the profile, everything typed is the name.
type createDialog struct {
	gen      int
	profiles []Profile
	loaded   bool
	chosen   int
	input    *dialog.Input
	keys     createKeys

	valid  func(string) error
	taken  func(string) bool
	submit func(profile, name string) tea.Cmd

	busy bool
	err  error // what the daemon said, or why there are no profiles

	top, shown int // of the profiles, as drawn last
}

type createKeys struct{ create, cancel, leave, previous, next, pageUp, pageDown key.Binding }

func newCreateKeys() createKeys {
	helped := func(b key.Binding, what string) key.Binding {
		b.SetHelp(b.Keys()[0], what)
		return b
	}
	return createKeys{
		create: helped(on("enter"), "create"), cancel: helped(on("esc"), "cancel"), leave: helped(on("esc"), "leave it to the daemon"),
		previous: on("up", "shift+tab", "ctrl+p"), next: on("down", "tab", "ctrl+n"), pageUp: on("pgup"), pageDown: on("pgdown"),
	}
}

// profilesMsg brings the profiles to the dialog that asked.
type profilesMsg struct {
	gen      int
	profiles []Profile
	err      error
}

// createdMsg is the answer to a create.
type createdMsg struct {
	gen           int
	name, profile string
	box           api.Sandbox
	err           error
}

// openCreate opens the dialog at once, so that no key typed after n can act on
// the list, and asks for the profiles.
func (a *App) openCreate() tea.Cmd {
	a.made++
	gen := a.made
	a.dialogs.Open(&createDialog{
		gen: gen, valid: a.opts.ValidName, taken: a.taken, input: dialog.NewInput(nameMost), keys: newCreateKeys(),
		submit: func(profile, name string) tea.Cmd { return a.create(gen, profile, name) },
	})
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, joinPatience)
		defer cancel()
		ps, err := a.opts.Profiles.List(ctx)
		return profilesMsg{gen: gen, profiles: ps, err: err}
	}
}

// creating returns the create dialog with the number, when it is still open.
func (a *App) creating(gen int) *createDialog {
	if d, ok := a.dialogs.Top().(*createDialog); ok && d.gen == gen {
		return d
	}
	return nil
}

func (a *App) profilesCame(msg profilesMsg) {
	d := a.creating(msg.gen)
	if d == nil {
		return
	}
	d.loaded, d.profiles, d.err = true, msg.profiles, msg.err
	if d.err == nil && len(d.profiles) == 0 {
		d.err = errors.New("there is no profile")
	}
	d.chosen = max(0, slices.IndexFunc(d.profiles, func(p Profile) bool { return p.Err == nil }))
}

func (a *App) create(gen int, profile, name string) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		defer cancel()
		msg := createdMsg{gen: gen, name: name, profile: profile}
		spec, err := a.opts.Profiles.Resolve(ctx, profile)
		if err == nil {
			msg.box, err = a.opts.Backend.Create(ctx, name, spec)
		}
		msg.err = err
		return msg
	}
}

func (a *App) created(msg createdMsg) {
	d := a.creating(msg.gen)
	switch {
	case msg.err != nil && d != nil:
		d.busy, d.err = false, msg.err
	case msg.err != nil:
		a.notice.fail(createCommand(msg.profile, msg.name), msg.err)
	default:
		if d != nil {
			a.dialogs.Close(d)
			a.want = msg.box.ID // left open: the person is still with it
			a.take(a.snap)
		}
		a.notice.say(a.now, "created "+msg.box.Name+"   $ "+createCommand(msg.profile, msg.box.Name))
	}
}

// createCommand is the same on the command line.
func createCommand(profile, name string) string {
	words := []string{"cove", "create"}
	if profile != "" {
		words = append(words, "-p", profile)
	}
	if name != "" {
		words = append(words, "-n", name)
	}
	return action.Quote(words...)
}

// ID implements dialog.Dialog.
func (d *createDialog) ID() string { return "create" }

// Key implements dialog.Dialog.
func (d *createDialog) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	switch {
	case key.Matches(k, d.keys.cancel, d.keys.leave):
		return true, nil
	case key.Matches(k, d.keys.create):
		return false, d.enter()
	case key.Matches(k, d.keys.previous):
		d.choose(-1)
	case key.Matches(k, d.keys.next):
		d.choose(1)
	case key.Matches(k, d.keys.pageUp):
		d.choose(-profilesMost)
	case key.Matches(k, d.keys.pageDown):
		d.choose(profilesMost)
	default:
		if !d.busy && d.input.Key(k) {
			d.forget()
		}
	}
	return false, nil
}

// forget removes the daemon's answer, which was about what stood there before.
func (d *createDialog) forget() {
	if d.loaded && len(d.profiles) > 0 {
		d.err = nil
	}
}

func (d *createDialog) choose(n int) {
	if d.busy || len(d.profiles) == 0 {
		return
	}
	d.chosen = max(0, min(d.chosen+n, len(d.profiles)-1))
	d.forget()
}

// Scroll implements dialog.Scroller.
func (d *createDialog) Scroll(n int) { d.choose(max(-1, min(n, 1))) }

// Paste implements dialog.Dialog.
func (d *createDialog) Paste(s string) {
	if !d.busy {
		d.input.Insert(s)
		d.forget()
	}
}

// Click implements dialog.Dialog: it chooses a profile.
func (d *createDialog) Click(_, y int) (bool, tea.Cmd) {
	if i := d.top + y; y >= 0 && y < d.shown && i < len(d.profiles) {
		d.choose(i - d.chosen)
	}
	return false, nil
}

// profile is the chosen profile, or nil.
func (d *createDialog) profile() *Profile {
	if d.chosen >= len(d.profiles) {
		return nil
	}
	return &d.profiles[d.chosen]
}

// enter sends the request when there is nothing wrong with it.
func (d *createDialog) enter() tea.Cmd {
	p := d.profile()
	if d.busy || p == nil || p.Err != nil || d.nameError() != "" {
		return nil
	}
	d.busy, d.err = true, nil
	return d.submit(p.Name, d.input.Value())
}

// nameError says why the name cannot be taken, or "".
func (d *createDialog) nameError() string {
	name := d.input.Value()
	if name == "" {
		return ""
	}
	if err := d.valid(name); err != nil {
		return text.Clean(err.Error())
	}
	if d.taken(name) {
		return "the name is taken"
	}
	return ""
}

// nameMost is how many runes can be typed: more than a name may have, so that
// a name that is too long can be seen and made shorter.
const nameMost = 100

// Sizes of the dialog in cells.
const (
	createWidth  = 72
	profilesMost = 9 // more scroll
	profileName  = 16
)

// Draw implements dialog.Dialog.
func (d *createDialog) Draw(th *theme.Theme, w, h int) dialog.Content {
	w = min(w, createWidth)
	below := d.bottom(th, w, h)
	room := max(h-len(below.Lines), 1)
	lines := d.list(th, w, room)
	below.Cursor.Y += len(lines)
	if d.busy {
		below.Cursor = nil
	}
	return dialog.Content{Title: "New sandbox", Lines: append(lines, below.Lines...), Cursor: below.Cursor}
}

// list draws the profiles in at most h lines, all of w cells, so that the box
// does not change its width with what is chosen.
func (d *createDialog) list(th *theme.Theme, w, h int) []string {
	if !d.loaded {
		return []string{text.Fit("reading the profiles"+th.Glyphs.Ellipsis, w, "")}
	}
	d.shown = min(len(d.profiles), h, profilesMost)
	d.top = max(min(d.top, d.chosen), d.chosen-d.shown+1)
	d.top = max(0, min(d.top, len(d.profiles)-d.shown))
	nameWidth := 0
	for _, p := range d.profiles {
		nameWidth = max(nameWidth, text.Width(text.Clean(p.Name)))
	}
	nameWidth = min(nameWidth, profileName, w/2)
	lines := make([]string, 0, d.shown)
	for i := d.top; i < d.top+d.shown; i++ {
		p := d.profiles[i]
		base, marker := theme.Style{}, "  "
		if i == d.chosen {
			base, marker = th.Select, th.Glyphs.Marker+" "
		}
		about, style := p.Description, th.Muted
		if p.Err != nil {
			about, style = p.Err.Error(), th.Bad
		}
		lines = append(lines, base.Paint(marker)+
			th.Strong.Over(base).Paint(text.Fit(text.Clean(p.Name), nameWidth, th.Glyphs.Ellipsis))+
			style.Over(base).Paint(text.Fit("  "+text.Clean(about), w-2-nameWidth, th.Glyphs.Ellipsis)))
	}
	if len(lines) == 0 {
		lines = append(lines, text.Spaces(w))
	}
	return lines
}

// bottom draws the name, what is wrong, the command line and the keys.
func (d *createDialog) bottom(th *theme.Theme, w, h int) dialog.Content {
	var c dialog.Content
	airy := h >= 14
	gap := func() {
		if airy {
			c.Lines = append(c.Lines, "")
		}
	}
	gap()
	const label = "Name  "
	field := max(w-len(label), 1)
	if d.busy {
		c.Lines = append(c.Lines, label+th.Muted.Paint(text.Fit(d.input.Value(), field, th.Glyphs.Ellipsis)))
		c.Cursor = &dialog.Point{}
	} else {
		shown, x := d.input.View(field)
		c.Cursor = &dialog.Point{X: len(label) + x, Y: len(c.Lines)}
		c.Lines = append(c.Lines, label+th.Input.Paint(text.Fit(shown, field, "")))
	}
	c.Lines = append(c.Lines, d.verdict(th, w, airy)...)
	gap()
	profile := ""
	if p := d.profile(); p != nil {
		profile = text.Clean(p.Name)
	}
	c.Lines = append(c.Lines, th.Muted.Paint(text.Cut("$ "+createCommand(profile, d.input.Value()), w, th.Glyphs.Ellipsis)))
	gap()
	g := th.Glyphs
	hints := []key.Help{d.keys.create.Help(), {Key: g.Up + " " + g.Down, Desc: "profile"}, d.keys.cancel.Help()}
	if d.busy {
		hints = []key.Help{d.keys.leave.Help()}
	}
	c.Lines = append(c.Lines, hintLine(th, w, hints...))
	return c
}

// verdict says in the lines below the name how things stand.
func (d *createDialog) verdict(th *theme.Theme, w int, airy bool) []string {
	const indent = "      "
	line := func(st theme.Style, s string) []string {
		return []string{indent + st.Paint(text.Cut(s, w-len(indent), th.Glyphs.Ellipsis))}
	}
	switch p, wrong := d.profile(), d.nameError(); {
	case d.busy:
		return line(th.Busy, th.Glyphs.Passing+" creating"+th.Glyphs.Ellipsis)
	case d.err != nil:
		most := 1
		if airy {
			most = 5
		}
		wrapped := text.Wrap(text.CleanLines(d.err.Error()), w)
		if len(wrapped) > most {
			wrapped = wrapped[:most]
			wrapped[most-1] = text.Cut(wrapped[most-1], w-1, "") + th.Glyphs.Ellipsis
		}
		for i := range wrapped {
			wrapped[i] = th.Bad.Paint(wrapped[i])
		}
		return wrapped
	case p != nil && p.Err != nil:
		return line(th.Bad, "this profile has a mistake")
	case wrong != "":
		return line(th.Bad, wrong)
	case d.input.Value() == "":
		return line(th.Muted, "empty: cove makes one up")
	}
	return line(th.OK, "free")
}
