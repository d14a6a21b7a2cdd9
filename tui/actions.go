package tui

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
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
func actions() []action.Action[scope] {
	return slices.Concat(sandboxActions(), recordActions(), listActions(), detailActions(), moves(), appActions())
}

// sandboxActions change what runs.
func sandboxActions() []action.Action[scope] {
	start := func(a *App) operation {
		return operation{verb: "start", id: actStart, do: a.opts.Backend.Start}
	}
	stop := func(a *App) operation {
		return operation{verb: "stop", id: actStop, do: a.opts.Backend.Stop, effect: "What runs in them ends, their files stay."}
	}
	restart := func(a *App) operation {
		return operation{verb: "restart", id: actRestart, do: a.opts.Backend.Restart, effect: "What runs in them ends, their files stay."}
	}
	pause := func(a *App) operation {
		return operation{verb: "pause", id: actPause, do: a.opts.Backend.Pause, effect: "What runs in them stands still and keeps its memory."}
	}
	resume := func(a *App) operation {
		return operation{verb: "resume", id: actResume, do: a.opts.Backend.Resume}
	}
	return []action.Action[scope]{
		{
			ID: actAttach, Keys: on("enter"), Title: "attach", Targets: action.One, Hint: true,
			Help: "Work in a shell of the sandbox, on the whole screen. ctrl+] comes back here; what runs in it goes on.",
			When: func(c scope) string {
				why := c.alone().legal("attach", lifecycle.OpExec)
				switch {
				case why == "" || c.box == nil:
				case c.app.actionReason(actStart, c.alone()) == "":
					why += "; " + c.app.keyOf(actStart) + " starts it"
				case c.app.actionReason(actResume, c.alone()) == "":
					why += "; " + c.app.keyOf(actResume) + " resumes it"
				}
				return why
			},
			Run: func(c scope) tea.Cmd { return c.app.join(c.box, nil) },
			CLI: commandLine("attach"),
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
			ID: actStart, Keys: on("s"), Title: "start", Group: groupRunning, Targets: action.One, Hint: true,
			Help: "Start the sandbox.",
			When: func(c scope) string { return c.sooner("start", lifecycle.OpStart, lifecycle.OpStop) },
			Run:  func(c scope) tea.Cmd { return c.app.command(c, start(c.app)) },
			CLI:  commandLine("start"),
		},
		{
			ID: actStop, Keys: on("s"), Title: "stop", Group: groupRunning, Targets: action.One, Hint: true,
			Danger: action.Reversible,
			Help:   "Stop the sandbox: what runs in it ends, its files stay.",
			When:   func(c scope) string { return c.legal("stop", lifecycle.OpStop) },
			Run:    func(c scope) tea.Cmd { return c.app.command(c, stop(c.app)) },
			CLI:    commandLine("stop"),
		},
		{
			ID: actRestart, Keys: on("r"), Title: "restart", Targets: action.One, Hint: true,
			Danger: action.Reversible,
			Help:   "Stop the sandbox and start it again.",
			When:   func(c scope) string { return c.legal("restart", lifecycle.OpRestart) },
			Run:    func(c scope) tea.Cmd { return c.app.command(c, restart(c.app)) },
			CLI:    commandLine("restart"),
		},
		{
			ID: actDelete, Keys: on("D"), Title: "delete", Targets: action.One, Hint: true,
			Danger: action.Destructive,
			Help:   "Delete the sandbox and its files, after a question.",
			When:   func(c scope) string { return c.legal("delete", lifecycle.OpDelete) },
			Run:    func(c scope) tea.Cmd { return c.app.askDelete(c) },
			CLI:    commandLine("rm"),
		},
		{
			ID: actUndo, Keys: on("u"), Title: "undo delete",
			Help: "Bring back the sandbox that was deleted last, within 10 minutes.",
			When: func(c scope) string { return c.online() },
			Run:  func(c scope) tea.Cmd { return c.app.undoDelete() },
			CLI:  func(scope) string { return "cove undo" },
		},
		{
			ID: actPause, Keys: on("p"), Title: "pause", Group: groupFrozen, Targets: action.One,
			Danger: action.Reversible,
			Help:   "Let everything in the sandbox stand still; it keeps its memory.",
			When:   func(c scope) string { return c.sooner("pause", lifecycle.OpPause, lifecycle.OpResume) },
			Run:    func(c scope) tea.Cmd { return c.app.command(c, pause(c.app)) },
			CLI:    commandLine("pause"),
		},
		{
			ID: actResume, Keys: on("p"), Title: "resume", Group: groupFrozen, Targets: action.One,
			Help: "Let a paused sandbox go on.",
			When: func(c scope) string { return c.legal("resume", lifecycle.OpResume) },
			Run:  func(c scope) tea.Cmd { return c.app.command(c, resume(c.app)) },
			CLI:  commandLine("resume"),
		},
		{
			ID: actArchive, Keys: on("A"), Title: "archive", Targets: action.One,
			Help: "Put the sandbox's files into an archive, which takes less of the disk. A start brings them back.",
			When: func(c scope) string { return c.legal("archive", lifecycle.OpArchive) },
			Run: func(c scope) tea.Cmd {
				return c.app.command(c, operation{verb: "archive", id: actArchive, do: c.app.opts.Backend.Archive, effect: "A start brings their files back."})
			},
			CLI: commandLine("archive"),
		},
		{
			ID: actShell, Keys: on("t"), Title: "new shell", Targets: action.One,
			Help: "Open one more shell in the sandbox, beside those that are open.",
			When: func(c scope) string { return c.alone().legal("new shell", lifecycle.OpExec) },
			Run:  func(c scope) tea.Cmd { return c.app.joinNew(c.box) },
			CLI:  func(c scope) string { return commandLine("attach")(c.alone()) + " --session NAME" },
		},
	}
}

// recordActions change what is written of a sandbox, or take it along.
func recordActions() []action.Action[scope] {
	return []action.Action[scope]{
		{
			ID: actRename, Keys: on("m"), Title: "rename", Targets: action.One,
			Help: "Give the sandbox another name.",
			When: func(c scope) string { return c.alone().legal("rename", lifecycle.OpUpdate) },
			Run:  func(c scope) tea.Cmd { return c.app.openRename(c.box) },
			CLI:  func(c scope) string { return commandLine("rename")(c.alone()) + " NEW" },
		},
		{
			ID: actLabels, Keys: on("L"), Title: "labels", Targets: action.One,
			Help: "Set labels and take them away.",
			When: func(c scope) string { return c.legal("labels", lifecycle.OpUpdate) },
			Run:  func(c scope) tea.Cmd { return c.app.openLabels(c) },
			CLI:  func(c scope) string { return commandLine("label")(c) + " KEY=VALUE KEY-" },
		},
		{
			ID: actResize, Keys: on("R"), Title: "resize", Targets: action.One,
			Help: "Change the sandbox's limits: processor, memory, swap, processes, disk. It goes on running.",
			When: func(c scope) string { return c.alone().legal("resize", lifecycle.OpResize) },
			Run:  func(c scope) tea.Cmd { return c.app.openResize(c.box) },
			CLI:  func(c scope) string { return commandLine("resize")(c.alone()) + " --cpu N --memory SIZE" },
		},
		{
			ID: actTouch, Keys: on("T"), Title: "keep alive", Targets: action.One,
			Help: "Let the sandbox's idle time begin anew: what it would do by itself soon is put off.",
			When: func(c scope) string { return c.legal("keep alive", lifecycle.OpUpdate) },
			Run: func(c scope) tea.Cmd {
				return c.app.command(c, operation{verb: "touch", id: actTouch, do: c.app.opts.Backend.Touch, effect: "What they would do by themselves soon is put off."})
			},
			CLI: commandLine("touch"),
		},
		{
			ID: actAutomation, Keys: on("Z"), Title: "automation", Targets: action.One,
			Help: "Change when the sandbox stops, pauses, is archived and deleted by itself.",
			When: func(c scope) string { return c.alone().legal("automation", lifecycle.OpUpdate) },
			Run:  func(c scope) tea.Cmd { return c.app.openAutomation(c.box) },
			CLI:  func(c scope) string { return commandLine("automation")(c.alone()) + " --auto-stop DURATION" },
		},
		{
			ID: actCopy, Keys: on("y"), Title: "copy", Targets: action.One,
			Help: "Copy the name, the id or a command line to the clipboard of this terminal.",
			When: func(c scope) string {
				if len(c.targets()) == 0 {
					return "no sandbox is selected"
				}
				return ""
			},
			Run: func(c scope) tea.Cmd { return c.app.openCopy(c) },
		},
	}
}

// listActions change what the list shows and what is meant.
func listActions() []action.Action[scope] {
	run := func(do func(*App)) func(scope) tea.Cmd {
		return func(c scope) tea.Cmd { do(c.app); return nil }
	}
	return []action.Action[scope]{
		{
			ID: actFilter, Keys: on("/"), Title: "filter", Hint: true,
			Help: "Show only some: by a part of the name, state:started, label:team=ml, profile:python, cpu>50, mem>1GiB, idle>10m, !not. esc shows all.",
			Run:  run((*App).openFilter),
			CLI:  func(scope) string { return "cove ls --state STATE --label KEY=VALUE" },
		},
		{
			ID: actMark, Keys: on("space"), Title: "mark", Hint: true,
			Help: "Mark the sandbox: actions are then meant for all that are marked. esc removes the marks.",
			Run:  run((*App).toggleMark),
		},
		{
			ID: actRange, Keys: on("V"), Title: "mark range",
			Help: "Mark from here to where you go; V or space ends it.",
			Run:  run((*App).toggleRange),
		},
		{
			ID: actMarkAll, Keys: on("*"), Title: "mark all",
			Help: "Mark all that the list shows, or none of them.",
			Run:  run((*App).toggleAll),
		},
		{
			ID: actNext, Keys: on("w"), Title: "next urgent",
			Help: "Go to the next sandbox that needs you: it failed, or stopped and nobody wanted it.",
			When: func(c scope) string {
				if c.app.nextUrgent() == "" {
					return "nothing needs you"
				}
				return ""
			},
			Run: run(func(a *App) { a.list.Select(a.nextUrgent()) }),
		},
		{
			ID: actSort, Keys: on("o"), Title: "sort", Hint: true,
			Help: "Choose what the list is sorted by; a click on a column's title does it too.",
			Run:  func(c scope) tea.Cmd { return c.app.openSort() },
		},
		{
			ID: actReverse, Keys: on("O"), Title: "reverse",
			Help: "Sort the other way round.",
			Run:  run(func(a *App) { a.sortBy(a.order.by) }),
		},
	}
}

// detailActions are about the pane of the selected sandbox.
func detailActions() []action.Action[scope] {
	shown := func(c scope) string {
		if !c.app.detailShown() {
			return c.app.keyOf(actDetail) + " shows the details first"
		}
		return ""
	}
	ranged := func(c scope) string {
		if why := shown(c); why != "" || c.app.detail.tab == tabHistory {
			return why
		}
		return "only the History tab has a range of time; " + c.app.keyOf(actTabNext) + " goes there"
	}
	run := func(do func(*App)) func(scope) tea.Cmd {
		return func(c scope) tea.Cmd { do(c.app); return nil }
	}
	return []action.Action[scope]{
		{
			ID: actDetail, Keys: on("v", "tab", "d"), Title: "details", Hint: true,
			Help: "Show all there is to know of the sandbox, or hide it. On a wide screen it stands beside the list.",
			Run:  run((*App).toggleDetail),
			CLI:  func(c scope) string { return commandLine("inspect")(c.alone()) },
		},
		{
			ID: actTabNext, Keys: on("]"), Title: "next tab", Help: "The next tab of the details.",
			When: shown, Run: run(func(a *App) { a.turnTab(1) }),
		},
		{
			ID: actTabBack, Keys: on("["), Title: "last tab", Help: "The tab before it.",
			When: shown, Run: run(func(a *App) { a.turnTab(-1) }),
		},
		{
			ID: actShorter, Keys: on("+", "="), Title: "shorter", Help: "The History tab: a shorter time, down to 15 minutes.",
			When: ranged, Run: run(func(a *App) { a.zoom(-1) }),
			CLI: func(c scope) string { return commandLine("stats")(c.alone()) + " --since 15m" },
		},
		{
			ID: actLonger, Keys: on("-"), Title: "longer", Help: "The History tab: a longer time, up to 24 hours.",
			When: ranged, Run: run(func(a *App) { a.zoom(1) }),
			CLI: func(c scope) string { return commandLine("stats")(c.alone()) + " --since 24h" },
		},
		{
			ID: actDetailDn, Keys: on("ctrl+e", "shift+down"), Title: "scroll", Help: "The details, downwards.",
			When: shown, Run: run(func(a *App) { a.scrollDetail(wheelStep) }),
		},
		{
			ID: actDetailUp, Keys: on("ctrl+y", "shift+up"), Title: "scroll", Help: "The details, upwards.",
			When: shown, Run: run(func(a *App) { a.scrollDetail(-wheelStep) }),
		},
	}
}

// moves go through the list, or through the details where they cover it.
func moves() []action.Action[scope] {
	move := func(id, title, help string, list, detail func(*App) int, keys ...string) action.Action[scope] {
		return action.Action[scope]{
			ID: id, Keys: on(keys...), Title: title, Help: help,
			Run: func(c scope) tea.Cmd {
				if c.app.detailOver() {
					c.app.scrollDetail(detail(c.app))
				} else {
					c.app.list.Move(list(c.app))
				}
				return nil
			},
		}
	}
	by := func(n int) func(*App) int { return func(*App) int { return n } }
	rows := func(sign int) func(*App) int { return func(a *App) int { return sign * a.list.Page() } }
	all := func(sign int) func(*App) int { return func(a *App) int { return sign * a.list.Len() } }
	page := func(sign int) func(*App) int { return func(a *App) int { return sign * a.detail.page } }
	whole := func(sign int) func(*App) int { return func(a *App) int { return sign * a.detail.lines } }
	return []action.Action[scope]{
		move(actUp, "up", "The sandbox above.", by(-1), by(-1), "up", "k"),
		move(actDown, "down", "The sandbox below.", by(1), by(1), "down", "j"),
		move(actPageUp, "page up", "A screen up.", rows(-1), page(-1), "pgup", "ctrl+b", "ctrl+u"),
		move(actPageDn, "page down", "A screen down.", rows(1), page(1), "pgdown", "ctrl+f", "ctrl+d"),
		move(actFirst, "first", "The first sandbox.", all(-1), whole(-1), "home", "g"),
		move(actLast, "last", "The last sandbox.", all(1), whole(1), "end", "G"),
	}
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

// alone is c without the marked ones, for what is done to one sandbox only.
func (c scope) alone() scope {
	c.marked = nil
	return c
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

// legal is why the sandboxes that are meant cannot be told to do op now, or "";
// of those that are marked one that can is enough. The answer is the lifecycle
// table's; verb is what the person calls op.
func (c scope) legal(verb string, op lifecycle.Operation) string {
	if why := c.online(); why != "" {
		return why
	}
	targets := c.targets()
	if len(targets) == 0 {
		return "no sandbox is selected"
	}
	first := ""
	for _, b := range targets {
		why := c.app.legal(b, verb, op)
		if why == "" {
			return ""
		}
		if first == "" {
			first = why
		}
	}
	if len(targets) > 1 {
		return "none of the marked can: " + first
	}
	return first
}

// legal is why the sandbox cannot be told to do op now, or "".
func (a *App) legal(b *api.Sandbox, verb string, op lifecycle.Operation) string {
	if what, ok := a.sent[b.ID]; ok {
		return fmt.Sprintf("the daemon has not answered %s yet", what)
	}
	switch a.verdict(op, b.State) {
	case lifecycle.Allowed, lifecycle.Cancels:
		return ""
	case lifecycle.Nothing:
		return fmt.Sprintf("%s is %s already", b.Name, b.State)
	case lifecycle.Refused:
	}
	why := lifecycle.Why(op, b.State)
	if rest, ok := strings.CutPrefix(why, string(op)+" "); ok {
		why = verb + " " + rest
	}
	return why
}

// attempt is an operation in a state.
type attempt struct {
	op    lifecycle.Operation
	state lifecycle.State
}

// verdict is the lifecycle table's, remembered: hints ask for it at every frame
// and for everything that is marked.
func (a *App) verdict(op lifecycle.Operation, s lifecycle.State) lifecycle.Verdict {
	at := attempt{op, s}
	v, ok := a.verdicts[at]
	if !ok {
		v = lifecycle.Check(op, s)
		a.verdicts[at] = v
	}
	return v
}

// sooner is [scope.legal] of op, which shares its key with other: what is
// marked decides by its number which of the two is meant.
func (c scope) sooner(verb string, op, other lifecycle.Operation) string {
	if why := c.legal(verb, op); why != "" || len(c.marked) == 0 {
		return why
	}
	n := 0
	for _, b := range c.marked {
		if c.app.verdict(op, b.State) == lifecycle.Allowed {
			n++
		}
		if c.app.verdict(other, b.State) == lifecycle.Allowed {
			n--
		}
	}
	if n < 0 {
		return "most of the marked can do the opposite"
	}
	return ""
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
