package action

import (
	"testing"

	tea "charm.land/bubbletea/v2"
	"cove/tui/internal/require"
)

type state struct{ running bool }

func run(state) tea.Cmd { return nil }

func rows() []Action[state] {
	return []Action[state]{
		{ID: "start", Keys: []string{"s"}, Title: "start", Help: "h", Group: "g", Hint: true, Run: run, When: func(s state) string {
			if s.running {
				return "it runs already"
			}
			return ""
		}},
		{ID: "stop", Keys: []string{"s"}, Title: "stop", Help: "h", Group: "g", Hint: true, Run: run, When: func(s state) string {
			if !s.running {
				return "it does not run"
			}
			return ""
		}},
		{ID: "quit", Keys: []string{"q", "ctrl+c"}, Title: "quit", Help: "h", Hint: true, Run: run},
		{ID: "up", Keys: []string{"k"}, Title: "up", Help: "h", Run: run},
	}
}

func TestLookup(t *testing.T) {
	tb, err := NewTable(rows())
	require.NoError(t, err)
	a, why := tb.ForKey("s", state{running: true})
	require.Equal(t, "stop", a.ID)
	require.Equal(t, "", why)
	a, why = tb.ForKey("s", state{})
	require.Equal(t, "start", a.ID)
	require.Equal(t, "", why)
	a, _ = tb.ForKey("ctrl+c", state{})
	require.Equal(t, "quit", a.ID)
	a, _ = tb.ForKey("x", state{})
	require.Nil(t, a)
	a, ok := tb.Find("up")
	require.True(t, ok)
	require.Equal(t, "k", a.Key())
	_, ok = tb.Find("down")
	require.False(t, ok)
	require.Equal(t, []Hint{{ID: "stop", Key: "s", Title: "stop"}, {ID: "quit", Key: "q", Title: "quit"}}, tb.Hints(state{running: true}))
}

func TestGroupWithNothingToDoGivesTheFirstReason(t *testing.T) {
	rs := rows()
	rs[1].When = func(state) string { return "never" }
	tb, err := NewTable(rs)
	require.NoError(t, err)
	a, why := tb.ForKey("s", state{running: true})
	require.Equal(t, "start", a.ID)
	require.Equal(t, "it runs already", why)
	require.Equal(t, "it runs already", tb.Hints(state{running: true})[0].Reason)
}

func TestMistakesInTheTable(t *testing.T) {
	twice := append(rows(), Action[state]{ID: "up", Title: "t", Help: "h", Run: run})
	_, err := NewTable(twice)
	require.ErrorContains(t, err, "up is in the table twice")
	clash := append(rows(), Action[state]{ID: "other", Keys: []string{"q"}, Title: "t", Help: "h", Run: run})
	_, err = NewTable(clash)
	require.ErrorContains(t, err, `key "q" is bound to both quit and other`)
	_, err = NewTable([]Action[state]{{ID: "x", Title: "t", Help: "h"}})
	require.ErrorContains(t, err, "lacks")
}

func TestQuote(t *testing.T) {
	require.Equal(t, "cove rm fix-auth", Quote("cove", "rm", "fix-auth"))
	require.Equal(t, `'a b' 'it'\''s' '' '$x' k=v,w`, Quote("a b", "it's", "", "$x", "k=v,w"))
}
