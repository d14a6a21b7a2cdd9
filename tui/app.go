package tui

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"cove/runtime/api"
	"cove/tui/action"
	"cove/tui/dialog"
	"cove/tui/table"
	"cove/tui/theme"
)

// The smallest screen that shows the list.
const (
	minWidth  = 40
	minHeight = 8
)

// App is the program: the one Bubble Tea model. It is made by [New] and
// belongs to the program's loop.
type App struct {
	ctx    context.Context
	opts   Options
	term   string
	mirror *Mirror
	keys   *keyboard

	w, h  int
	look  theme.Options
	theme theme.Theme
	now   time.Time

	snap    Snapshot
	list    *table.Table
	actions *action.Table[scope]
	fixed   fixedKeys
	dialogs dialog.Stack
	notice  notice

	// sent holds what was asked of the daemon and not answered yet, by the
	// sandbox's id: one thing at a time for each.
	sent map[string]string
	// works is all that is under way, history what happened so far.
	works   []*work
	history *history
	// want is the id of a sandbox to select as soon as it is there.
	want string
	// form is the create form that is open or at work, or was refused after
	// the person had left it; nil when there is none.
	form *createForm
	// last is the profile that a sandbox was made from last.
	last string
	// joins counts attaches: an answer carries the number of its question,
	// and a late one is recognised.
	joins  int
	attach *attachment
	left   departure
}

// New returns the program's model. ctx ends everything that it began.
func New(ctx context.Context, o Options) (*App, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.In == nil {
		o.In = os.Stdin
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	a := &App{
		ctx: ctx, opts: o, term: getenv(o.Environ, "TERM"), mirror: NewMirror(o.Backend), history: newHistory(o.Clock), keys: &keyboard{File: o.In},
		list: table.New(columns()), fixed: newFixedKeys(), sent: make(map[string]string), now: o.Clock(),
	}
	a.mirror.history = a.history
	a.look = theme.Options{ASCII: o.ASCII, NoColor: getenv(o.Environ, "NO_COLOR") != ""}
	a.theme = theme.New(a.look)
	var err error
	if a.actions, err = action.NewTable(actions()); err != nil {
		return nil, err
	}
	return a, nil
}

func getenv(environ []string, name string) string {
	i := slices.IndexFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	if i < 0 {
		return ""
	}
	return environ[i][len(name)+1:]
}

// Init implements tea.Model.
func (a *App) Init() tea.Cmd {
	return tea.Batch(a.follow, a.listen(time.Time{}), a.tick, tea.RequestBackgroundColor)
}

// Update implements tea.Model.
func (a *App) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	a.now = a.opts.Clock()
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		a.resize(msg.Width, msg.Height)
	case tea.BackgroundColorMsg:
		a.restyle(func(o *theme.Options) { o.Light = !msg.IsDark() })
	case tea.ColorProfileMsg:
		a.restyle(func(o *theme.Options) { o.NoColor = o.NoColor || msg.Profile <= colorprofile.ASCII })
	case tea.KeyPressMsg:
		return a, a.key(msg)
	case tea.PasteMsg:
		return a, a.paste(msg.Content)
	case tea.MouseMsg:
		return a, a.mouse(msg)
	case tickMsg:
		a.notice.tick(a.now)
		a.refresh()
		return a, a.tick
	case mirrorMsg:
		a.take(msg.snap)
		return a, a.listen(msg.at)
	case reply:
		return a, msg.deliver(a)
	case joinedMsg:
		return a, a.joined(msg)
	case handoverMsg:
		return a, a.handover(msg)
	case detachedMsg:
		return a, a.detached(msg)
	}
	return a, nil
}

// reply is a message that knows what is to become of it.
type reply interface {
	deliver(a *App) tea.Cmd
}

func (a *App) restyle(change func(*theme.Options)) {
	change(&a.look)
	a.theme = theme.New(a.look)
	a.refresh()
}

func (a *App) resize(w, h int) {
	a.w, a.h = w, h
	a.list.SetSize(w, a.listHeight())
}

// small tells whether the screen is too small to show what a key would do.
func (a *App) small() bool { return a.w < minWidth || a.h < minHeight }

// take shows what the mirror knows now.
func (a *App) take(s Snapshot) {
	a.snap = s
	a.refresh()
	if a.want != "" && a.list.Select(a.want) {
		a.want = ""
	}
}

// refresh makes the rows anew, because sandboxes, time or the theme changed.
func (a *App) refresh() { a.list.SetRows(rows(a.snap.Sandboxes, &a.theme, a.now)) }

// selected returns the selected sandbox, or nil.
func (a *App) selected() *api.Sandbox { return a.find(a.list.Selected()) }

func (a *App) find(id string) *api.Sandbox {
	i := slices.IndexFunc(a.snap.Sandboxes, func(b api.Sandbox) bool { return b.ID == id })
	if id == "" || i < 0 {
		return nil
	}
	return &a.snap.Sandboxes[i]
}

// taken tells whether a sandbox has the name.
func (a *App) taken(name string) bool {
	return slices.ContainsFunc(a.snap.Sandboxes, func(b api.Sandbox) bool { return b.Name == name })
}
