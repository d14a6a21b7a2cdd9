package tui

import (
	"fmt"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/action"
)

// scope is what an action sees: the program, and the sandbox it is about, nil
// when none is selected.
type scope struct {
	app *App
	box *api.Sandbox
}

// scope is the scope of now.
func (a *App) scope() scope { return scope{app: a, box: a.selected()} }

// Ids of the actions.
const (
	actAttach  = "sandbox.attach"
	actCreate  = "sandbox.create"
	actNow     = "sandbox.create-now"
	actStart   = "sandbox.start"
	actStop    = "sandbox.stop"
	actRestart = "sandbox.restart"
	actDelete  = "sandbox.delete"
	actError   = "notice.show"
	actDismiss = "notice.dismiss"
	actUp      = "list.up"
	actDown    = "list.down"
	actPageUp  = "list.page-up"
	actPageDn  = "list.page-down"
	actFirst   = "list.first"
	actLast    = "list.last"
	actHistory = "app.activity"
	actHelp    = "app.help"
	actQuit    = "app.quit"
	actSuspend = "app.suspend"
)

// actions is the table of all that can be done, in the order in which the
// footer and the help show it.
func actions() []action.Action[scope] {
	move := func(id, title, help string, n func(*App) int, keys ...string) action.Action[scope] {
		return action.Action[scope]{
			ID: id, Keys: on(keys...), Title: title, Help: help,
			Run: func(c scope) tea.Cmd { c.app.list.Move(n(c.app)); return nil },
		}
	}
	return []action.Action[scope]{
		{
			ID: actAttach, Keys: on("enter"), Title: "attach", Targets: action.One, Hint: true,
			Help: "Work in a shell of the sandbox, on the whole screen. ctrl+] comes back here; what runs in it goes on.",
			When: func(c scope) string {
				why := c.legal("attach", lifecycle.OpExec)
				if why != "" && c.box != nil && c.app.actionReason(actStart, c) == "" {
					why += "; " + c.app.keyOf(actStart) + " starts it"
				}
				return why
			},
			Run: func(c scope) tea.Cmd { return c.app.join(c.box, nil) },
			CLI: command("attach"),
		},
		{
			ID: actCreate, Keys: on("n"), Title: "new", Hint: true,
			Help: "Make a sandbox from a profile.",
			When: func(c scope) string { return c.online() },
			Run:  func(c scope) tea.Cmd { return c.app.openCreate() },
			CLI:  func(scope) string { return "cove create" },
		},
		{
			ID: actNow, Keys: on("N"), Title: "new now",
			Help: "Make a sandbox at once, from the profile of the last one.",
			When: func(c scope) string { return c.online() },
			Run:  func(c scope) tea.Cmd { return c.app.createNow() },
			CLI:  func(c scope) string { return CreateCommand(c.app.last, "", nil) },
		},
		{
			ID: actStart, Keys: on("s"), Title: "start", Group: "start-stop", Targets: action.One, Hint: true,
			Help: "Start the sandbox.",
			When: func(c scope) string { return c.legal("start", lifecycle.OpStart) },
			Run:  func(c scope) tea.Cmd { return c.app.ask("start", c.box, c.app.opts.Backend.Start) },
			CLI:  command("start"),
		},
		{
			ID: actStop, Keys: on("s"), Title: "stop", Group: "start-stop", Targets: action.One, Hint: true,
			Danger: action.Reversible,
			Help:   "Stop the sandbox: what runs in it ends, its files stay.",
			When:   func(c scope) string { return c.legal("stop", lifecycle.OpStop) },
			Run:    func(c scope) tea.Cmd { return c.app.ask("stop", c.box, c.app.opts.Backend.Stop) },
			CLI:    command("stop"),
		},
		{
			ID: actRestart, Keys: on("r"), Title: "restart", Targets: action.One, Hint: true,
			Danger: action.Reversible,
			Help:   "Stop the sandbox and start it again.",
			When:   func(c scope) string { return c.legal("restart", lifecycle.OpRestart) },
			Run:    func(c scope) tea.Cmd { return c.app.ask("restart", c.box, c.app.opts.Backend.Restart) },
			CLI:    command("restart"),
		},
		{
			ID: actDelete, Keys: on("D"), Title: "delete", Targets: action.One, Hint: true,
			Danger: action.Destructive,
			Help:   "Delete the sandbox and its files, after a question.",
			When:   func(c scope) string { return c.legal("delete", lifecycle.OpDelete) },
			Run:    func(c scope) tea.Cmd { return c.app.askDelete(c.box) },
			CLI:    command("rm"),
		},
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
			ID: actDismiss, Keys: on("esc"), Title: "dismiss", Help: "Remove the message below the list.",
			Run: func(c scope) tea.Cmd { c.app.notice.dismiss(); return nil },
		},
		move(actUp, "up", "The sandbox above.", func(*App) int { return -1 }, "up", "k"),
		move(actDown, "down", "The sandbox below.", func(*App) int { return 1 }, "down", "j"),
		move(actPageUp, "page up", "A screen up.", func(a *App) int { return -a.list.Page() }, "pgup", "ctrl+b", "ctrl+u"),
		move(actPageDn, "page down", "A screen down.", func(a *App) int { return a.list.Page() }, "pgdown", "ctrl+f", "ctrl+d"),
		move(actFirst, "first", "The first sandbox.", func(a *App) int { return -a.list.Len() }, "home", "g"),
		move(actLast, "last", "The last sandbox.", func(a *App) int { return a.list.Len() }, "end", "G"),
		{
			ID: actHistory, Keys: on("a", "6"), Title: "activity",
			Help: "Show what happened: all that you did, with its command line and how it ended, and every change of a sandbox.",
			Run:  func(c scope) tea.Cmd { c.app.openHistory(); return nil },
			CLI:  func(scope) string { return "cove events" },
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

// command is the command line's form of an action on the sandbox.
func command(name string) func(scope) string {
	return func(c scope) string {
		if c.box == nil {
			return "cove " + name + " NAME"
		}
		return "cove " + name + " " + action.Quote(c.box.Name)
	}
}

// online is why nothing can be asked of the daemon now, or "".
func (c scope) online() string {
	switch c.app.snap.Link {
	case Live:
		return ""
	case Connecting:
		return "cove is still connecting to the daemon"
	case Down:
		return "the daemon does not answer"
	}
	return ""
}

// legal is why the selected sandbox cannot be told to do op now, or "". The
// answer is the lifecycle table's; verb is what the person calls op.
func (c scope) legal(verb string, op lifecycle.Operation) string {
	if why := c.online(); why != "" {
		return why
	}
	if c.box == nil {
		return "no sandbox is selected"
	}
	if what, ok := c.app.sent[c.box.ID]; ok {
		return fmt.Sprintf("the daemon has not answered %s yet", what)
	}
	switch lifecycle.Check(op, c.box.State) {
	case lifecycle.Allowed, lifecycle.Cancels:
		return ""
	case lifecycle.Nothing:
		return fmt.Sprintf("%s is %s already", c.box.Name, c.box.State)
	case lifecycle.Refused:
	}
	why := lifecycle.Why(op, c.box.State)
	if rest, ok := strings.CutPrefix(why, string(op)+" "); ok {
		why = verb + " " + rest
	}
	return why
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
