package tui

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/action"
	"cove/tui/dialog"
	"cove/tui/meter"
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

	snap   Snapshot
	byID   map[string]*api.Sandbox // of snap
	list   *table.Table
	feed   *feed
	meters meter.Set
	// statsErr is why there are no statistics.
	statsErr error
	order    order
	filter   filter
	marks    marks
	detail   detail
	click    click
	actions  *action.Table[scope]
	verdicts map[attempt]lifecycle.Verdict
	fixed    fixedKeys
	dialogs  dialog.Stack
	notice   notice

	// sent holds what was asked of the daemon and not answered yet, by the
	// sandbox's id: one thing at a time for each.
	sent map[string]string
	// works is all that is under way, history what happened so far.
	works   []*work
	soon    time.Duration // workDelay, but in tests
	history *history
	host    hostInfo
	past    timeline
	// running is the batches under way by their numbers; slots limits how
	// many of their operations are.
	running map[int]*batch
	batches int
	slots   chan struct{}
	// want is the id of a sandbox to select as soon as it is there.
	want string
	// form is the create form that is open or at work, or was refused after
	// the person had left it; nil when there is none.
	form *createForm
	// shelf is the page of images, snapshots and volumes that was opened last,
	// pulls are the images on their way.
	shelf *shelfView
	// changes is the page of what a sandbox changed that was opened last.
	changes *changesView
	pulls   []*pull
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
		ctx: ctx, opts: o, term: getenv(o.Environ, "TERM"), mirror: NewMirror(o.Backend, o.Clock), feed: newFeed(o.Backend),
		history: newHistory(o.Clock), soon: workDelay, keys: &keyboard{File: o.In}, list: table.New(columns()), filter: newFilter(),
		order: order{by: cmp.Or(o.Sort, byAttention)}, fixed: newFixedKeys(), sent: make(map[string]string),
		running: make(map[int]*batch), slots: make(chan struct{}, atOnce), verdicts: make(map[attempt]lifecycle.Verdict), now: o.Clock(),
	}
	a.mirror.history = a.history
	a.list.SetMarked(a.marks.has)
	a.look = theme.Options{ASCII: o.ASCII, NoColor: getenv(o.Environ, "NO_COLOR") != ""}
	a.theme = theme.New(a.look)
	var err error
	if a.actions, err = action.NewTable(actions(&a.opts)); err != nil {
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
	return tea.Batch(a.follow, a.listen(time.Time{}), a.followStats, a.listenStats, a.askHost, a.tick, tea.RequestBackgroundColor)
}

// Update implements tea.Model.
func (a *App) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	a.now = a.opts.Clock()
	before := a.selected()
	cmd := a.handle(msg)
	a.stretch()
	// Only now is it known what is selected and whether it changed.
	differs := changed(before, a.selected())
	return a, both(both(cmd, both(a.wantShelf(), a.wantChanges())), both(a.wantDetail(differs), a.wantPast(differs)))
}

// both is tea.Batch of two commands of which at least one is often nil.
func both(x, y tea.Cmd) tea.Cmd {
	switch {
	case x == nil:
		return y
	case y == nil:
		return x
	}
	return tea.Batch(x, y)
}

// changed tells whether what the daemon told of a sandbox is out of date.
func changed(was, is *api.Sandbox) bool {
	return was != is && was != nil && is != nil && was.ID == is.ID &&
		(was.State != is.State || was.Name != is.Name || !maps.Equal(was.Labels, is.Labels))
}

func (a *App) handle(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		a.resize(msg.Width, msg.Height)
	case tea.BackgroundColorMsg:
		a.restyle(func(o *theme.Options) { o.Light = !msg.IsDark() })
	case tea.ColorProfileMsg:
		a.restyle(func(o *theme.Options) { o.NoColor = o.NoColor || msg.Profile <= colorprofile.ASCII })
	case tea.KeyPressMsg:
		// What terminals send for esc with alt is esc twice, and it is that which
		// people press: they want to be out.
		if msg.Code == tea.KeyEscape && msg.Mod == tea.ModAlt {
			msg.Mod = 0
			return tea.Sequence(a.key(msg), a.key(msg))
		}
		return a.key(msg)
	case tea.PasteMsg:
		return a.paste(msg.Content)
	case tea.MouseMsg:
		return a.mouse(msg)
	case tickMsg:
		a.notice.tick(a.now)
		a.refresh()
		return a.tick
	case mirrorMsg:
		a.take(msg.snap)
		return a.listen(msg.at)
	case reply:
		return msg.deliver(a)
	case joinedMsg:
		return a.joined(msg)
	case handoverMsg:
		return a.handover(msg)
	case detachedMsg:
		return a.detached(msg)
	}
	return nil
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
	notes := a.h >= notesHeight
	a.w, a.h = w, h
	a.list.SetSize(w-a.sideSpace(), a.listHeight())
	if notes != (h >= notesHeight) {
		a.refresh()
	}
}

// watching tells the feed whether anybody looks at statistics.
func (a *App) watching() {
	a.feed.want(a.watched())
}

// watched tells whether the daemon is there and somebody looks.
func (a *App) watched() bool {
	return a.snap.Link == Live && (a.attach == nil || !a.attach.running)
}

// small tells whether the screen is too small to show what a key would do.
func (a *App) small() bool { return a.w < minWidth || a.h < minHeight }

// take shows what the mirror knows now.
func (a *App) take(s Snapshot) {
	side := a.sideWidth()
	a.tellHeld(s.Sandboxes)
	a.snap = s
	a.byID = make(map[string]*api.Sandbox, len(s.Sandboxes))
	for i := range s.Sandboxes {
		a.byID[s.Sandboxes[i].ID] = &s.Sandboxes[i]
	}
	if a.sideWidth() != side {
		a.resize(a.w, a.h)
	}
	a.watching()
	a.prune()
	a.refresh()
	if a.want != "" && a.list.Select(a.want) {
		a.want = ""
	}
}

// selected returns the selected sandbox, or nil.
func (a *App) selected() *api.Sandbox { return a.find(a.list.Selected()) }

func (a *App) find(id string) *api.Sandbox {
	return a.byID[id]
}

// back is one step back: what lies on top goes first.
func (a *App) back() {
	switch {
	case a.notice.shown():
		a.notice.dismiss()
	case a.detailOver():
		a.toggleDetail()
	case a.marks.from != "":
		a.marks.from = ""
	case a.marks.clear():
	default:
		a.clearFilter()
	}
}

// taken tells whether a sandbox has the name.
func (a *App) taken(name string) bool {
	return slices.ContainsFunc(a.snap.Sandboxes, func(b api.Sandbox) bool { return b.Name == name })
}
