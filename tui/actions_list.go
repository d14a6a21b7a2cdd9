package tui

import (
	tea "charm.land/bubbletea/v2"

	"cove/tui/action"
)

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
