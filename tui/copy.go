package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"cove/tui/action"
	"cove/tui/dialog"
)

// openCopy offers what there is to copy of the sandboxes that are meant.
func (a *App) openCopy(c scope) tea.Cmd {
	boxes := c.targets()
	var names, ids []string
	for _, b := range boxes {
		names, ids = append(names, b.Name), append(ids, b.ID)
	}
	list := action.Quote(names...)
	entry := func(key, title, what string) dialog.Entry {
		return dialog.Entry{Key: key, Title: title, About: what, Run: func() tea.Cmd { return a.copy("the "+title, what) }}
	}
	entries := []dialog.Entry{
		entry("n", "name", strings.Join(names, "\n")), entry("i", "id", strings.Join(ids, "\n")),
		entry("a", "attach", "cove attach "+action.Quote(names[0])), entry("x", "exec", "cove exec "+action.Quote(names[0])+" -- "),
		entry("s", "inspect", "cove inspect "+action.Quote(names[0])), entry("d", "delete", "cove rm "+list),
	}
	for i := range entries {
		entries[i].About = strings.ReplaceAll(entries[i].About, "\n", " ")
	}
	if r := why(boxes[0]); r != "" {
		entries = append(entries, entry("r", "reason", r))
	}
	a.dialogs.Open(dialog.NewMenu("Copy", 0, entries...))
	return nil
}
