package attach

import (
	"bytes"
	"strconv"
	"strings"

	"cove/tui/text"
)

// filter stands between the output of a sandbox and the person's terminal.
// What is inside is hostile, and a terminal answers questions by typing: so
// whatever would reflect text of the sandbox's choosing, read the clipboard or
// a file, print, or change what the terminal is, is dropped (the class of
// CVE-2003-0063 and CVE-2022-45872). Everything is an allow list: a sequence
// not known to be harmless does not pass.
//
// It also keeps the session on the screen that was entered for it. Terminals
// have two screens and no more, and the session already lies on the second
// one, so that the user's own scrollback stays clean. A full-screen program
// inside that takes and leaves the second screen therefore gets a cleared
// screen, and when it leaves, what the shell had shown before is drawn again
// from a recording.
//
// A sequence is passed on only when it is complete, so a stream may end
// anywhere. A filter belongs to one goroutine.
type filter struct {
	title string // put before the titles that the session sets
	// shared says that the output is drawn on the person's own screen, not on
	// one that was entered for it: both screens pass as they are.
	shared bool

	state  state
	seq    []byte // the sequence being read, from its ESC on
	utf8   int    // continuation bytes still to come
	stream bool   // a string that passes as it comes: an image

	alt  bool
	main recording

	// What was changed and has to be undone, beyond what the reset always does.
	colors, progress, link, pointer, graphics, titled bool
}

type state uint8

const (
	ground state = iota
	escape
	csi
	str       // a string: OSC, DCS, APC and the others, being collected
	strEscape // ESC inside a string
	strSkip   // a string that is dropped, or passes as it comes
	strSkipEscape
)

// Longest sequences that are kept while they are read; longer ones are dropped.
const (
	maxCSI    = 256
	maxString = 8 << 10
)

// Write appends what may pass of p to dst and returns it.
func (f *filter) Write(dst, p []byte) []byte {
	for i := 0; i < len(p); {
		if f.state == ground && f.utf8 == 0 {
			n := plain(p[i:])
			if n > 0 {
				dst = f.emit(dst, p[i:i+n])
				i += n
				continue
			}
		}
		dst = f.next(dst, p[i])
		i++
	}
	return dst
}

// plain is the length of the printable ASCII and line ends that p begins with.
func plain(p []byte) int {
	for i, c := range p {
		if (c < 0x20 || c >= 0x7f) && c != '\n' && c != '\r' {
			return i
		}
	}
	return len(p)
}

// emit passes bytes on, and records them for the day when a full-screen
// program gives the screen back.
func (f *filter) emit(dst, b []byte) []byte {
	if !f.alt && !f.shared {
		f.main.add(b)
	}
	return append(dst, b...)
}

func (f *filter) next(dst []byte, c byte) []byte {
	switch f.state {
	case ground:
		return f.onGround(dst, c)
	case escape:
		return f.onEscape(dst, c)
	case csi:
		return f.onCSI(dst, c)
	case str, strEscape:
		return f.onString(dst, c)
	case strSkip, strSkipEscape:
		return f.onSkip(dst, c)
	}
	return dst
}

func (f *filter) onGround(dst []byte, c byte) []byte {
	if f.utf8 > 0 {
		return f.continuation(dst, c)
	}
	switch {
	case c == 0x1b:
		f.begin(c, escape)
	case c >= 0x20 && c < 0x7f:
		return f.emit(dst, []byte{c})
	case c == '\a':
		return append(dst, c) // a bell is not part of the picture
	case c >= '\b' && c <= '\r', c == 0x0e, c == 0x0f:
		return f.emit(dst, []byte{c})
	case c >= 0xc2 && c <= 0xf4:
		f.seq = append(f.seq[:0], c)
		f.utf8 = 1
		if c >= 0xe0 {
			f.utf8++
		}
		if c >= 0xf0 {
			f.utf8++
		}
	case c >= 0xa0:
		return f.emit(dst, []byte("\ufffd"))
	}
	// The rest is dropped: ENQ, which asks for the answerback, the other
	// controls, and the 8-bit ones (0x80 to 0x9f), CSI and OSC among them.
	return dst
}

func (f *filter) continuation(dst []byte, c byte) []byte {
	if c < 0x80 || c > 0xbf {
		f.utf8 = 0
		return f.onGround(f.emit(dst, []byte("\ufffd")), c)
	}
	f.seq = append(f.seq, c)
	if f.utf8--; f.utf8 > 0 {
		return dst
	}
	if f.seq[0] == 0xc2 && c < 0xa0 { // the 8-bit controls again, as UTF-8
		return dst
	}
	return f.emit(dst, f.seq)
}

func (f *filter) begin(c byte, s state) {
	f.seq = append(f.seq[:0], c)
	f.state = s
	f.stream = false
}

func (f *filter) onEscape(dst []byte, c byte) []byte {
	f.seq = append(f.seq, c)
	switch {
	case c == 0x1b:
		f.begin(c, escape)
	case c < 0x20: // a control inside a sequence acts at once, or ends it
		f.seq = f.seq[:len(f.seq)-1]
		return f.control(dst, c)
	case c >= 0x80 || len(f.seq) > 4:
		f.state = ground
	case len(f.seq) == 2 && c == '[':
		f.state = csi
	case len(f.seq) == 2 && strings.IndexByte("]P_X^k", c) >= 0:
		f.state = str
	case c >= 0x30:
		f.state = ground
		return f.escaped(dst)
	}
	return dst
}

// control handles a control character inside a sequence as terminals do.
func (f *filter) control(dst []byte, c byte) []byte {
	if c == 0x18 || c == 0x1a { // CAN, SUB
		f.state = ground
		return dst
	}
	if c >= '\b' && c <= '\r' {
		return f.emit(dst, []byte{c})
	}
	return dst
}

// escaped handles a complete escape sequence that is neither CSI nor a string.
func (f *filter) escaped(dst []byte) []byte {
	b := f.seq[1:]
	switch {
	case len(b) == 1 && b[0] == 'c':
		// A full reset would leave our screen; this is what it means inside it.
		f.alt = false
		f.main.clear()
		if f.shared {
			dst = append(dst, "\x1b[?1049l"...)
		}
		return f.emit(dst, []byte(softReset+clearScreen))
	case len(b) == 1 && strings.IndexByte("78=>DEHMNOZno|}~", b[0]) >= 0,
		len(b) == 2 && strings.IndexByte("()*+-./#", b[0]) >= 0:
		return f.emit(dst, f.seq)
	}
	return dst // selecting another encoding, 8-bit answers and all the rest
}

func (f *filter) onCSI(dst []byte, c byte) []byte {
	switch {
	case c == 0x1b:
		f.begin(c, escape)
	case c < 0x20:
		return f.control(dst, c)
	case c >= 0x40 && c <= 0x7e:
		f.state = ground
		if len(f.seq) >= maxCSI {
			return dst
		}
		f.seq = append(f.seq, c)
		return f.control2(dst)
	case c >= 0x7f:
	case len(f.seq) < maxCSI:
		f.seq = append(f.seq, c)
	}
	return dst
}

// control2 handles a complete control sequence.
func (f *filter) control2(dst []byte) []byte {
	final := f.seq[len(f.seq)-1]
	body := f.seq[2 : len(f.seq)-1]
	prefix := byte(0)
	if len(body) > 0 && body[0] >= '<' && body[0] <= '?' {
		prefix, body = body[0], body[1:]
	}
	cut := len(body)
	for cut > 0 && body[cut-1] >= 0x20 && body[cut-1] <= 0x2f {
		cut--
	}
	params, inter := body[:cut], body[cut:]
	if bytes.ContainsFunc(params, func(r rune) bool { return (r < '0' || r > '9') && r != ';' && r != ':' }) {
		return dst
	}
	if prefix == '?' && len(inter) == 0 && (final == 'h' || final == 'l') {
		return f.modes(dst, params, final)
	}
	switch allowed(prefix, string(inter), final, string(params)) {
	case query:
		return append(dst, f.seq...) // answered once, so it is not recorded
	case pass:
		if final == 'J' && prefix == 0 && (string(params) == "2" || string(params) == "3") {
			f.main.cleared(f.alt)
		}
		return f.emit(dst, f.seq)
	case drop:
	}
	return dst
}

// modes handles CSI ? ... h and l, one mode at a time.
func (f *filter) modes(dst, params []byte, final byte) []byte {
	on := final == 'h'
	for _, p := range strings.Split(string(params), ";") {
		n, err := strconv.Atoi(p)
		switch {
		case err != nil:
		case n == 47 || n == 1047 || n == 1049:
			if f.shared {
				dst = append(dst, "\x1b[?"+strconv.Itoa(n)+string(final)...)
			} else {
				dst = f.switchScreen(dst, on)
			}
		case allowedMode(n):
			dst = f.emit(dst, []byte("\x1b[?"+strconv.Itoa(n)+string(final)))
		}
	}
	return dst
}

// switchScreen stands in for the second screen.
func (f *filter) switchScreen(dst []byte, on bool) []byte {
	switch {
	case on && !f.alt:
		f.alt = true
		return append(dst, clearScreen...)
	case !on && f.alt:
		f.alt = false
		dst = append(dst, leaveFull...)
		return append(dst, f.main.bytes()...)
	case !on:
		// It was there before we came: nothing is known of the screen below.
		f.main.clear()
		return append(dst, leaveFull...)
	}
	return dst
}

func (f *filter) onString(dst []byte, c byte) []byte {
	if f.state == strEscape {
		f.state = ground
		if c == '\\' {
			return f.ended(dst)
		}
		f.begin(0x1b, escape) // any other escape ends the string unheard
		return f.onEscape(dst, c)
	}
	switch {
	case c == 0x1b:
		f.state = strEscape
	case c == '\a' && f.seq[1] == ']':
		f.state = ground
		return f.ended(dst)
	case c == 0x18 || c == 0x1a:
		f.state = ground
	case len(f.seq) >= maxString:
		f.state = strSkip
	default:
		f.seq = append(f.seq, c)
		if f.image() {
			f.state, f.stream = strSkip, true
			return append(dst, f.seq...)
		}
	}
	return dst
}

func (f *filter) onSkip(dst []byte, c byte) []byte {
	if f.state == strSkipEscape {
		f.state = ground
		if f.stream {
			dst = append(dst, "\x1b\\"...)
		}
		if c == '\\' {
			return dst
		}
		f.begin(0x1b, escape)
		return f.onEscape(dst, c)
	}
	switch {
	case c == 0x1b:
		f.state = strSkipEscape
	case c == 0x18 || c == 0x1a || c == '\a' && f.seq[1] == ']':
		f.state = ground
		if f.stream {
			dst = append(dst, "\x1b\\"...)
		}
	case f.stream && c >= 0x20 && c < 0x7f, f.stream && (c == '\n' || c == '\r'):
		dst = append(dst, c)
	}
	return dst
}

// image tells whether the string, at the point where that can be told, is an
// image: sixel, or kitty graphics whose data are in the string itself (not in
// a file or shared memory that the terminal would open for the sandbox).
func (f *filter) image() bool {
	last := f.seq[len(f.seq)-1]
	switch f.seq[1] {
	case 'P':
		return last == 'q' && len(bytes.Trim(f.seq[2:len(f.seq)-1], "0123456789;")) == 0
	case '_':
		if last != ';' || f.seq[2] != 'G' {
			return false
		}
		if control := f.seq[3 : len(f.seq)-1]; !direct(control) || !printable(control) {
			f.state = strSkip
			return false
		}
		f.graphics = true
		return true
	}
	return false
}

// printable tells whether there is nothing in b but printable ASCII.
func printable(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r < 0x20 || r >= 0x7f }) < 0
}

// direct tells whether the control data of kitty graphics name no file and no
// shared memory.
func direct(control []byte) bool {
	for kv := range strings.SplitSeq(string(control), ",") {
		if k, v, _ := strings.Cut(kv, "="); k == "t" && v != "d" {
			return false
		}
	}
	return true
}

// ended handles a complete string: of those only some OSCs pass, and graphics
// commands without data.
func (f *filter) ended(dst []byte) []byte {
	switch {
	case f.seq[1] == '_' && len(f.seq) > 2 && f.seq[2] == 'G' && direct(f.seq[3:]) && printable(f.seq[3:]):
		f.graphics = true
		return append(append(dst, f.seq...), "\x1b\\"...)
	case f.seq[1] != ']':
		return dst
	}
	num, arg, _ := strings.Cut(string(f.seq[2:]), ";")
	arg = text.Clean(arg)
	out := func(s string) []byte { return append(dst, "\x1b]"+s+"\x1b\\"...) }
	switch num {
	case "0", "2":
		if f.shared && !f.titled { // to be brought back
			dst = append(dst, "\x1b[22;2t"...)
		}
		f.titled = true
		return out("2;" + text.Cut(f.title+arg, 200, ""))
	case "4", "10", "11", "12", "17", "19", "104", "110", "111", "112", "117", "119":
		// Colours; the answers to "?" are numbers of a fixed form.
		f.colors = true
		return out(strings.TrimSuffix(num+";"+arg, ";"))
	case "8":
		_, url, _ := strings.Cut(arg, ";")
		if url == "" || strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://") {
			f.link = url != ""
			return out("8;" + arg)
		}
	case "9":
		if strings.HasPrefix(arg, "4;") {
			f.progress = true
			return out("9;" + arg)
		}
	case "22":
		f.pointer = true
		return out("22;" + arg)
	case "133":
		return out("133;" + arg)
	}
	return dst
}

// close ends a string that passes as it comes, so that what is written next is
// not swallowed by it.
func (f *filter) close(dst []byte) []byte {
	if f.stream && (f.state == strSkip || f.state == strSkipEscape) {
		dst = append(dst, "\x1b\\"...)
	}
	f.state, f.utf8, f.stream = ground, 0, false
	return dst
}
