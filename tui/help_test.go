package tui

import (
	"strings"
	"testing"

	"cove/tui/internal/require"
)

func TestHelpNamesEveryAction(t *testing.T) {
	m := newModel(t, 120, 200, fleet(noon())...)
	m.key("?")
	s := m.screen().Text()
	for _, a := range m.app.actions.Rows() {
		require.Contains(t, s, a.Key())
		require.Contains(t, s, strings.Fields(a.Help)[0])
	}
	require.Contains(t, s, "$ cove rm fix-auth")
	m.key("esc")
	m.gone("─ Help ─")
}

func TestHelpIsFoundByTyping(t *testing.T) {
	m := newModel(t, 100, 40, fleet(noon())...)
	m.key("?")
	m.typed("cove rm")
	m.see("Delete the sandbox")
	m.gone("Make a sandbox from")
	m.key("esc") // one step back
	m.see("Make a sandbox from")
	m.typed("ctrl+]")
	m.see("come back to the list")
	m.gone("Make a sandbox from")
	m.key("ctrl+u", "D") // a key by its name comes first
	lines := m.screen().Lines
	_, y := m.screen().Line("Find  D")
	require.Contains(t, lines[y+1], "D               delete")
	m.key("ctrl+u")
	m.typed("nothing like it")
	m.see("no action has that")
	m.key("esc", "esc")
	m.gone("─ Help ─")
	require.Empty(t, m.fake.Calls())
}

func TestHelpSaysWhyNot(t *testing.T) {
	m := newModel(t, 100, 40)
	m.key("?")
	m.typed("restart")
	m.see("now: no sandbox is selected")
}

func TestActivityHasItsOwnHelp(t *testing.T) {
	m := newModel(t, 100, 40, fleet(noon())...)
	m.key("s")
	m.run()
	m.key("a", "?")
	m.see("The oldest one that is kept")
	m.gone("Make a sandbox")
	m.key("esc")
	m.see("─ Activity")
}
