package screen

import "strconv"

// AppendReset appends what brings a terminal that shows the program's output
// back to its state after a reset, touching only what the program changed.
func (t *Tracker) AppendReset(b []byte) []byte {
	if t.lex.state != inGround {
		b = append(b, "\x1b\\"...)
	}
	b = append(b, "\x1b[?2026l"...)
	if t.alt != 0 {
		b = t.kitty[1].appendReset(b)
		b = appendMode(b, t.alt, false)
	}
	b = t.kitty[0].appendReset(b)
	if t.otherKeys != 0 {
		b = append(b, "\x1b[>4;0m"...)
	}
	if t.region != (region{}) || t.changed&modeOrigin != 0 {
		// Both move the cursor; saving it would save the origin mode too.
		b = append(b, "\x1b7\x1b[r\x1b8"...)
	}
	for i, m := range trackedModes() {
		if t.changed&(1<<i) != 0 {
			b = appendMode(b, m.number, m.on)
		}
	}
	if t.changed&modeKeypad != 0 {
		b = append(b, "\x1b>"...)
	}
	if t.insert {
		b = append(b, "\x1b[4l"...)
	}
	if t.newline {
		b = append(b, "\x1b[20l"...)
	}
	if t.charsets != [4]charset{} || t.shift != 0 {
		b = append(b, "\x1b(B\x1b)B\x1b*B\x1b+B\x0f"...)
	}
	if t.cursor != 0 {
		b = append(b, "\x1b[0 q"...)
	}
	if t.colors {
		b = append(b, "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\"...)
	}
	return append(b, "\x1b[0m\x1b]8;;\x1b\\"...)
}

// AppendRestore appends what shows lines, which is old output of the main screen
// and goes through [Replay], on a cleared terminal, and then brings the
// terminal into the state that t has followed. On the alternate screen the
// program must be made to redraw after that: its picture is not kept.
func (t *Tracker) AppendRestore(b []byte, lines []byte) []byte {
	b = append(b, "\x1b[0m\x1b[r\x1b[H\x1b[2J"...)
	b = new(Replay).Append(b, lines)
	b = append(b, "\x1b(B\x1b)B\x0f\x1b[0m"...)
	b = t.kitty[0].appendRestore(b)
	if t.alt != 0 {
		b = appendMode(b, t.alt, true)
		b = append(b, "\x1b[H\x1b[2J"...)
		b = t.kitty[1].appendRestore(b)
	}
	if t.region != (region{}) {
		b = append(b, "\x1b7\x1b["...)
		b = strconv.AppendInt(b, int64(t.region.top), 10)
		b = append(b, ';')
		if t.region.bottom > 0 {
			b = strconv.AppendInt(b, int64(t.region.bottom), 10)
		}
		b = append(b, "r\x1b8"...)
	}
	for i, m := range trackedModes() {
		bit := modeBit(1) << i
		if t.changed&bit != 0 && bit != modeKeypad {
			b = appendMode(b, m.number, !m.on)
		}
	}
	if t.changed&modeKeypad != 0 {
		b = append(b, "\x1b="...)
	}
	if t.insert {
		b = append(b, "\x1b[4h"...)
	}
	if t.newline {
		b = append(b, "\x1b[20h"...)
	}
	if t.otherKeys != 0 {
		b = append(b, "\x1b[>4;"...)
		b = append(b, byte('0'+t.otherKeys), 'm')
	}
	if t.cursor != 0 {
		b = append(b, "\x1b["...)
		b = append(b, byte('0'+t.cursor), ' ', 'q')
	}
	for _, c := range t.charsets {
		if c.final != 0 {
			b = append(b, esc, c.inter, c.final)
		}
	}
	switch t.shift {
	case 1:
		b = append(b, 0x0e)
	case 2:
		b = append(b, esc, 'n')
	case 3:
		b = append(b, esc, 'o')
	}
	return t.attributes.append(b)
}

func appendMode(b []byte, number int, on bool) []byte {
	b = append(b, "\x1b[?"...)
	b = strconv.AppendInt(b, int64(number), 10)
	if on {
		return append(b, 'h')
	}
	return append(b, 'l')
}

func (k *kitty) appendReset(b []byte) []byte {
	if k.depth > 0 {
		b = append(b, "\x1b[<"...)
		b = append(strconv.AppendInt(b, int64(k.depth), 10), 'u')
	}
	base := k.flags
	if k.depth > 0 {
		base = k.stack[0]
	}
	if base != 0 {
		b = append(b, "\x1b[=0;1u"...)
	}
	return b
}

func (k *kitty) appendRestore(b []byte) []byte {
	base := k.flags
	if k.depth > 0 {
		base = k.stack[0]
	}
	if base != 0 {
		b = append(b, "\x1b[="...)
		b = strconv.AppendInt(b, int64(base), 10)
		b = append(b, ";1u"...)
	}
	for i := range k.depth {
		flags := k.flags
		if i+1 < k.depth {
			flags = k.stack[i+1]
		}
		b = append(b, "\x1b[>"...)
		b = append(strconv.AppendInt(b, int64(flags), 10), 'u')
	}
	return b
}
