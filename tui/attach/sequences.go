package attach

import "strings"

// verdict is what becomes of a control sequence.
type verdict uint8

const (
	drop  verdict = iota
	pass          // draws or sets something
	query         // the terminal answers it, in numbers only
)

// allowed judges a control sequence by its parts (ECMA-48 5.4; the names are
// those of xterm's ctlseqs). DEC private modes are not judged here.
func allowed(prefix byte, inter string, final byte, params string) verdict {
	switch string(prefix) + inter {
	case "\x00":
		switch {
		case final == 'b' && len(params) > 4: // a character again and again, for hours
			return drop
		case final == 'h' || final == 'l':
			// Insert and new line; not the keyboard's lock (2), under which no
			// key would detach anymore, nor local echo (12).
			if params == "4" || params == "20" {
				return pass
			}
			return drop
		case strings.IndexByte("@ABCDEFGHIJKLMPSTXZ`abdefgmrsu", final) >= 0:
			return pass
		case final == 'c', final == 'n':
			return query
		case final == 't' && (params == "14" || params == "16" || params == "18"):
			return query // sizes; the other window operations move or name windows
		}
	case "?":
		switch final {
		case 'J', 'K', 'W': // selective erase, tab stops; not saved modes: any could come back
			return pass
		case 'n', 'u':
			return query
		}
	case ">":
		switch final {
		case 'm', 'u': // modifyOtherKeys, kitty keyboard: push
			return pass
		case 'c', 'q':
			return query
		}
	case "<":
		if final == 'u' { // kitty keyboard: pop
			return pass
		}
	case "=":
		switch final {
		case 'u':
			return pass
		case 'c':
			return query
		}
	case "\x00 ":
		if final == 'q' || final == '@' || final == 'A' { // cursor style, shifts
			return pass
		}
	case "\x00!":
		if final == 'p' { // soft reset
			return pass
		}
	case "\x00\"":
		if final == 'q' { // protection
			return pass
		}
	case "\x00$", "?$":
		switch final {
		case 'p':
			return query // is a mode set
		case 'r', 't', 'v', 'x', 'z', '{': // rectangles
			if prefix == 0 {
				return pass
			}
		}
	case "\x00'":
		if final == '}' || final == '~' { // columns
			return pass
		}
	}
	return drop
}

// allowedMode judges a DEC private mode; those of the second screen are not
// judged here. All that pass are in the reset. What does not: VT52 (2), in which
// a terminal takes other sequences and sends other keys, of which the filter
// knows nothing; the window's width (3, 40, 95); what keys send beyond cursor
// keys and keypad (67, 1034 to 1039), which a reset cannot know.
func allowedMode(n int) bool {
	switch n {
	case 1, 5, 6, 7, 9, 12, 25, 45, 66, 69, // keys, picture, cursor, margins
		1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, // mouse and focus
		1048,                         // save and restore the cursor
		2004, 2026, 2027, 2031, 2048: // paste, updates as a whole, graphemes, colour scheme, size
		return true
	}
	return false
}

// Sequences of ours.
const (
	clearScreen = "\x1b[m\x1b[r\x1b[2J\x1b[H"
	softReset   = "\x1b[!p\x1b[?7h\x1b[<99u\x1b[>4m" + mouseOff
	mouseOff    = "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l"
	// leaveFull is what terminals do when a full-screen program leaves the
	// second screen, before the first one is drawn.
	leaveFull = "\x1b[?25h" + clearScreen
)

// enter takes the second screen, under a title of its own.
func enter(title string) string {
	return "\x1b[22;2t\x1b[?1049h" + clearScreen + "\x1b]2;" + title + "\x1b\\"
}

// reset undoes all that a program may have done to the terminal, and gives
// the first screen back. The keyboard's stack is emptied while still on the
// second screen, which has its own.
func (f *filter) reset() string {
	var b strings.Builder
	b.Write(f.close(nil))
	b.WriteString("\x1b[?2026l" + // synchronized output: nothing else shows before
		softReset +
		"\x1b[?9l\x1b[?1001l\x1b[?2004l\x1b[?2027l\x1b[?2031l\x1b[?2048l" + // reports: X10 mouse, paste, colour scheme, size
		"\x1b[?1l\x1b>\x1b[?66l" + // cursor keys and keypad
		"\x1b[?5l\x1b[?6l\x1b[?45l\x1b[?69l\x1b[r" + // inverse screen, origin, reverse wrap, margins
		"\x1b[4l\x1b[20l" + // insert, new line
		"\x1b(B\x1b)B\x1b*B\x1b+B\x0f" + // character sets
		"\x1b[m\x1b[0\"q\x1b[0 q\x1b[?12l\x1b[?25h") // colours, protection, cursor
	f.undo(&b)
	b.WriteString("\x1b[2J\x1b[H\x1b[?1049l\x1b[23;2t")
	return b.String()
}

// undo undoes what there are no modes for.
func (f *filter) undo(b *strings.Builder) {
	if f.graphics {
		b.WriteString("\x1b_Ga=d\x1b\\")
	}
	if f.link {
		b.WriteString("\x1b]8;;\x1b\\")
	}
	if f.colors {
		b.WriteString("\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b]117\x1b\\\x1b]119\x1b\\")
	}
	if f.progress {
		b.WriteString("\x1b]9;4;0\x1b\\")
	}
	if f.pointer {
		b.WriteString("\x1b]22;default\x1b\\")
	}
}
