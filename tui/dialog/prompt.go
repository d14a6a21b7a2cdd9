package dialog

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/text"
	"cove/tui/theme"
)

// Prompt asks for one line of text.
type Prompt struct {
	title string
	input *Input
	ask   Question
	keys  promptKeys
}

// Question is what a [Prompt] asks.
type Question struct {
	// Label stands before the line, About below it.
	Label, About string
	// Value is what stands there at first.
	Value string
	// Wrong says why the text cannot be taken, "" when it can; Command is the
	// same on the command line.
	Wrong   func(string) string
	Command func(string) string
	// Run takes the text. It is called only when Wrong gives "".
	Run func(string) tea.Cmd
}

type promptKeys struct{ take, cancel key.Binding }

// promptMost is how many runes the line holds.
const promptMost = 400

// NewPrompt returns the dialog that asks q.
func NewPrompt(title string, q Question) *Prompt {
	p := &Prompt{title: title, ask: q, input: NewInput(promptMost), keys: promptKeys{take: on("enter"), cancel: on("esc")}}
	p.input.Insert(q.Value)
	return p
}

// ID implements [Dialog].
func (p *Prompt) ID() string { return "prompt" }

// Key implements [Dialog].
func (p *Prompt) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	switch {
	case key.Matches(k, p.keys.cancel):
		return true, nil
	case key.Matches(k, p.keys.take):
		if p.ask.Wrong(p.input.Value()) == "" {
			return true, p.ask.Run(p.input.Value())
		}
	default:
		p.input.Key(k)
	}
	return false, nil
}

// Paste implements [Dialog].
func (p *Prompt) Paste(s string) tea.Cmd {
	p.input.Insert(s)
	return nil
}

// Click implements [Dialog].
func (p *Prompt) Click(int, int) (bool, tea.Cmd) { return false, nil }

// promptWidth is the width of the line and what is around it.
const promptWidth = 64

// Draw implements [Dialog].
func (p *Prompt) Draw(th *theme.Theme, w, h int) Content {
	w = min(w, promptWidth)
	label := p.ask.Label + "  "
	room := max(w-text.Width(label), 1)
	shown, x := p.input.View(room)
	lines := []string{label + th.Input.Paint(text.Fit(shown, room, ""))}
	below := []string{}
	if wrong := p.ask.Wrong(p.input.Value()); wrong != "" {
		for _, l := range text.Wrap(text.Clean(wrong), w) {
			below = append(below, th.Bad.Paint(l))
		}
	} else {
		below = append(below, th.Muted.Paint(text.Cut("$ "+p.ask.Command(p.input.Value()), w, th.Glyphs.Ellipsis)))
	}
	if p.ask.About != "" {
		for _, l := range text.Wrap(p.ask.About, w) {
			below = append(below, th.Muted.Paint(l))
		}
	}
	below = append(below, th.Key.Paint("enter")+" takes it  "+th.Key.Paint("esc")+" cancels")
	for _, l := range below {
		if len(lines) < h {
			lines = append(lines, l)
		}
	}
	return Content{Title: p.title, Lines: lines, Cursor: &Point{X: text.Width(label) + x, Y: 0}}
}
