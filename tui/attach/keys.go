package attach

import (
	"bytes"
	"strconv"
	"strings"
)

// matcher finds the detach key, ctrl+], in what the terminal types. The
// program inside chooses how the terminal writes keys, so there is more than
// one way: the byte 0x1d, CSI u of the kitty keyboard protocol (with its
// alternate keys, lock modifiers and event types) and xterm's modifyOtherKeys.
//
// Encodings may be split over reads. Bytes that could be the beginning of one
// are held back; [matcher.flush] gives them up when nothing follows.
//
// Pasted text is not typed: where the program inside has asked for brackets
// around it (mode 2004), a 0x1d in it goes to the program. A paste whose end
// never comes must not keep the person in: a detach key that is all that was
// read counts even then.
type matcher struct {
	held    []byte
	pasting bool
}

// key is what a match is.
type key uint8

const (
	noKey   key = iota
	detach      // ctrl+] was pressed
	ignored     // ctrl+] was released or repeats, or a modifier was touched
	pasteBegin
	pasteEnd
)

// feed takes what was read. It returns the bytes before the first detach key,
// the key itself as it was written (nil when there was none) and the rest.
func (m *matcher) feed(p []byte) (before, pressed, rest []byte) {
	if len(m.held) > 0 {
		p = append(m.held, p...)
		m.held = nil
	}
	for i := 0; i < len(p); i++ {
		if p[i] != 0x1d && p[i] != 0x1b {
			continue
		}
		k, n, whole := match(p[i:])
		switch {
		case k == detach && (!m.pasting || n == len(p)):
			m.pasting = false
			return p[:i], p[i : i+n], p[i+n:]
		case k == pasteBegin, k == pasteEnd:
			m.pasting = k == pasteBegin
			i += n - 1
		case !whole:
			m.held = bytes.Clone(p[i:])
			return p[:i], nil, nil
		}
	}
	return p, nil, nil
}

// flush returns what was held back, and forgets it.
func (m *matcher) flush() []byte {
	b := m.held
	m.held = nil
	return b
}

// again looks at what follows a first detach key: skip is how many bytes of p
// are key releases, repeats and modifiers, which are no answer; pressed is the
// second detach key behind them, if it is one.
func again(p []byte) (skip int, pressed []byte) {
	for skip < len(p) {
		k, n, _ := match(p[skip:])
		switch k {
		case detach:
			return skip, p[skip : skip+n]
		case ignored:
			skip += n
		case noKey, pasteBegin, pasteEnd:
			return skip, nil
		}
	}
	return skip, nil
}

// longest is the length of the longest encoding that is looked at.
const longest = 40

// match judges the key that p begins with, and its length. whole is false
// when p ends before that can be known.
func match(p []byte) (k key, n int, whole bool) {
	if p[0] == 0x1d {
		return detach, 1, true
	}
	if p[0] != 0x1b {
		return noKey, 0, true
	}
	if len(p) == 1 {
		return noKey, 0, false
	}
	if p[1] != '[' {
		return noKey, 0, true
	}
	for i := 2; i < len(p) && i < longest; i++ {
		switch c := p[i]; {
		case c >= '0' && c <= ';': // digits, ':' and ';'
		case c == 'u' || c == '~':
			return judge(string(p[2:i]), c), i + 1, true
		default:
			return noKey, 0, true
		}
	}
	return noKey, 0, len(p) >= longest
}

// Key codes of the kitty keyboard protocol.
const (
	codeBracket  = 93    // ]
	codeLocks    = 57358 // caps lock, scroll lock, num lock
	codeLocksEnd = 57360
	codeMods     = 57441 // the modifier keys
	codeModsEnd  = 57454
)

// judge judges the parameters of CSI ... u and CSI 27 ; ... ~.
func judge(params string, final byte) key {
	fields := strings.Split(params, ";")
	if final == '~' {
		switch params {
		case "200":
			return pasteBegin
		case "201":
			return pasteEnd
		}
		if len(fields) == 3 && fields[0] == "27" && fields[2] == strconv.Itoa(codeBracket) && control(fields[1]) {
			return detach
		}
		return noKey
	}
	codes := strings.Split(fields[0], ":")
	code, _ := strconv.Atoi(codes[0])
	mods, event := "1", "1"
	if len(fields) > 1 {
		mods, event, _ = strings.Cut(fields[1], ":")
	}
	if event == "3" || code >= codeMods && code <= codeModsEnd || code >= codeLocks && code <= codeLocksEnd {
		return ignored
	}
	// The third code is the key's place on the standard layout: on others
	// ctrl+] is where it is, or where it is written.
	if code != codeBracket && (len(codes) < 3 || codes[2] != strconv.Itoa(codeBracket)) || !control(mods) {
		return noKey
	}
	if event == "2" {
		return ignored
	}
	return detach
}

// control tells whether the modifiers are control alone, whatever the locks:
// the parameter is one more than the sum of 1 shift, 2 alt, 4 ctrl, 8 super,
// 16 hyper, 32 meta, 64 caps lock, 128 num lock.
func control(mods string) bool {
	n, err := strconv.Atoi(mods)
	return err == nil && (n-1)&^(64|128) == 4
}
