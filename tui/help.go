package tui

import (
	"strings"

	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// openHelp shows every action with its keys, its words on the command line,
// and why it cannot run now.
func (a *App) openHelp() {
	c := a.scope()
	type entry struct {
		keys, title, help, cli, reason string
	}
	var entries []entry
	for i := range a.actions.Rows() {
		act := &a.actions.Rows()[i]
		e := entry{keys: keyNames(act.Keys.Keys()), title: act.Title, help: act.Help, reason: act.Reason(c)}
		if act.CLI != nil {
			e.cli = act.CLI(c)
		}
		entries = append(entries, e)
	}
	const keyWidth, titleWidth, most = 16, 10, 84
	a.dialogs.Open(dialog.NewPage("help", "Help", func(th *theme.Theme, w int) []string {
		w = min(w, most)
		left := keyWidth + titleWidth
		if w < 60 {
			left = 2
		}
		var lines []string
		add := func(e entry) {
			head := th.Key.Paint(text.Fit(text.Cut(e.keys, keyWidth-1, th.Glyphs.Ellipsis), keyWidth, "")) + th.Strong.Paint(text.Fit(e.title, titleWidth, ""))
			if left == 2 {
				lines = append(lines, text.Cut(head, w, ""))
				head = ""
			}
			for _, s := range text.Wrap(e.help, w-left) {
				if head == "" {
					head = text.Spaces(left)
				}
				lines = append(lines, head+s)
				head = ""
			}
			if e.cli != "" {
				lines = append(lines, text.Spaces(left)+th.Muted.Paint(text.Cut("$ "+e.cli, w-left, th.Glyphs.Ellipsis)))
			}
			if e.reason != "" {
				for _, s := range text.Wrap("now: "+e.reason, w-left) {
					lines = append(lines, text.Spaces(left)+th.Warn.Paint(s))
				}
			}
		}
		for _, e := range entries {
			add(e)
		}
		add(entry{keys: "ctrl+]", title: "detach", help: "In an attached shell: come back to the list. A second ctrl+] right after the first is given to the program."})
		return lines
	}))
}

// keyNames writes keys for people: the first two, which is as many as anybody
// looks for.
func keyNames(keys []string) string { return strings.Join(keys[:min(len(keys), 2)], " ") }
