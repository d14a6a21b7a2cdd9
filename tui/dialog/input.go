package dialog

import (
	"strings"
	"unicode"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"cove/tui/text"
)

// Input is a line of text being typed: Bubbles' text input, with words as
// names have them, cleaned input, and widths in cells. It is for one
// goroutine.
type Input struct {
	field textinput.Model
	keys  []key.Binding // all that edit; anything else is text or no business of ours
}

// NewInput returns an empty line that holds at most most runes; 0 is no limit.
func NewInput(most int) *Input {
	in := &Input{field: textinput.New()}
	in.field.CharLimit = most
	// The dialog shows the terminal's own cursor. One that is drawn would
	// blink by a timer, and write while nobody types.
	in.field.SetVirtualCursor(false)
	in.field.Focus() // returns what begins the blinking: nothing
	m := &in.field.KeyMap
	// It would run whatever is called xclip or wl-paste in PATH. Terminals
	// paste by themselves, which arrives as tea.PasteMsg.
	m.Paste.SetEnabled(false)
	m.AcceptSuggestion.SetEnabled(false)
	m.NextSuggestion.SetEnabled(false)
	m.PrevSuggestion.SetEnabled(false)
	in.keys = []key.Binding{
		m.CharacterForward, m.CharacterBackward, m.WordForward, m.WordBackward, m.LineStart, m.LineEnd,
		m.DeleteWordBackward, m.DeleteWordForward, m.DeleteAfterCursor, m.DeleteBeforeCursor,
		m.DeleteCharacterBackward, m.DeleteCharacterForward,
	}
	return in
}

// Value is what has been typed.
func (in *Input) Value() string { return in.field.Value() }

// Insert puts printable text at the cursor; control characters are left out.
func (in *Input) Insert(s string) {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text.Clean(strings.TrimRight(s, "\r\n")))
	in.update(tea.PasteMsg{Content: s})
}

// update gives msg to the field. Without a drawn cursor it has no command to
// return for keys and pasted text.
func (in *Input) update(msg tea.Msg) { in.field, _ = in.field.Update(msg) }

// Key handles a key of a line editor, and tells whether it was one.
func (in *Input) Key(k tea.KeyPressMsg) bool {
	m, pos := &in.field.KeyMap, in.field.Position()
	switch {
	case key.Matches(k, m.WordBackward):
		in.field.SetCursor(in.wordStart())
	case key.Matches(k, m.WordForward):
		in.field.SetCursor(in.wordEnd())
	case key.Matches(k, m.DeleteWordBackward):
		in.remove(in.wordStart(), pos)
	case key.Matches(k, m.DeleteWordForward):
		in.remove(pos, in.wordEnd())
	case key.Matches(k, in.keys...):
		in.update(k)
	case k.Text == "" || k.Mod&^(tea.ModShift|tea.ModCapsLock|tea.ModNumLock) != 0:
		return false
	default:
		in.Insert(k.Text)
	}
	return true
}

// inWord tells what words are made of. The field's own words end at blanks,
// and a name has none: ctrl+w would always remove the whole of it.
func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// wordStart is where the word before the cursor begins.
func (in *Input) wordStart() int {
	runes, i := []rune(in.field.Value()), in.field.Position()
	for i > 0 && !inWord(runes[i-1]) {
		i--
	}
	for i > 0 && inWord(runes[i-1]) {
		i--
	}
	return i
}

// wordEnd is where the word after the cursor ends.
func (in *Input) wordEnd() int {
	runes, i := []rune(in.field.Value()), in.field.Position()
	for i < len(runes) && !inWord(runes[i]) {
		i++
	}
	for i < len(runes) && inWord(runes[i]) {
		i++
	}
	return i
}

// remove removes the runes between two places and leaves the cursor there.
func (in *Input) remove(from, to int) {
	runes := []rune(in.field.Value())
	in.field.SetValue(string(runes[:from]) + string(runes[to:]))
	in.field.SetCursor(from)
}

// View returns the part of the text to show in w cells and the cursor's cell
// in it. The field's own View and Cursor count a rune as a cell when they
// scroll, and leave the cell below the cursor without a style, so the window
// is cut here and the theme paints it.
func (in *Input) View(w int) (shown string, cursor int) {
	w = max(w, 1)
	runes, pos := []rune(in.field.Value()), in.field.Position()
	from := 0
	for text.Width(string(runes[from:pos])) > w-1 {
		from++
	}
	return text.Cut(string(runes[from:]), w, ""), text.Width(string(runes[from:pos]))
}

// Set replaces the text, and puts the cursor at its end.
func (in *Input) Set(s string) {
	in.field.SetValue("")
	in.Insert(s)
}

// AtEnd tells whether the cursor is behind the last rune.
func (in *Input) AtEnd() bool { return in.field.Position() == len([]rune(in.field.Value())) }
