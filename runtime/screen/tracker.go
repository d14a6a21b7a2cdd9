package screen

// modeBit is one of the DEC private modes that are followed, as a bit.
type modeBit uint32

// trackedMode is a DEC private mode that is brought back on another terminal.
type trackedMode struct {
	number int
	on     bool // as terminals have it after a reset
}

// trackedModes lists the modes that are followed, their bits in order. Not
// those that only last a moment (2026, synchronized output), nor the alternate
// screens, which are more than a mode.
func trackedModes() [24]trackedMode {
	return [24]trackedMode{
		{1, false},    // cursor keys send application sequences
		{5, false},    // reverse video
		{6, false},    // origin
		{7, true},     // autowrap
		{9, false},    // mouse: X10
		{12, false},   // cursor blinks
		{25, true},    // cursor visible
		{45, false},   // reverse wraparound
		{66, false},   // application keypad
		{69, false},   // left and right margins
		{1000, false}, // mouse: buttons
		{1001, false}, // mouse: highlighting
		{1002, false}, // mouse: drags
		{1003, false}, // mouse: all motion
		{1004, false}, // focus
		{1005, false}, // mouse: UTF-8
		{1006, false}, // mouse: SGR
		{1007, true},  // wheel sends arrows on the alternate screen
		{1015, false}, // mouse: urxvt
		{1016, false}, // mouse: SGR, pixels
		{2004, false}, // bracketed paste
		{2027, false}, // grapheme clusters
		{2031, false}, // colour scheme reports
		{2048, false}, // resize reports
	}
}

// Those with a meaning of their own here.
const (
	modeOrigin modeBit = 1 << 2
	modeKeypad modeBit = 1 << 8
)

// modeOf returns the bit of a mode, 0 for one that is not followed.
func modeOf(number int) modeBit {
	for i, m := range trackedModes() {
		if m.number == number {
			return 1 << i
		}
	}
	return 0
}

// maxKitty is how many entries of a stack of keyboard flags are kept; kitty
// keeps as many.
const maxKitty = 8

// kitty is the state of the kitty keyboard protocol on one screen.
type kitty struct {
	flags uint8
	stack [maxKitty]uint8 // what was pushed away, oldest first
	depth int
}

// region is a scrolling region, 1-based; 0, 0 is the whole screen.
type region struct{ top, bottom int }

// Tracker follows which modes a program has put its terminal in. The zero value
// is a terminal after a reset. It allocates nothing.
type Tracker struct {
	lex lexer

	changed modeBit // modes that are not as after a reset
	saved   modeBit // of changed, as CSI ? s stored it
	alt     int     // 47, 1047 or 1049 while on the alternate screen, else 0

	region     region
	insert     bool     // IRM
	newline    bool     // LNM
	cursor     int      // DECSCUSR; 0: the terminal's own
	otherKeys  int      // modifyOtherKeys
	colors     bool     // the palette or default colours were changed
	kitty      [2]kitty // of the main and the alternate screen
	charsets   [4]charset
	shift      int // which of charsets is in GL
	attributes attributes
}

// charset is a designated character set; 0: ASCII.
type charset struct{ inter, final byte }

// Alt tells whether the alternate screen is shown.
func (t *Tracker) Alt() bool { return t.alt != 0 }

// Write follows p up to and including the sequence that switches between the
// main and the alternate screen, and returns how many bytes that is: all of p
// when there is no switch.
func (t *Tracker) Write(p []byte) int {
	for i := 0; i < len(p); {
		if t.lex.state == inGround || t.lex.state == inString {
			if n := t.lex.run(p[i:], false); n > 0 {
				// Shifts are the only controls that matter.
				t.shifts(p[i : i+n])
				i += n
				continue
			}
		}
		was := t.alt
		t.step(p[i])
		i++
		if (t.alt != 0) != (was != 0) {
			return i
		}
	}
	return len(p)
}

// WriteAll follows all of p.
func (t *Tracker) WriteAll(p []byte) {
	for len(p) > 0 {
		p = p[t.Write(p):]
	}
}

// Resized tells that the terminal has another size: it has no scrolling region then.
func (t *Tracker) Resized() { t.region = region{} }

func (t *Tracker) shifts(p []byte) {
	if t.lex.state != inGround {
		return
	}
	for _, b := range p {
		switch b {
		case 0x0e:
			t.shift = 1
		case 0x0f:
			t.shift = 0
		}
	}
}

func (t *Tracker) step(b byte) {
	switch t.lex.step(b) & tokenMask {
	case tokText:
		t.shifts([]byte{b})
	case tokSeq:
		if t.lex.bad {
			return
		}
		if t.lex.intro == 0 {
			t.escape()
		} else {
			t.control()
		}
	case tokHead, tokWhole:
		if t.lex.intro != ']' {
			return
		}
		switch n := t.lex.number; {
		case n == 4, n == 5, n >= 10 && n <= 19:
			t.colors = true
		}
	}
}

func (t *Tracker) escape() {
	l := &t.lex
	switch l.inter {
	case '(', ')', '*', '+', '-', '.', '/':
		i := int(l.inter - '(')
		if i > 3 {
			i -= 4 // '-', '.' and '/' name sets of 96 characters: G1 to G3
		}
		if l.inters == 1 {
			t.charsets[i&3] = charset{l.inter, l.final}
			if l.final == 'B' && l.inter < '-' {
				t.charsets[i&3] = charset{} // ASCII
			}
		}
		return
	case 0:
	default:
		return
	}
	switch l.final {
	case 'c':
		lex := t.lex
		*t = Tracker{lex: lex, colors: t.colors}
	case '=':
		t.changed |= modeKeypad
	case '>':
		t.changed &^= modeKeypad
	case 'n':
		t.shift = 2
	case 'o':
		t.shift = 3
	}
}

func (t *Tracker) control() {
	l := &t.lex
	switch {
	case l.inters == 0:
		t.plainControl()
	case l.inter == ' ' && l.final == 'q' && l.private == 0:
		t.cursor = min(l.arg(0, 0), 6)
	case l.inter == '!' && l.final == 'p':
		// DECSTR resets no mouse, keyboard protocol or screen.
		soft := modeOf(1) | modeOrigin | modeOf(7) | modeOf(25) | modeKeypad | modeOf(69)
		t.changed &^= soft
		t.insert, t.region, t.attributes = false, region{}, attributes{}
		t.charsets, t.shift = [4]charset{}, 0
	}
}

func (t *Tracker) plainControl() {
	l := &t.lex
	switch l.private {
	case '?':
		t.privateModes(l.final)
	case '>':
		switch {
		case l.final == 'm' && l.arg(0, 0) == 4:
			t.otherKeys = min(l.arg(1, 0), 3)
		case l.final == 'm' && l.n == 0, l.final == 'n' && l.arg(0, 2) == 4:
			t.otherKeys = 0
		case l.final == 'u':
			t.screenKitty().push(uint8(l.arg(0, 0)))
		}
	case '<':
		if l.final == 'u' {
			t.screenKitty().pop(l.arg(0, 1))
		}
	case '=':
		if l.final == 'u' {
			t.screenKitty().set(uint8(l.arg(0, 0)), l.arg(1, 1))
		}
	case 0:
		switch l.final {
		case 'h', 'l':
			for i := range l.count() {
				switch l.params[i] {
				case 4:
					t.insert = l.final == 'h'
				case 20:
					t.newline = l.final == 'h'
				}
			}
		case 'r':
			t.region = region{l.arg(0, 1), l.arg(1, 0)}
			if t.region.top == 1 && t.region.bottom == 0 {
				t.region = region{}
			}
		case 'm':
			t.attributes.set(l)
		}
	}
}

func (t *Tracker) privateModes(final byte) {
	l := &t.lex
	for i := range l.count() {
		number := l.params[i]
		m := modeOf(number)
		switch final {
		case 'h', 'l':
			t.privateMode(number, m, final == 'h')
		case 's':
			t.saved = t.saved&^m | t.changed&m
		case 'r':
			t.changed = t.changed&^m | t.saved&m
		}
	}
}

func (t *Tracker) privateMode(number int, m modeBit, on bool) {
	switch number {
	case 47, 1047, 1049:
		switch {
		case !on:
			t.alt = 0
		case t.alt == 0:
			t.alt = number
		}
		return
	}
	for i, k := range trackedModes() {
		if m == 1<<i {
			if on != k.on {
				t.changed |= m
			} else {
				t.changed &^= m
			}
		}
	}
	// The tracking modes of the mouse exclude each other, as its encodings do:
	// what is off goes by the reset of any.
	if !on {
		return
	}
	if tracking := modeOf(9) | modeOf(1000) | modeOf(1001) | modeOf(1002) | modeOf(1003); m&tracking != 0 {
		t.changed = t.changed&^tracking | m
	}
	if coding := modeOf(1005) | modeOf(1006) | modeOf(1015) | modeOf(1016); m&coding != 0 {
		t.changed = t.changed&^coding | m
	}
}

func (t *Tracker) screenKitty() *kitty {
	if t.alt != 0 {
		return &t.kitty[1]
	}
	return &t.kitty[0]
}

func (k *kitty) push(flags uint8) {
	if k.depth == maxKitty {
		copy(k.stack[:], k.stack[1:])
		k.depth--
	}
	k.stack[k.depth] = k.flags
	k.depth++
	k.flags = flags
}

func (k *kitty) pop(n int) {
	if n >= k.depth {
		// Emptying the stack resets the flags.
		if n > k.depth {
			*k = kitty{}
			return
		}
	}
	for ; n > 0 && k.depth > 0; n-- {
		k.depth--
		k.flags = k.stack[k.depth]
	}
}

func (k *kitty) set(flags uint8, how int) {
	switch how {
	case 1:
		k.flags = flags
	case 2:
		k.flags |= flags
	case 3:
		k.flags &^= flags
	}
}
