package tui

import (
	tea "charm.land/bubbletea/v2"

	"cove/runtime/lifecycle"
	"cove/tui/action"
)

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
