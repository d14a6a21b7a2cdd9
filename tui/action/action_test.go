package action

import (
	"strings"
	"testing"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/internal/require"
)

type state struct{ running bool }

func run(state) tea.Cmd { return nil }

func on(keys ...string) key.Binding { return key.NewBinding(key.WithKeys(keys...)) }

// press is the key with the name: one letter, with or without ctrl.
func press(name string) tea.KeyPressMsg {
	if letter, ok := strings.CutPrefix(name, "ctrl+"); ok {
		return tea.KeyPressMsg{Code: rune(letter[0]), Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: rune(name[0]), Text: name}
}

func rows() []Action[state] {
	return []Action[state]{
		{ID: "start", Keys: on("s"), Title: "start", Help: "h", Group: "g", Hint: true, Run: run, When: func(s state) string {
			if s.running {
				return "it runs already"
			}
			return ""
		}},
		{ID: "stop", Keys: on("s"), Title: "stop", Help: "h", Group: "g", Hint: true, Run: run, When: func(s state) string {
			if !s.running {
				return "it does not run"
			}
			return ""
		}},
		{ID: "quit", Keys: on("q", "ctrl+c"), Title: "quit", Help: "h", Hint: true, Run: run},
		{ID: "up", Keys: on("k"), Title: "up", Help: "h", Run: run},
	}
}

func TestLookup(t *testing.T) {
	tb, err := NewTable(rows())
	require.NoError(t, err)
	a, why := tb.ForKey(press("s"), state{running: true})
	require.Equal(t, "stop", a.ID)
	require.Equal(t, "", why)
	a, why = tb.ForKey(press("s"), state{})
	require.Equal(t, "start", a.ID)
	require.Equal(t, "", why)
	a, _ = tb.ForKey(press("ctrl+c"), state{})
	require.Equal(t, "quit", a.ID)
	a, _ = tb.ForKey(press("x"), state{})
	require.Nil(t, a)
	a, ok := tb.Find("up")
	require.True(t, ok)
	require.Equal(t, "k", a.Key())
	_, ok = tb.Find("down")
	require.False(t, ok)
	require.Equal(t, []Hint{{ID: "stop", Help: key.Help{Key: "s", Desc: "stop"}}, {ID: "quit", Help: key.Help{Key: "q", Desc: "quit"}}}, tb.Hints(state{running: true}))
}

func TestGroupWithNothingToDoGivesTheFirstReason(t *testing.T) {
	rs := rows()
	rs[1].When = func(state) string { return "never" }
	tb, err := NewTable(rs)
	require.NoError(t, err)
	a, why := tb.ForKey(press("s"), state{running: true})
	require.Equal(t, "start", a.ID)
	require.Equal(t, "it runs already", why)
	require.Equal(t, "it runs already", tb.Hints(state{running: true})[0].Reason)
}

func TestMistakesInTheTable(t *testing.T) {
	twice := append(rows(), Action[state]{ID: "up", Title: "t", Help: "h", Run: run})
	_, err := NewTable(twice)
	require.ErrorContains(t, err, "up is in the table twice")
	clash := append(rows(), Action[state]{ID: "other", Keys: on("q"), Title: "t", Help: "h", Run: run})
	_, err = NewTable(clash)
	require.ErrorContains(t, err, `key "q" is bound to both quit and other`)
	_, err = NewTable([]Action[state]{{ID: "x", Title: "t", Help: "h"}})
	require.ErrorContains(t, err, "lacks")
}

func TestQuote(t *testing.T) {
	require.Equal(t, "cove rm fix-auth", Quote("cove", "rm", "fix-auth"))
	require.Equal(t, `'a b' 'it'\''s' '' '$x' k=v,w`, Quote("a b", "it's", "", "$x", "k=v,w"))
}
