package form

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// textWidth is how wide a short answer is drawn, so that a note has room
// beside it.
const textWidth = 26

// Text is a line of text. Empty, it shows what stands for it.
type Text struct {
	// Instead is what an empty line means.
	Instead string
	// Ghost is what a completion would add. Its key takes it.
	Ghost string

	in   *dialog.Input
	long bool
	take key.Binding
}

// NewText returns an empty line of at most most runes. A long one is drawn over
// the whole width.
func NewText(most int, long bool) *Text {
	return &Text{in: dialog.NewInput(most), long: long, take: on("tab", "ctrl+space", "right", "ctrl+e", "end")}
}

// Value is what was typed.
func (t *Text) Value() string { return t.in.Value() }

// Set puts s into the line.
func (t *Text) Set(s string) { t.in.Set(s) }

// Key implements [Field].
func (t *Text) Key(k tea.KeyPressMsg) bool {
	if t.Ghost != "" && t.in.AtEnd() && key.Matches(k, t.take) {
		t.in.Insert(t.Ghost)
		t.Ghost = ""
		return true
	}
	return t.in.Key(k)
}

// Paste implements [Field].
func (t *Text) Paste(s string) { t.in.Insert(s) }

// Step implements [Field]: there is one line.
func (t *Text) Step(int) bool { return false }

// Enter implements [Field].
func (t *Text) Enter(bool) {}

// Click implements [Field].
func (t *Text) Click(int, int) {}

// Draw implements [Field].
func (t *Text) Draw(th *theme.Theme, w int, focused bool) Drawn {
	if !t.long {
		w = min(w, textWidth)
	}
	line, x := drawInput(th, t.in, t.Instead, w, focused)
	if focused {
		line = withGhost(th, line, t.in, t.Ghost, w)
	}
	d := Drawn{Lines: []string{line}}
	if focused {
		d.Cursor = &dialog.Point{X: x}
	}
	return d
}

// drawInput draws a line being typed in w cells, and tells where its cursor is.
// What was typed is bold: it differs from what stands there without it.
func drawInput(th *theme.Theme, in *dialog.Input, instead string, w int, focused bool) (string, int) {
	shown, x := in.View(w)
	typed := th.Strong.Over(th.Input)
	switch {
	case in.Value() == "" && instead == "":
		if !focused {
			return th.Muted.Paint(text.Fit("-", w, "")), 0
		}
		return th.Input.Paint(text.Spaces(w)), 0
	case in.Value() == "":
		instead = text.Fit(text.Clean(instead), w, th.Glyphs.Ellipsis)
		if focused {
			return th.Muted.Over(th.Input).Paint(instead), 0
		}
		return th.Muted.Paint(instead), 0
	case !focused:
		return th.Strong.Paint(text.Fit(text.Cut(in.Value(), w, th.Glyphs.Ellipsis), w, "")), 0
	}
	return typed.Paint(text.Fit(shown, w, "")), x
}

// withGhost is a line that is typed, with what a completion would add to it.
func withGhost(th *theme.Theme, line string, in *dialog.Input, ghost string, w int) string {
	n := text.Width(in.Value())
	if ghost == "" || !in.AtEnd() || n >= w-1 {
		return line
	}
	return th.Strong.Over(th.Input).Paint(in.Value()) + th.Muted.Over(th.Input).Paint(text.Fit(text.Clean(ghost), w-n, th.Glyphs.Ellipsis))
}
