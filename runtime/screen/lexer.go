// Package screen follows what programs write to a terminal, byte by byte and
// without keeping the picture: [Tracker] knows the modes that a terminal is in,
// so that another one can be brought there; [Filter] takes out what a hostile
// program must not send to a person's terminal; [Replay] makes old output safe
// to show again.
//
// The grammar is ECMA-48 with xterm's extensions (ctlseqs), for terminals that
// read UTF-8: C1 controls are recognised as U+0080 to U+009F and as lone bytes,
// never inside another character.
package screen

const (
	bel = 0x07
	can = 0x18
	sub = 0x1a
	esc = 0x1b
	del = 0x7f
)

// state is where the lexer stands in the grammar.
type state uint8

const (
	inGround state = iota
	inEscape       // after ESC
	inInter        // after ESC and intermediate bytes
	inCSI
	inOSC    // in the number of an OSC
	inDCS    // in the parameters of a DCS
	inString // in the content of an OSC, DCS, SOS, PM or APC
)

// token says what a byte is. The low bits are one of the kinds, to which flags
// may be added.
type token uint8

const (
	tokText   token = iota // a character or control of its own
	tokHold                // part of something that is not complete yet
	tokPair                // completes a character that was held
	tokSeq                 // completes an escape or control sequence
	tokHead                // completes the head of a string, which goes on
	tokWhole               // completes a string that is nothing but its head
	tokData                // content of a string
	tokMore                // content that completes a character that was held
	tokEnd                 // ends a string
	tokenMask       = 0x0f

	flagFlush   token = 0x10 // what was held was text after all
	flagAbort   token = 0x20 // what was held before this byte is incomplete for ever
	flagRestart token = 0x40 // with flagAbort: of what was held, the last byte begins something new
)

const maxParams = 32

// lexer takes a stream of output apart. The zero value is at the beginning.
type lexer struct {
	state state
	c2    bool // 0xc2 was seen: a C1 control or a Latin-1 character follows
	more  int8 // continuation bytes that the current character still has
	// fromString: in inEscape, the ESC came inside a string; fromHead: inside
	// the head of one.
	fromString, fromHead bool

	// Of the sequence or string under way, and of the last complete one:
	intro   byte // 0 for ESC sequences, else '[' ']' 'P' 'X' '^' '_'
	private byte // '?', '<', '=' or '>', the first byte of parameters
	inter   byte // the first intermediate byte
	inters  uint8
	final   byte
	bad     bool // breaks the grammar: terminals differ in what they make of it
	n       int  // parameters
	params  [maxParams]int
	colon   uint32 // bit i: params[i] follows a ':'
	number  int    // of an OSC; -1: none
	digits  bool
}

func (l *lexer) begin(s state, intro byte) {
	l.state, l.intro = s, intro
	l.private, l.inter, l.inters, l.final, l.bad, l.digits = 0, 0, 0, 0, false, false
	l.n, l.colon, l.number = 0, 0, -1
}

// step takes one byte.
func (l *lexer) step(b byte) token {
	if l.c2 {
		return l.afterC2(b)
	}
	switch l.state {
	case inGround, inString:
		return l.plain(b)
	}
	// In the midst of a sequence.
	switch {
	case b == esc:
		if l.state == inOSC {
			// The head may end here, or be cut off: the next byte tells.
			l.state, l.fromHead = inEscape, true
			return tokHold
		}
		l.reset(inEscape)
		l.begin(inEscape, 0)
		return tokHold | flagAbort
	case b == can || b == sub:
		l.reset(inGround)
		return tokText | flagAbort
	case b >= 0x80:
		if l.state == inOSC && (b == 0x9c || b == 0xc2) {
			if b == 0xc2 {
				l.c2 = true
				return tokHold
			}
			return l.endHead()
		}
		l.reset(inGround)
		return l.plain(b) | flagAbort
	case l.state == inOSC:
		return l.osc(b)
	case b < 0x20 || b == del:
		// Executed or ignored by terminals, and the sequence goes on.
		return tokHold
	case l.state == inEscape:
		return l.escape(b)
	case l.state == inInter:
		return l.intermediate(b)
	default:
		return l.control(b)
	}
}

// reset forgets what was under way.
func (l *lexer) reset(s state) {
	l.state, l.c2, l.more, l.fromString, l.fromHead = s, false, 0, false, false
}

// plain takes a byte of text or of a string's content.
func (l *lexer) plain(b byte) token {
	data := tokText
	if l.state == inString {
		data = tokData
	}
	if l.more > 0 {
		if b&0xc0 == 0x80 {
			l.more--
			return data
		}
		l.more = 0
	}
	switch {
	case b == esc:
		l.fromString = l.state == inString
		l.state = inEscape
		if !l.fromString {
			l.begin(inEscape, 0)
		}
		return tokHold
	case b < 0x80:
		if l.state == inString && (b == can || b == sub || b == bel && l.intro == ']') {
			l.state = inGround
			return tokEnd
		}
		return data
	case b < 0xa0:
		return l.c1(b)
	case b == 0xc2:
		l.c2 = true
		return tokHold
	case b >= 0xc3 && b < 0xe0:
		l.more = 1
	case b >= 0xe0 && b < 0xf0:
		l.more = 2
	case b >= 0xf0 && b < 0xf5:
		l.more = 3
	}
	return data
}

// afterC2 takes the byte after 0xc2.
func (l *lexer) afterC2(b byte) token {
	l.c2 = false
	switch {
	case l.state == inOSC:
		if b == 0x9c {
			return l.endHead()
		}
		// No number of an OSC goes on like this.
		l.reset(inGround)
		switch {
		case b >= 0x80 && b < 0xa0:
			return l.c1(b) | flagAbort | flagRestart
		case b >= 0xa0 && b < 0xc0:
			return tokPair | flagAbort | flagRestart
		}
		return l.plain(b) | flagAbort
	case b >= 0x80 && b < 0xa0:
		return l.c1(b)
	case b >= 0xa0 && b < 0xc0:
		if l.state == inString {
			return tokMore
		}
		return tokPair
	}
	return l.plain(b) | flagFlush
}

// c1 takes a C1 control, as a character or as a byte; its 0xc2 may be held.
func (l *lexer) c1(b byte) token {
	switch b {
	case 0x9b:
		l.begin(inCSI, '[')
		return tokHold
	case 0x9d:
		l.begin(inOSC, ']')
		return tokHold
	case 0x90:
		l.begin(inDCS, 'P')
		return tokHold
	case 0x98, 0x9e, 0x9f:
		l.begin(inString, b-0x40)
		return tokHead
	case 0x9c:
		if l.state == inString {
			l.state = inGround
			return tokEnd
		}
	}
	if l.state == inString {
		return tokMore
	}
	return tokPair
}

// run returns how many bytes at the beginning of b are plain text, or content
// of the string under way, whatever comes after.
func (l *lexer) run(b []byte, old bool) int {
	if l.c2 || l.more > 0 {
		return 0
	}
	i := 0
	for i < len(b) {
		c := b[i]
		switch {
		case c >= 0x20 && c < 0x80:
			i++
		case c < 0x20:
			if c == esc || l.state == inString || old && (c == bel || c == 0x05) {
				return i
			}
			i++
		case c >= 0xc3 && c < 0xf5:
			k := 2
			if c >= 0xf0 {
				k = 4
			} else if c >= 0xe0 {
				k = 3
			}
			if i+k > len(b) {
				return i
			}
			for _, d := range b[i+1 : i+k] {
				if d&0xc0 != 0x80 {
					return i
				}
			}
			i += k
		default:
			return i
		}
	}
	return i
}

func (l *lexer) escape(b byte) token {
	if l.fromString || l.fromHead {
		head := l.fromHead
		l.fromString, l.fromHead = false, false
		switch {
		case b == '\\' && head:
			return l.endHead()
		case b == '\\':
			l.state = inGround
			return tokEnd
		}
		l.begin(inEscape, 0)
		if head {
			return l.escape(b) | flagAbort | flagRestart
		}
	}
	switch {
	case b == '[':
		l.begin(inCSI, b)
	case b == ']':
		l.begin(inOSC, b)
	case b == 'P':
		l.begin(inDCS, b)
	case b == 'X' || b == '^' || b == '_':
		l.begin(inString, b)
		return tokHead
	case b < 0x30:
		l.inter, l.inters = b, 1
		l.state = inInter
	default:
		l.final = b
		l.state = inGround
		return tokSeq
	}
	return tokHold
}

func (l *lexer) intermediate(b byte) token {
	if b < 0x30 {
		l.inters = min(l.inters+1, 8)
		return tokHold
	}
	l.final = b
	l.state = inGround
	return tokSeq
}

// control takes a byte of a CSI, or of the head of a DCS.
func (l *lexer) control(b byte) token {
	switch {
	case b >= '0' && b <= ';':
		if l.inters > 0 {
			l.bad = true
		}
		l.param(b)
	case b <= 0x2f:
		if l.inters == 0 {
			l.inter = b
		}
		l.inters = min(l.inters+1, 8)
	case b < 0x40:
		if l.private != 0 || l.n > 0 || l.inters > 0 {
			l.bad = true
		} else {
			l.private = b
		}
	default:
		l.final = b
		if l.state == inDCS {
			l.state = inString
			return tokHead
		}
		l.state = inGround
		return tokSeq
	}
	return tokHold
}

func (l *lexer) param(b byte) {
	if l.n == 0 {
		l.n = 1
		l.params[0] = 0
	}
	if b == ';' || b == ':' {
		l.n++
		if l.n <= maxParams {
			l.params[l.n-1] = 0
			if b == ':' {
				l.colon |= 1 << (l.n - 1)
			}
		} else {
			l.n = maxParams + 1
		}
		return
	}
	if l.n <= maxParams {
		p := &l.params[l.n-1]
		*p = min(*p*10+int(b-'0'), 1<<24)
	}
}

// arg returns parameter i, or def where it is missing or 0.
func (l *lexer) arg(i, def int) int {
	if i >= l.count() || l.params[i] == 0 {
		return def
	}
	return l.params[i]
}

func (l *lexer) count() int { return min(l.n, maxParams) }

// osc takes a byte of the number of an OSC.
func (l *lexer) osc(b byte) token {
	switch {
	case b == bel:
		return l.endHead()
	case b < 0x20 || b == del:
		// Some terminals skip these, so that the number goes on behind.
		return tokHold
	case b >= '0' && b <= '9':
		l.number = min(max(l.number, 0)*10+int(b-'0'), 1<<24)
		l.digits = true
		return tokHold
	}
	// Letters in place of a number are Sun's titles and the Linux palette.
	letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
	l.bad = b != ';' && (l.digits || !letter)
	l.final = b
	l.state = inString
	return tokHead
}

func (l *lexer) endHead() token {
	l.fromHead = false
	l.final = 0
	l.state = inGround
	return tokWhole
}
