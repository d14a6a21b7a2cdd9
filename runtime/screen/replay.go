package screen

// maxHead is the longest sequence, or head of a string, that is shown again. The
// longest that programs send are colours with some dozen parameters.
const maxHead = 256

// Replay filters old output so that it can be shown again: only text, its
// looks, cursor movements and hyperlinks are left. Everything that asks the
// terminal something would have its answer typed into today's program; modes
// are [Tracker]'s to restore; a bell was for then. What is broken off, breaks
// the grammar or is longer than 256 bytes before its content is left out too:
// terminals differ in what they make of it.
//
// A sequence that is not complete is held back until it is, so the output does
// not depend on how the input is cut. The zero value is at the beginning of a
// text. It allocates nothing but what dst needs.
//
// It is not for live output, which a person's terminal is shown through a
// filter of its client's.
type Replay struct {
	lex  lexer
	held [maxHead]byte
	n    int
	over bool // more than fits was held
	drop bool // the string under way is dropped
}

// Append filters src and appends what passes to dst, which must not overlap src.
func (r *Replay) Append(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		if r.lex.state == inGround || r.lex.state == inString {
			if n := r.lex.run(src[i:], true); n > 0 {
				if r.lex.state == inGround || !r.drop {
					dst = append(dst, src[i:i+n]...)
				}
				i += n
				continue
			}
		}
		dst = r.step(dst, src[i])
		i++
	}
	return dst
}

func (r *Replay) step(dst []byte, b byte) []byte {
	t := r.lex.step(b)
	if t&flagFlush != 0 && !r.drop {
		dst = append(dst, r.held[:r.n]...)
	}
	if t&flagRestart != 0 && r.n > 0 {
		last := r.held[r.n-1]
		r.clear()
		r.hold(last)
	} else if t&(flagFlush|flagAbort) != 0 {
		r.clear()
	}
	if t&flagAbort != 0 {
		r.drop = false
	}
	pass := true
	switch t & tokenMask {
	case tokHold:
		r.hold(b)
		return dst
	case tokText:
		r.drop = false
		pass = b != bel && b != 0x05
	case tokPair:
		r.drop = false
	case tokSeq:
		r.drop = false
		pass = !r.over && r.passSequence()
	case tokHead:
		pass = !r.over && r.passString()
		r.drop = !pass
	case tokWhole:
		r.drop = false
		pass = !r.over && r.passString()
	case tokData, tokMore:
		pass = !r.drop
	case tokEnd:
		pass = !r.drop
		r.drop = false
	}
	if pass {
		dst = append(dst, r.held[:r.n]...)
		dst = append(dst, b)
	}
	r.clear()
	return dst
}

func (r *Replay) hold(b byte) {
	if r.n == maxHead {
		r.over = true
		r.n--
	}
	r.held[r.n] = b
	r.n++
}

func (r *Replay) clear() { r.n, r.over = 0, false }

// passSequence decides on the complete sequence in r.lex.
func (r *Replay) passSequence() bool {
	l := &r.lex
	switch {
	case l.bad:
		return false
	case l.intro != 0:
		return oldControl(l)
	}
	switch l.inter {
	case 0:
		// Save and restore, line feeds, tab stops, locking shifts.
		return contains("78DEHMno|}~\\", l.final)
	case '%':
		return l.final == 'G'
	case '(', ')', '*', '+':
		return true
	}
	return false
}

// passString decides on the string whose head is in r.lex: hyperlinks are left.
func (r *Replay) passString() bool { return !r.lex.bad && r.lex.intro == ']' && r.lex.number == 8 }

// oldControl tells whether a control sequence of old output is shown again.
func oldControl(l *lexer) bool {
	if l.private != 0 || l.inters != 0 {
		return false
	}
	switch l.final {
	case 'J':
		// 3 J deletes the scrollback of the person's own terminal.
		return l.arg(0, 0) < 3
	case 's', 'u':
		return l.n == 0
	}
	return contains("@ABCDEFGHIKLMPSTXZ`abdefgmr", l.final)
}

func contains(s string, b byte) bool {
	for i := range len(s) {
		if s[i] == b {
			return true
		}
	}
	return false
}
