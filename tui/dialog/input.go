package dialog

import (
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"cove/tui/text"
)

// Input is a line of text being typed. It is for one goroutine.
type Input struct {
	runes []rune
	pos   int // of the cursor, in runes
	// Max is the most runes it holds; 0 is no limit.
	Max int
}

// Value is what has been typed.
func (in *Input) Value() string { return string(in.runes) }

// Insert puts printable text at the cursor; control characters are left out.
func (in *Input) Insert(s string) {
	for _, r := range text.Clean(strings.TrimRight(s, "\r\n")) {
		if !unicode.IsPrint(r) || in.Max > 0 && len(in.runes) >= in.Max {
			continue
		}
		in.runes = append(in.runes[:in.pos], append([]rune{r}, in.runes[in.pos:]...)...)
		in.pos++
	}
}

// Key handles a key of a line editor, and tells whether it was one.
func (in *Input) Key(k tea.KeyPressMsg) bool {
	switch k.String() {
	case "left", "ctrl+b":
		in.pos = max(in.pos-1, 0)
	case "right", "ctrl+f":
		in.pos = min(in.pos+1, len(in.runes))
	case "home", "ctrl+a":
		in.pos = 0
	case "end", "ctrl+e":
		in.pos = len(in.runes)
	case "backspace", "ctrl+h":
		in.remove(in.pos-1, in.pos)
	case "delete", "ctrl+d":
		in.remove(in.pos, in.pos+1)
	case "ctrl+w", "ctrl+backspace", "alt+backspace":
		in.remove(in.word(), in.pos)
	case "ctrl+u":
		in.remove(0, in.pos)
	case "ctrl+k":
		in.remove(in.pos, len(in.runes))
	default:
		if k.Text == "" || k.Mod&^(tea.ModShift|tea.ModCapsLock|tea.ModNumLock) != 0 {
			return false
		}
		in.Insert(k.Text)
	}
	return true
}

// word is where the word before the cursor begins; words of a name are parted
// by anything that is no letter or digit.
func (in *Input) word() int {
	i := in.pos
	inWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	for i > 0 && !inWord(in.runes[i-1]) {
		i--
	}
	for i > 0 && inWord(in.runes[i-1]) {
		i--
	}
	return i
}

func (in *Input) remove(from, to int) {
	from, to = max(from, 0), min(to, len(in.runes))
	if from >= to {
		return
	}
	in.runes = append(in.runes[:from], in.runes[to:]...)
	in.pos = min(from, len(in.runes))
}

// View returns the part of the text to show in w cells and the cursor's cell
// in it.
func (in *Input) View(w int) (shown string, cursor int) {
	w = max(w, 1)
	from := 0
	for text.Width(string(in.runes[from:in.pos])) > w-1 {
		from++
	}
	return text.Cut(string(in.runes[from:]), w, ""), text.Width(string(in.runes[from:in.pos]))
}
