package screen

import "io"

// maxHead is the longest sequence, or head of a string, that is passed on. The
// longest that programs send are colours with some dozen parameters.
const maxHead = 256

// Filter takes out of a program's output what could harm the person whose
// terminal shows it, and passes everything else on as it is:
//
//   - what makes a terminal type text of the program's choice, which after a
//     detach would be typed into the person's own shell: title reports (CSI 20 t
//     and 21 t; CVE-2003-0063), DECRQSS (CVE-2008-2383), XTGETTCAP, font queries
//     (OSC 50; CVE-2022-45063), user-defined keys (DECUDK), screen checksums
//     (DECRQCRA), 8-bit replies (S8C1T), iTerm2's reports (in OSC 1337);
//   - the clipboard (OSC 52 and 5522, and what OSC 1337 can do), reading and
//     writing;
//   - printing (media copy), kitty's remote control (DCS @), Emacs's and Vim's
//     calls of functions (OSC 51);
//   - ways round a filter: tmux's passthrough, leaving UTF-8 (ESC % @), and
//     sequences that terminals read differently: broken off, breaking the
//     grammar, or longer than 256 bytes before their content.
//
// A sequence that is not complete is held back until it is, so the output does
// not depend on how the input is cut. The zero value is ready. It allocates
// nothing but what dst needs.
type Filter struct {
	lex  lexer
	held [maxHead]byte
	n    int
	over bool // more than fits was held
	drop bool // the string under way is dropped
	old  bool // what is filtered is shown again: see Replay
}

// Append filters src and appends what passes to dst, which must not overlap src.
func (f *Filter) Append(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		if f.lex.state == inGround || f.lex.state == inString {
			if n := f.lex.run(src[i:], f.old); n > 0 {
				if f.lex.state == inGround || !f.drop {
					dst = append(dst, src[i:i+n]...)
				}
				i += n
				continue
			}
		}
		dst = f.step(dst, src[i])
		i++
	}
	return dst
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

func (f *Filter) step(dst []byte, b byte) []byte {
	t := f.lex.step(b)
	if t&flagFlush != 0 && !f.drop {
		dst = append(dst, f.held[:f.n]...)
	}
	if t&flagRestart != 0 && f.n > 0 {
		last := f.held[f.n-1]
		f.clear()
		f.hold(last)
	} else if t&(flagFlush|flagAbort) != 0 {
		f.clear()
	}
	if t&flagAbort != 0 {
		f.drop = false
	}
	pass := true
	switch t & tokenMask {
	case tokHold:
		f.hold(b)
		return dst
	case tokText:
		f.drop = false
		pass = !f.old || b != bel && b != 0x05
	case tokPair:
		f.drop = false
	case tokSeq:
		f.drop = false
		pass = !f.over && f.passSequence()
	case tokHead:
		pass = !f.over && f.passString()
		f.drop = !pass
	case tokWhole:
		f.drop = false
		pass = !f.over && f.passString()
	case tokData, tokMore:
		pass = !f.drop
	case tokEnd:
		pass = !f.drop
		f.drop = false
	}
	if pass {
		dst = append(dst, f.held[:f.n]...)
		dst = append(dst, b)
	}
	f.clear()
	return dst
}

func (f *Filter) hold(b byte) {
	if f.n == maxHead {
		f.over = true
		f.n--
	}
	f.held[f.n] = b
	f.n++
}

func (f *Filter) clear() { f.n, f.over = 0, false }

// passSequence decides on the complete sequence in f.lex.
func (f *Filter) passSequence() bool {
	l := &f.lex
	switch {
	case l.bad:
		return false
	case l.intro == 0:
		return passEscape(l, f.old)
	case f.old:
		return oldControl(l)
	}
	switch l.final {
	case 't':
		return l.private != 0 || l.arg(0, 0) != 20 && l.arg(0, 0) != 21
	case 'i':
		return false
	case 'y':
		return l.inter != '*'
	}
	return true
}

func passEscape(l *lexer, old bool) bool {
	switch l.inter {
	case 0:
		// Of the plain ones: save and restore, line feeds, tab stops, locking shifts.
		return !old || contains("78DEHMno|}~\\", l.final)
	case '%':
		return l.final == 'G'
	case ' ':
		return l.final != 'G' && !old
	case '(', ')', '*', '+':
		return true
	}
	return !old
}

// passString decides on the string whose head is in f.lex.
func (f *Filter) passString() bool {
	l := &f.lex
	if l.bad {
		return false
	}
	switch l.intro {
	case ']':
		if f.old {
			return l.number == 8 // hyperlinks
		}
		switch l.number {
		case 50, 51, 52, 1337, 5522:
			return false
		}
	case 'P':
		switch l.final {
		case 'q':
			return !f.old && l.inters == 0 // sixels; not DECRQSS, XTGETTCAP
		case 't', '|', '@':
			return false
		}
	}
	return !f.old
}

func contains(s string, b byte) bool {
	for i := range len(s) {
		if s[i] == b {
			return true
		}
	}
	return false
}

// Writer is a [Filter] before an io.Writer, which also follows the modes that
// the program sets, so that the terminal can be put right afterwards. It is for
// one goroutine.
type Writer struct {
	w io.Writer
	f Filter
	t Tracker
	b []byte
}

// NewWriter returns a Writer that passes on to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write filters p and writes what passes, in one call. It reports len(p) or
// w's error.
func (w *Writer) Write(p []byte) (int, error) {
	w.b = w.f.Append(w.b[:0], p)
	w.t.WriteAll(w.b)
	if len(w.b) > 0 {
		if _, err := w.w.Write(w.b); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Reset writes what brings the terminal back from what the program made of it,
// after a detach or the program's end. Unlike the constant [Reset] it touches
// only what the program changed.
func (w *Writer) Reset() error {
	_, err := w.w.Write(w.t.AppendReset(nil))
	w.f, w.t = Filter{}, Tracker{}
	return err
}
