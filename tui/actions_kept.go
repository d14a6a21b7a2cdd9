package tui

import (
	tea "charm.land/bubbletea/v2"

	"cove/runtime/lifecycle"
	"cove/tui/action"
)

// keptActions are about what the daemon keeps beside sandboxes, and what a
// sandbox is made of: those for which o has something behind them.
func keptActions(o *Options) []action.Action[scope] {
	var all []action.Action[scope]
	if o.Changes != nil {
		all = append(all, action.Action[scope]{
			ID: actChanges, Keys: on("c"), Title: "changes", Targets: action.One,
			Help: "Show what the sandbox changed in directories that it has as cow, with the differences; apply it to this machine or discard it.",
			When: func(c scope) string { return c.alone().legal("changes", lifecycle.OpUpdate) },
			Run:  func(c scope) tea.Cmd { return c.app.openChanges(c.box) },
			CLI:  func(c scope) string { return commandLine("diff")(c.alone()) },
		})
	}
	if o.Snapshots != nil {
		all = append(all, action.Action[scope]{
			ID: actSnapshot, Keys: on("S"), Title: "snapshot", Targets: action.One,
			Help: "Keep the present state of the sandbox under a name. One that runs stands still for a moment.",
			When: func(c scope) string { return c.alone().legal("snapshot", lifecycle.OpSnapshot) },
			Run:  func(c scope) tea.Cmd { return c.app.openSnapshot(c.box) },
			CLI:  func(c scope) string { return commandLine("snapshot create")(c.alone()) + " NAME" },
		}, action.Action[scope]{
			ID: actFork, Keys: on("f"), Title: "fork", Targets: action.One,
			Help: "Make new sandboxes from the present state of this one, as many as you like.",
			When: func(c scope) string { return c.alone().legal("fork", lifecycle.OpFork) },
			Run:  func(c scope) tea.Cmd { return c.app.openFork(c.box) },
			CLI:  func(c scope) string { return commandLine("fork")(c.alone()) + " NEW --count N" },
		})
	}
	if o.Builds != nil {
		all = append(all, action.Action[scope]{
			ID: actRebuild, Keys: on("b"), Title: "rebuild", Targets: action.One, Hint: true,
			Help: "Do a build again that failed, from the step that failed.",
			When: func(c scope) string { return c.legal("rebuild", lifecycle.OpRebuild) },
			Run:  func(c scope) tea.Cmd { return c.app.rebuild(c) },
			CLI:  commandLine("rebuild"),
		})
	}
	page := func(id, title, help, cli string, keys ...string) action.Action[scope] {
		return action.Action[scope]{
			ID: id, Keys: on(keys...), Title: title, Help: help,
			Run: func(c scope) tea.Cmd { return c.app.openShelf(title) },
			CLI: func(scope) string { return cli },
		}
	}
	if o.Images != nil {
		all = append(all, page(actImages, shelfImages, "Show the images that sandboxes are made from: pull, remove, prune.", "cove image ls", "2", "i"))
	}
	if o.Snapshots != nil {
		all = append(all, page(actSnapshots, shelfSnapshots, "Show the snapshots as a tree, with what each occupies and what uses it.", "cove snapshot ls", "3"))
	}
	if o.Volumes != nil {
		all = append(all, page(actVolumes, shelfVolumes, "Show the volumes, and attach them to sandboxes.", "cove volume ls", "4"))
	}
	return all
}
