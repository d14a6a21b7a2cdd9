package tui

import (
	tea "charm.land/bubbletea/v2"

	"cove/tui/action"
)

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
