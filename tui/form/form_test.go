package form

import (
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"cove/tui/internal/require"
	"cove/tui/theme"
)

func press(name string) tea.KeyPressMsg {
	special := map[string]rune{"tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft, "right": tea.KeyRight,
		"backspace": tea.KeyBackspace, "home": tea.KeyHome, "end": tea.KeyEnd, "pgdown": tea.KeyPgDown, "pgup": tea.KeyPgUp, "space": ' '}
	k := tea.KeyPressMsg{}
	rest, shift := strings.CutPrefix(name, "shift+")
	rest, ctrl := strings.CutPrefix(rest, "ctrl+")
	if r, ok := special[rest]; ok {
		k.Code = r
	} else {
		k.Code = []rune(rest)[0]
		if !ctrl {
			k.Text = rest
		}
	}
	if shift {
		k.Mod = tea.ModShift
	}
	if ctrl {
		k.Mod = tea.ModCtrl
	}
	return k
}

type rig struct {
	f *Form
	p *Picker
	t *Text
	c *Choice
	l *Lines
}

func newRig() rig {
	r := rig{p: NewPicker(), t: NewText(30, false), c: NewChoice(), l: NewLines(60)}
	r.p.Offer([]Option{{Name: "shell", About: "A shell"}, {Name: "python", About: "Python, with tools", From: "built-in"},
		{Name: "broken", Wrong: "line 3: no such key"}, {Name: "node"}, {Name: "go"}, {Name: "rust"}, {Name: "zig"}, {Name: "日本"}})
	r.c.Offer(1, "open", "blocked", "list")
	r.f = New(Item{ID: "p", Label: "Profile", Field: r.p}, Item{ID: "t", Label: "Name", Field: r.t},
		Item{ID: "c", Label: "Network", Field: r.c}, Item{ID: "l", Label: "Lines", Field: r.l})
	return r
}

func (r rig) keys(names ...string) {
	for _, n := range names {
		r.f.Key(press(n))
	}
}

func (r rig) typed(s string) {
	for _, c := range s {
		r.f.Key(tea.KeyPressMsg{Code: c, Text: string(c)})
	}
}

func TestFocusMoves(t *testing.T) {
	r := newRig()
	require.Equal(t, "p", r.f.Focus())
	r.keys("tab", "tab", "tab")
	require.Equal(t, "l", r.f.Focus())
	r.keys("tab")
	require.Equal(t, "p", r.f.Focus())
	r.keys("shift+tab", "up")
	require.Equal(t, "c", r.f.Focus())
	r.keys("up", "down", "down", "down", "down")
	require.Equal(t, "l", r.f.Focus(), "down stops at the end")
	r.f.FocusOn("t")
	require.Equal(t, "t", r.f.Focus())
	r.f.FocusOn("nowhere")
	require.Equal(t, "t", r.f.Focus())
	require.False(t, r.f.Key(press("ctrl+q")))
}

func TestPickerFinds(t *testing.T) {
	r := newRig()
	chosen := func() string { o, _ := r.p.Chosen(); return o.Name }
	r.typed("ro")
	_, ok := r.p.Chosen()
	require.True(t, ok)
	require.Equal(t, "broken", chosen(), "a broken one can be looked at")
	r.keys("backspace", "backspace")
	r.typed("o")
	require.Equal(t, "python", chosen(), "but is not chosen where there is another one")
	r.keys("ctrl+u")
	require.Equal(t, "shell", chosen())
	r.typed("TOOLS")
	require.Equal(t, "python", chosen())
	r.keys("tab")
	require.Equal(t, "python", chosen())
	require.False(t, r.p.Empty())
	r.keys("shift+tab")
	require.True(t, r.p.Empty(), "what was typed to find it is gone")
	require.Equal(t, "python", chosen())
	r.typed("nothing")
	_, ok = r.p.Chosen()
	require.False(t, ok)
	r.keys("down", "up", "pgdown", "ctrl+u")
	r.keys("pgdown", "pgdown")
	require.Equal(t, "日本", chosen())
	r.p.Choose("go")
	require.Equal(t, "go", chosen())
}

func TestChoice(t *testing.T) {
	r := newRig()
	require.False(t, r.c.Changed())
	r.f.FocusOn("c")
	r.keys("right")
	require.Equal(t, "list", r.c.Value())
	r.keys("right", "left", "space")
	require.Equal(t, "open", r.c.Value())
	require.True(t, r.c.Changed())
	r.c.Offer(0, "a", "open") // what was chosen stays
	require.Equal(t, "open", r.c.Value())
	r.c.Offer(0, "a", "b")
	require.Equal(t, "a", r.c.Value())
	r.c.Choose("b")
	r.c.Choose("nothing")
	require.Equal(t, "b", r.c.Value())
	require.Equal(t, "", NewChoice().Value())
	require.False(t, NewChoice().Key(press("right")))
}

func TestLines(t *testing.T) {
	r := newRig()
	r.l.Begin([]string{"one", "two"})
	require.False(t, r.l.Changed())
	r.f.FocusOn("l")
	r.typed("three")
	require.Equal(t, []string{"one", "two", "three"}, r.l.Values())
	r.l.Begin([]string{"other"}) // what the person has changed stays
	require.Equal(t, []string{"one", "two", "three"}, r.l.Values())
	r.keys("up", "ctrl+u", "up") // an empty line is none
	require.Equal(t, []string{"one", "three"}, r.l.Values())
	r.keys("up")
	require.Equal(t, "c", r.f.Focus())
	r.keys("down")
	require.Equal(t, "l", r.f.Focus())
	line, end := r.l.Current()
	require.Equal(t, "one", line)
	require.True(t, end)
	r.keys("home")
	_, end = r.l.Current()
	require.False(t, end)

	r = newRig()
	r.l.Begin([]string{"one"})
	r.f.FocusOn("l")
	r.typed("x")
	r.keys("backspace", "tab") // as it was
	r.l.Begin([]string{"other"})
	require.Equal(t, []string{"other"}, r.l.Values())
	r.f.FocusOn("l")
	r.f.Paste("a=1\r\nb=2\n\nc=3")
	require.Equal(t, []string{"other", "a=1", "b=2", "c=3"}, r.l.Values())
}

func TestCompletionIsTaken(t *testing.T) {
	for _, k := range []string{"tab", "right", "ctrl+e"} {
		r := newRig()
		r.f.FocusOn("l")
		r.typed("/sr")
		r.l.Ghost = "c/app"
		r.keys(k)
		require.Equal(t, []string{"/src/app"}, r.l.Values())
		require.Equal(t, "", r.l.Ghost)
		require.Equal(t, "l", r.f.Focus())
		r.keys("tab")
		require.Equal(t, "p", r.f.Focus())
	}
}

func TestNotes(t *testing.T) {
	r := newRig()
	r.f.Say("t", Note{Good, "free"})
	r.f.Say("c", Note{Bad, "no\x1b[31m network"})
	r.f.Say("nowhere", Note{Bad, "x"})
	require.Equal(t, "c", r.f.FirstBad())
	require.Equal(t, "no network", r.f.Said("c").Text)
	r.f.Say("c", Note{})
	require.Equal(t, "", r.f.FirstBad())
}

// Whatever is typed, clicked and pasted: the form has its lines, none too wide,
// the cursor is in view, and a value is never lost by looking at it.
func TestFormHoldsTogether(t *testing.T) {
	keys := []string{"tab", "shift+tab", "up", "down", "left", "right", "a", "日", "-", "backspace", "home", "end", "pgdown", "pgup", "ctrl+u", "ctrl+w", "space"}
	th := theme.New(theme.Options{})
	rapid.Check(t, func(t *rapid.T) {
		r := newRig()
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				r.f.Paste(rapid.StringMatching(`[a-z\n=日]{0,12}`).Draw(t, "pasted"))
			case 1:
				r.f.Click(rapid.IntRange(-3, 90).Draw(t, "x"), rapid.IntRange(-3, 40).Draw(t, "y"))
			case 2:
				r.f.Scroll(rapid.IntRange(-3, 3).Draw(t, "n"))
			case 3:
				r.f.Say(rapid.SampledFrom([]string{"p", "t", "c", "l"}).Draw(t, "on"),
					Note{Kind(rapid.IntRange(0, 3).Draw(t, "kind")), rapid.StringMatching(`[a-z日 ]{0,90}`).Draw(t, "note")})
			case 4:
				r.l.Ghost = rapid.StringMatching(`[a-z/]{0,6}`).Draw(t, "ghost")
			default:
				r.f.Key(press(rapid.SampledFrom(keys).Draw(t, "key")))
			}
			before := append([]string{r.t.Value(), r.c.Value()}, r.l.Values()...)
			w, h := rapid.IntRange(20, 100).Draw(t, "w"), rapid.IntRange(1, 30).Draw(t, "h")
			lines, cursor := r.f.Draw(&th, w, h)
			require.AtMost(t, len(lines), h)
			require.NotEmpty(t, lines)
			for _, l := range lines {
				require.AtMost(t, ansi.StringWidth(l), w, "%q", l)
			}
			require.True(t, cursor != nil, "no cursor")
			require.True(t, cursor.Y >= 0 && cursor.Y < len(lines), "the cursor is on line %d of %d", cursor.Y, len(lines))
			require.AtMost(t, cursor.X, w)
			require.True(t, slices.Equal(before, append([]string{r.t.Value(), r.c.Value()}, r.l.Values()...)), "drawing changed an answer")
		}
	})
}
