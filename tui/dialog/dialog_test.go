package dialog

import (
	"strings"
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
	in := NewInput(20)
	in.Insert("fix-auth-2")
	press(in, ctrl('w'))
	require.Equal(t, "fix-auth-", in.Value())
	press(in, tea.KeyPressMsg{Code: tea.KeyBackspace}, tea.KeyPressMsg{Code: tea.KeyHome}, tea.KeyPressMsg{Code: 'A', Text: "A", Mod: tea.ModShift})
	require.Equal(t, "Afix-auth", in.Value())
	press(in, tea.KeyPressMsg{Code: tea.KeyDelete}, tea.KeyPressMsg{Code: tea.KeyRight}, ctrl('k'))
	require.Equal(t, "Ai", in.Value())
	press(in, ctrl('u'))
	require.Equal(t, "", in.Value())
	press(in, tea.KeyPressMsg{Code: tea.KeyBackspace}, ctrl('w'), tea.KeyPressMsg{Code: tea.KeyLeft}, tea.KeyPressMsg{Code: tea.KeyDelete})
	require.False(t, in.Key(tea.KeyPressMsg{Code: 'x', Text: "x", Mod: tea.ModAlt}))
	require.False(t, in.Key(tea.KeyPressMsg{Code: tea.KeyF1}))
	in.Insert("日本語-" + "0123456789012345678901234567890")
	require.Equal(t, "日本語-0123456789012345", in.Value())
	shown, x := in.View(8)
	require.Equal(t, "9012345", shown)
	require.Equal(t, 7, x)
	press(in, tea.KeyPressMsg{Code: tea.KeyHome})
	shown, x = in.View(8)
	require.Equal(t, "日本語-0", shown)
	require.Equal(t, 0, x)
}

func TestInputMovesAndDeletesByTheWordsOfAName(t *testing.T) {
	alt := func(r rune) tea.KeyPressMsg { return tea.KeyPressMsg{Code: r, Mod: tea.ModAlt} }
	in := NewInput(0)
	in.Insert("fix-auth-2")
	press(in, alt('b'), alt('b'), alt('d'))
	require.Equal(t, "fix--2", in.Value())
	press(in, tea.KeyPressMsg{Code: tea.KeyRight, Mod: tea.ModCtrl})
	in.Insert("x")
	require.Equal(t, "fix--2x", in.Value())
	press(in, tea.KeyPressMsg{Code: tea.KeyHome}, alt('f'), tea.KeyPressMsg{Code: tea.KeyBackspace, Mod: tea.ModAlt})
	require.Equal(t, "--2x", in.Value())
}

// Keys of the field that would start a process or mean nothing here are not
// the line's, and stay with the dialog.
func TestInputLeavesOtherKeysAlone(t *testing.T) {
	in := NewInput(0)
	in.Insert("a")
	for _, k := range []tea.KeyPressMsg{
		{Code: 'v', Mod: tea.ModCtrl}, {Code: 'n', Mod: tea.ModCtrl}, {Code: 'p', Mod: tea.ModCtrl},
		{Code: tea.KeyTab}, {Code: tea.KeyUp}, {Code: tea.KeyDown},
	} {
		require.False(t, in.Key(k), "%s", k)
		_, cmd := in.field.Update(k)
		require.True(t, cmd == nil, "%s has a command", k)
	}
	require.True(t, in.field.Focus() == nil, "the cursor blinks by a timer")
	require.Equal(t, "a", in.Value())
}

// Whatever is typed, the line is what a plain editor makes of it, and what is
// shown of it fits.
func TestInputIsALineEditor(t *testing.T) {
	key := func(r rune, mod tea.KeyMod) tea.KeyPressMsg { return tea.KeyPressMsg{Code: r, Mod: mod} }
	rapid.Check(t, func(t *rapid.T) {
		const most = 12
		in := NewInput(most)
		var left, right []rune
		insert := func(s string) {
			for _, r := range s {
				if len(left)+len(right) < most {
					left = append(left, r)
				}
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0:
				s := rapid.StringMatching(`[a-z日é -]{0,4}`).Draw(t, "pasted")
				insert(s)
				in.Insert("\x1b[31m" + s + "\u202e\r\n")
			case 1:
				r := rapid.SampledFrom([]rune("ab-日")).Draw(t, "typed")
				insert(string(r))
				in.Key(tea.KeyPressMsg{Code: r, Text: string(r)})
			case 2:
				if n := len(left); n > 0 {
					left, right = left[:n-1], append([]rune{left[n-1]}, right...)
				}
				in.Key(key(tea.KeyLeft, 0))
			case 3:
				if len(right) > 0 {
					left, right = append(left, right[0]), right[1:]
				}
				in.Key(key('f', tea.ModCtrl))
			case 4:
				left = left[:max(len(left)-1, 0)]
				in.Key(key(tea.KeyBackspace, 0))
			case 5:
				right = right[min(1, len(right)):]
				in.Key(key('d', tea.ModCtrl))
			case 6:
				left = nil
				in.Key(key('u', tea.ModCtrl))
			case 7:
				right = nil
				in.Key(key('k', tea.ModCtrl))
			case 8:
				left, right = nil, append(left, right...)
				in.Key(key(tea.KeyHome, 0))
			}
			require.Equal(t, string(left)+string(right), in.Value())
			w := rapid.IntRange(1, 16).Draw(t, "w")
			shown, x := in.View(w)
			require.AtMost(t, text.Width(shown), w)
			require.AtMost(t, x, w-1)
			before := text.Cut(shown, x, "")
			require.True(t, strings.HasSuffix(string(left), before), "%q is left of the cursor, %q is shown there", string(left), before)
		}
	})
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
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			s.Open(NewConfirm(text.Clean(body), text.CleanLines(body), "cove rm x", "Delete", func() tea.Cmd { return nil }))
		case 1:
			s.Open(NewMessage("m", text.Clean(body), body))
		case 2:
			s.Open(NewMenu(text.Clean(body), 1, Entry{Key: "a", Title: text.Clean(body), About: text.Clean(body)}, Entry{Key: "b", Title: "x"}, Entry{Key: "c"}))
			s.Key(tea.KeyPressMsg{Code: tea.KeyDown})
		case 3:
			s.Open(NewPrompt(text.Clean(body), Question{
				Label: "Name", About: text.CleanLines(body), Value: body,
				Wrong:   func(string) string { return rapid.SampledFrom([]string{"", body}).Draw(t, "wrong") },
				Command: func(v string) string { return "cove rename x " + text.Clean(v) },
			}))
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

func TestMenu(t *testing.T) {
	var got string
	pick := func(s string) func() tea.Cmd { return func() tea.Cmd { got = s; return nil } }
	menu := func() *Menu {
		return NewMenu("m", 1, Entry{Key: "a", Title: "one", Run: pick("one")}, Entry{Key: "j", Title: "two", Run: pick("two")}, Entry{Key: "c", Title: "three", Run: pick("three")})
	}
	press := func(m *Menu, keys ...tea.KeyPressMsg) (done bool) {
		for _, k := range keys {
			done, _ = m.Key(k)
		}
		return done
	}
	letter := func(r rune) tea.KeyPressMsg { return tea.KeyPressMsg{Code: r, Text: string(r)} }
	require.True(t, press(menu(), letter('c')))
	require.Equal(t, "three", got)
	require.True(t, press(menu(), letter('j')), "its own letter, and not a movement")
	require.Equal(t, "two", got)
	require.True(t, press(menu(), letter('k'), tea.KeyPressMsg{Code: tea.KeyEnter}))
	require.Equal(t, "one", got)
	require.True(t, press(menu(), tea.KeyPressMsg{Code: tea.KeyDown}, tea.KeyPressMsg{Code: tea.KeyDown}, tea.KeyPressMsg{Code: tea.KeyEnter}))
	require.Equal(t, "three", got)
	got = ""
	require.False(t, press(menu(), letter('x')))
	require.True(t, press(menu(), tea.KeyPressMsg{Code: tea.KeyEscape}))
	require.Equal(t, "", got)
	m := menu()
	th := theme.New(theme.Options{})
	require.Len(t, m.Draw(&th, 40, 2).Lines, 2)
	m.Scroll(1)
	require.Contains(t, m.Draw(&th, 40, 2).Lines[1], "three") // what is chosen is in view
	done, _ := m.Click(3, 0)
	require.True(t, done)
	require.Equal(t, "two", got)
	done, _ = m.Click(3, 9)
	require.False(t, done)
}

func TestPrompt(t *testing.T) {
	var got string
	p := NewPrompt("Rename", Question{
		Label: "Name", Value: "old", About: "about",
		Wrong: func(s string) string {
			if s == "" {
				return "a name is needed"
			}
			return ""
		},
		Command: func(s string) string { return "cove rename old " + s },
		Run:     func(s string) tea.Cmd { got = s; return nil },
	})
	th := theme.New(theme.Options{NoColor: true})
	see := func(part string) {
		t.Helper()
		require.Contains(t, ansi.Strip(strings.Join(p.Draw(&th, 60, 20).Lines, "\n")), part)
	}
	see("$ cove rename old old")
	p.Key(tea.KeyPressMsg{Code: 'u', Mod: tea.ModCtrl})
	see("a name is needed")
	done, _ := p.Key(tea.KeyPressMsg{Code: tea.KeyEnter})
	require.False(t, done, "a wrong one is not taken")
	p.Paste("new\r\n")
	see("$ cove rename old new")
	require.Equal(t, 9, p.Draw(&th, 60, 20).Cursor.X)
	done, _ = p.Key(tea.KeyPressMsg{Code: tea.KeyEnter})
	require.True(t, done)
	require.Equal(t, "new", got)
}
