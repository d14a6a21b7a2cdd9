package form

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// Choice is one of a few words.
type Choice struct {
	options      []string
	chosen, base int
	previous     key.Binding
	next         key.Binding
	ends         []int // where the options were drawn last
}

// NewChoice returns a choice; [Choice.Offer] says between what.
func NewChoice() *Choice {
	return &Choice{previous: on("left"), next: on("right", "space")}
}

// Offer sets the options and which of them is the one without a choice. What
// was chosen stays chosen where it is still there.
func (c *Choice) Offer(base int, options ...string) {
	was := ""
	if c.Changed() {
		was = c.Value()
	}
	c.options, c.base, c.chosen = options, base, base
	for i, o := range options {
		if o == was {
			c.chosen = i
		}
	}
}

// Value is the chosen word, "" when there is none to choose.
func (c *Choice) Value() string {
	if c.chosen >= len(c.options) {
		return ""
	}
	return c.options[c.chosen]
}

// Changed tells whether it is another one than without a choice.
func (c *Choice) Changed() bool { return c.chosen != c.base }

// Choose chooses a word.
func (c *Choice) Choose(word string) {
	for i, o := range c.options {
		if o == word {
			c.chosen = i
		}
	}
}

// Key implements [Field].
func (c *Choice) Key(k tea.KeyPressMsg) bool {
	n := len(c.options)
	switch {
	case n == 0:
		return false
	case key.Matches(k, c.previous):
		c.chosen = (c.chosen + n - 1) % n
	case key.Matches(k, c.next):
		c.chosen = (c.chosen + 1) % n
	default:
		return false
	}
	return true
}

// Paste implements [Field]: pasted text chooses nothing.
func (c *Choice) Paste(string) {}

// Step implements [Field].
func (c *Choice) Step(int) bool { return false }

// Enter implements [Field].
func (c *Choice) Enter(bool) {}

// Click implements [Field].
func (c *Choice) Click(x, _ int) {
	for i, end := range c.ends {
		if x >= 0 && x < end {
			c.chosen = i
			return
		}
	}
}

// Draw implements [Field]. The chosen word is in brackets.
func (c *Choice) Draw(th *theme.Theme, w int, focused bool) Drawn {
	chosen := th.Text
	if c.Changed() {
		chosen = th.Strong
	}
	if focused {
		chosen = th.Focused
	}
	c.ends = c.ends[:0]
	var d Drawn
	if focused {
		d.Cursor = &dialog.Point{}
	}
	line, used := "", 0
	for i, o := range c.options {
		word, style := " "+o+" ", th.Muted
		if i == c.chosen {
			word, style = "["+o+"]", chosen
			if focused {
				d.Cursor.X = used + 1
			}
		}
		used += text.Width(word)
		line += style.Paint(word)
		c.ends = append(c.ends, used)
	}
	if used > w { // only the chosen one
		c.ends = c.ends[:0]
		line = chosen.Paint(text.Cut("<"+c.Value()+">", w, th.Glyphs.Ellipsis))
		if focused {
			d.Cursor.X = 0
		}
	}
	d.Lines = []string{line}
	return d
}
