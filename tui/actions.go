package tui

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/action"
)

// scope is what an action sees: the program, the selected sandbox, nil when
// there is none, and the marked ones, which are meant instead where there are
// any.
type scope struct {
	app    *App
	box    *api.Sandbox
	marked []*api.Sandbox
}

// scope is the scope of now.
func (a *App) scope() scope { return scope{app: a, box: a.selected(), marked: a.marked()} }

// targets are the sandboxes that are meant.
func (c scope) targets() []*api.Sandbox {
	switch {
	case len(c.marked) > 0:
		return c.marked
	case c.box != nil:
		return []*api.Sandbox{c.box}
	}
	return nil
}

// Ids of the actions.
const (
	actAttach     = "sandbox.attach"
	actShell      = "sandbox.shell"
	actCreate     = "sandbox.create"
	actNow        = "sandbox.create-now"
	actStart      = "sandbox.start"
	actStop       = "sandbox.stop"
	actRestart    = "sandbox.restart"
	actPause      = "sandbox.pause"
	actResume     = "sandbox.resume"
	actRename     = "sandbox.rename"
	actLabels     = "sandbox.labels"
	actResize     = "sandbox.resize"
	actTouch      = "sandbox.touch"
	actArchive    = "sandbox.archive"
	actUndo       = "sandbox.undo"
	actAutomation = "sandbox.automation"
	actCopy       = "sandbox.copy"
	actDelete     = "sandbox.delete"
	actChanges    = "sandbox.changes"
	actSnapshot   = "sandbox.snapshot"
	actFork       = "sandbox.fork"
	actRebuild    = "sandbox.rebuild"
	actImages     = "app.images"
	actSnapshots  = "app.snapshots"
	actVolumes    = "app.volumes"
	actFilter     = "list.filter"
	actSort       = "list.sort"
	actReverse    = "list.reverse"
	actMark       = "list.mark"
	actRange      = "list.range"
	actMarkAll    = "list.mark-all"
	actNext       = "list.next-urgent"
	actDetail     = "detail.toggle"
	actTabNext    = "detail.next"
	actTabBack    = "detail.previous"
	actDetailDn   = "detail.down"
	actDetailUp   = "detail.up"
	actShorter    = "detail.shorter"
	actLonger     = "detail.longer"
	actError      = "notice.show"
	actBack       = "app.back"
	actUp         = "list.up"
	actDown       = "list.down"
	actPageUp     = "list.page-up"
	actPageDn     = "list.page-down"
	actFirst      = "list.first"
	actLast       = "list.last"
	actHistory    = "app.activity"
	actHost       = "app.host"
	actHelp       = "app.help"
	actQuit       = "app.quit"
	actSuspend    = "app.suspend"
	groupRunning  = "start-stop"
	groupFrozen   = "pause-resume"
)

// actions is the table of all that can be done, in the order in which the
// footer and the help show it.
func actions(o *Options) []action.Action[scope] {
	return slices.Concat(sandboxActions(), recordActions(), keptActions(o), listActions(), detailActions(), moves(), appActions())
}

// appActions are about the program itself.
func appActions() []action.Action[scope] {
	return []action.Action[scope]{
		{
			ID: actError, Keys: on("e"), Title: "error", Help: "Show the whole text of the error below the list.",
			When: func(c scope) string {
				if c.app.notice.whole == "" {
					return "there is no error"
				}
				return ""
			},
			Run: func(c scope) tea.Cmd { c.app.showError(); return nil },
		},
		{
			ID: actBack, Keys: on("esc"), Title: "back", Help: "One step back: closes the details, removes the message, the marks, the filter. It never quits.",
			Run: func(c scope) tea.Cmd { c.app.back(); return nil },
		},
		{
			ID: actHistory, Keys: on("a", "6"), Title: "activity",
			Help: "Show what happened: all that you did, with its command line and how it ended, and every change of a sandbox.",
			Run:  func(c scope) tea.Cmd { c.app.openHistory(); return nil },
			CLI:  func(scope) string { return "cove events" },
		},
		{
			ID: actHost, Keys: on("7", "H"), Title: "this machine",
			Help: "Show the machine: its disk, its GPUs with who holds them, and what it lacks.",
			Run:  func(c scope) tea.Cmd { c.app.openHost(); return nil },
			CLI:  func(scope) string { return "cove daemon status" },
		},
		{
			ID: actHelp, Keys: on("?"), Title: "help", Help: "Show what every key does.", Hint: true,
			Run: func(c scope) tea.Cmd { c.app.openHelp(); return nil },
			CLI: func(scope) string { return "cove help" },
		},
		{
			ID: actQuit, Keys: on("q", "ctrl+c"), Title: "quit", Hint: true,
			Help: "Leave. Sandboxes and what runs in them go on.",
			Run:  func(scope) tea.Cmd { return tea.Quit },
		},
		{
			ID: actSuspend, Keys: on("ctrl+z"), Title: "suspend", Help: "Put cove into the background of the shell; fg brings it back.",
			Run: func(scope) tea.Cmd { return tea.Suspend },
		},
	}
}

// on binds keys, named as tea.Key.String writes them.
func on(keys ...string) key.Binding { return key.NewBinding(key.WithKeys(keys...)) }

// commandLine is the command line's form of an action on the sandboxes that
// are meant.
func commandLine(name string) func(scope) string {
	return func(c scope) string {
		targets := c.targets()
		if len(targets) == 0 {
			return "cove " + name + " NAME"
		}
		names := make([]string, len(targets))
		for i, b := range targets {
			names[i] = b.Name
		}
		return "cove " + name + " " + action.Quote(names...)
	}
}

// actionReason is why the action with the id cannot run in c, or "".
func (a *App) actionReason(id string, c scope) string {
	act, ok := a.actions.Find(id)
	if !ok {
		return "there is no such action"
	}
	return act.Reason(c)
}

// keyOf is the key to show for the action with the id, or "".
func (a *App) keyOf(id string) string {
	act, ok := a.actions.Find(id)
	if !ok {
		return ""
	}
	return act.Key()
}

// perform runs an action, or says why it cannot.
func (a *App) perform(act *action.Action[scope], why string) tea.Cmd {
	if why != "" {
		if !strings.HasPrefix(why, act.Title+" ") {
			why = act.Title + ": " + why
		}
		a.notice.say(a.now, why)
		return nil
	}
	return act.Run(a.scope())
}
