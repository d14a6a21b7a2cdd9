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
		case strings.IndexByte("@ABCDEFGHIJKLMPSTXZ`abdefghlmrsu", final) >= 0:
			return pass
		case final == 'c', final == 'n':
			return query
		case final == 't' && (params == "14" || params == "16" || params == "18"):
			return query // sizes; the other window operations move or name windows
		}
	case "?":
		switch final {
		case 'J', 'K', 'W', 'r', 's': // selective erase, tab stops, saved modes
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
		"\x1b[?9l\x1b[?2004l\x1b[?2031l\x1b[?2048l" + // reports: X10 mouse, paste, colour scheme, size
		"\x1b[?1l\x1b>\x1b[?66l" + // cursor keys and keypad
		"\x1b[?5l\x1b[?6l\x1b[?45l\x1b[?69l\x1b[r" + // inverse screen, origin, reverse wrap, margins
		"\x1b[4l\x1b[20l" + // insert, new line
		"\x1b(B\x1b)B\x1b*B\x1b+B\x0f" + // character sets
		"\x1b[m\x1b[0\"q\x1b[0 q\x1b[?12l\x1b[?25h") // colours, protection, cursor
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
	b.WriteString("\x1b[2J\x1b[H\x1b[?1049l\x1b[23;2t")
	return b.String()
}
