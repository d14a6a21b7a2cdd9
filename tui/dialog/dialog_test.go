package dialog

import (
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"cove/tui/internal/require"
	"cove/tui/text"
	"cove/tui/theme"
)

func press(in *Input, keys ...tea.KeyPressMsg) {
	for _, k := range keys {
		in.Key(k)
	}
}

func TestInput(t *testing.T) {
	ctrl := func(r rune) tea.KeyPressMsg { return tea.KeyPressMsg{Code: r, Mod: tea.ModCtrl} }
	in := Input{Max: 20}
	in.Insert("fix-auth-2")
	press(&in, ctrl('w'))
	require.Equal(t, "fix-auth-", in.Value())
	press(&in, tea.KeyPressMsg{Code: tea.KeyBackspace}, tea.KeyPressMsg{Code: tea.KeyHome}, tea.KeyPressMsg{Code: 'A', Text: "A", Mod: tea.ModShift})
	require.Equal(t, "Afix-auth", in.Value())
	press(&in, tea.KeyPressMsg{Code: tea.KeyDelete}, tea.KeyPressMsg{Code: tea.KeyRight}, ctrl('k'))
	require.Equal(t, "Ai", in.Value())
	press(&in, ctrl('u'))
	require.Equal(t, "", in.Value())
	press(&in, tea.KeyPressMsg{Code: tea.KeyBackspace}, ctrl('w'), tea.KeyPressMsg{Code: tea.KeyLeft}, tea.KeyPressMsg{Code: tea.KeyDelete})
	require.False(t, in.Key(tea.KeyPressMsg{Code: 'x', Text: "x", Mod: tea.ModAlt}))
	require.False(t, in.Key(tea.KeyPressMsg{Code: tea.KeyF1}))
	in.Insert("日本語-" + "0123456789012345678901234567890")
	require.Equal(t, "日本語-0123456789012345", in.Value())
	shown, x := in.View(8)
	require.Equal(t, "9012345", shown)
	require.Equal(t, 7, x)
	press(&in, tea.KeyPressMsg{Code: tea.KeyHome})
	shown, x = in.View(8)
	require.Equal(t, "日本語-0", shown)
	require.Equal(t, 0, x)
}

func TestSpliceKeepsTheWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.IntRange(1, 60).Draw(t, "w")
		line := text.Fit(rapid.StringMatching(`[a日é🇩🇪 ]{0,60}`).Draw(t, "line"), w, "")
		bw := rapid.IntRange(0, w).Draw(t, "box")
		x := rapid.IntRange(0, w-bw).Draw(t, "x")
		box := text.Fit("", bw, "")
		got := splice("\x1b[31m"+line+"\x1b[m", box, x, bw, w)
		require.Equal(t, w, ansi.StringWidth(got), "%q", got)
	})
}

func TestStackDrawsWithinTheScreen(t *testing.T) {
	th := theme.New(theme.Options{})
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 100).Draw(t, "w"), rapid.IntRange(1, 40).Draw(t, "h")
		body := rapid.StringMatching(`[a-z日 \n]{0,400}`).Draw(t, "body")
		var s Stack
		if rapid.Bool().Draw(t, "confirm") {
			s.Open(NewConfirm(text.Clean(body), text.CleanLines(body), "cove rm x", "Delete", func() tea.Cmd { return nil }))
		} else {
			s.Open(NewMessage("m", text.Clean(body), body))
		}
		lines := make([]string, h)
		for i := range lines {
			lines[i] = text.Spaces(w)
		}
		s.Draw(&th, lines, w)
		require.Len(t, lines, h)
		for _, l := range lines {
			require.Equal(t, w, ansi.StringWidth(l), "%q", l)
		}
	})
}

func TestStack(t *testing.T) {
	var s Stack
	require.Nil(t, s.Key(tea.KeyPressMsg{Code: 'x'}))
	require.Nil(t, s.Click(1, 1))
	one, two := NewMessage("one", "One", "1"), NewMessage("two", "Two", "2")
	s.Open(one)
	s.Open(two)
	require.Equal(t, "two", s.Top().ID())
	s.Close(one)
	require.Equal(t, "two", s.Top().ID())
	s.Key(tea.KeyPressMsg{Code: tea.KeyEscape})
	require.True(t, s.Top() == nil)
}
