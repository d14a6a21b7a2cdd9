package config

import (
	"strconv"
	"strings"
)

// place is where a key stands in a file; both count from 1.
type place struct{ line, column int }

// places finds where each key and each list element of a TOML text stands, by
// the dotted key that problems use: "resources.cpu", "ports[0].port",
// `env."a b"`. The TOML library reads the values but tells the place of a key
// only where its own decoding fails. Of a text that is no TOML it tells what it
// can, up to the first thing that no TOML has.
//
// It ends with tooDeep set to the line where keys or values are nested deeper
// than maxDepth. It runs before the library reads the text, whose time grows
// with the square of the depth and worse: 64 KiB of "a.a.a..." take a minute.
func places(text string) (at map[string]place, tooDeep int) {
	s := scanner{text: text, line: 1, at: map[string]place{}, tables: map[string]int{}}
	s.file()
	return s.at, s.tooDeep
}

// maxDepth is the deepest nesting that is read; profiles need four.
const maxDepth = 16

type scanner struct {
	text      string
	pos       int
	line      int
	lineStart int
	at        map[string]place
	tables    map[string]int // how many elements an array of tables has so far
	depth     int            // of values
	tooDeep   int
}

func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) next() {
	if s.peek() == '\n' {
		s.line++
		s.lineStart = s.pos + 1
	}
	s.pos++
}

func (s *scanner) done() bool { return s.pos >= len(s.text) }

func (s *scanner) has(prefix string) bool { return strings.HasPrefix(s.text[s.pos:], prefix) }

func (s *scanner) here() place { return place{s.line, s.pos - s.lineStart + 1} }

// blanks skips spaces, and line ends and comments too where lines is true.
func (s *scanner) blanks(lines bool) {
	for !s.done() {
		switch c := s.peek(); {
		case c == ' ' || c == '\t':
			s.next()
		case lines && (c == '\n' || c == '\r'):
			s.next()
		case lines && c == '#':
			s.restOfLine()
		default:
			return
		}
	}
}

func (s *scanner) restOfLine() {
	for !s.done() && s.peek() != '\n' {
		s.next()
	}
}

func (s *scanner) note(key string, p place) {
	if _, known := s.at[key]; !known {
		s.at[key] = p
	}
}

func (s *scanner) file() {
	s.text = strings.TrimPrefix(s.text, "\ufeff")
	table := ""
	for {
		s.blanks(true)
		if s.done() {
			return
		}
		if s.peek() == '[' {
			table = s.header()
			if s.tooDeep > 0 {
				return
			}
			s.restOfLine()
			continue
		}
		if !s.pair(table) {
			return
		}
	}
}

// header reads [a.b] or [[a.b]] and returns the key of the table it opens.
func (s *scanner) header() string {
	array := s.has("[[")
	s.next()
	if array {
		s.next()
	}
	s.blanks(false)
	start := s.here()
	parts := s.keyParts()
	if s.tooDeep > 0 {
		return ""
	}
	key := ""
	for i, part := range parts {
		key = joinKey(key, part)
		s.note(key, start)
		if i == len(parts)-1 && array {
			s.tables[key]++
		}
		if n := s.tables[key]; n > 0 {
			key = indexKey(key, n-1)
			s.note(key, start)
		}
	}
	return key
}

// pair reads KEY = VALUE of the table named prefix; false is not TOML.
func (s *scanner) pair(prefix string) bool {
	start := s.here()
	parts := s.keyParts()
	if len(parts) == 0 || s.tooDeep > 0 {
		return false
	}
	key := prefix
	for _, part := range parts {
		key = joinKey(key, part)
		s.note(key, start)
	}
	s.blanks(false)
	if s.peek() != '=' {
		return false
	}
	s.next()
	s.blanks(false)
	return s.value(key)
}

func (s *scanner) keyParts() []string {
	var parts []string
	for {
		s.blanks(false)
		part, ok := s.keyPart()
		if !ok {
			return parts
		}
		if parts = append(parts, part); len(parts) > maxDepth {
			s.tooDeep = s.line
			return parts
		}
		s.blanks(false)
		if s.peek() != '.' {
			return parts
		}
		s.next()
	}
}

func (s *scanner) keyPart() (string, bool) {
	start := s.pos
	switch c := s.peek(); {
	case c == '\'':
		if !s.str() {
			return "", false
		}
		return s.text[start+1 : s.pos-1], true
	case c == '"':
		if !s.str() {
			return "", false
		}
		return unescape(s.text[start+1 : s.pos-1]), true
	}
	for !s.done() && bareKeyByte(s.peek()) {
		s.next()
	}
	return s.text[start:s.pos], s.pos > start
}

func bareKeyByte(c byte) bool { return letter(c) || digit(c) || c == '_' || c == '-' }

// value skips a value, noting the keys inside it. False is not TOML.
func (s *scanner) value(key string) bool {
	if s.depth++; s.depth > maxDepth {
		s.tooDeep = s.line
		return false
	}
	defer func() { s.depth-- }()
	switch c := s.peek(); {
	case s.done():
		return false
	case c == '"' || c == '\'':
		return s.str()
	case c == '[':
		return s.list(key)
	case c == '{':
		return s.inline(key)
	}
	start := s.pos
	for !s.done() && !strings.ContainsRune(",]}#\r\n", rune(s.peek())) {
		s.next()
	}
	return s.pos > start
}

func (s *scanner) list(key string) bool {
	s.next()
	for i := 0; ; i++ {
		s.blanks(true)
		if s.peek() == ']' {
			s.next()
			return true
		}
		element := indexKey(key, i)
		s.note(element, s.here())
		if !s.value(element) {
			return false
		}
		s.blanks(true)
		if s.peek() == ',' {
			s.next()
		} else if s.peek() != ']' {
			return false
		}
	}
}

func (s *scanner) inline(key string) bool {
	s.next()
	for {
		s.blanks(true)
		if s.peek() == '}' {
			s.next()
			return true
		}
		if !s.pair(key) {
			return false
		}
		s.blanks(true)
		if s.peek() == ',' {
			s.next()
		} else if s.peek() != '}' {
			return false
		}
	}
}

// str skips a string of any of the four kinds.
func (s *scanner) str() bool {
	quote := s.text[s.pos : s.pos+1]
	escapes := quote == `"`
	if long := strings.Repeat(quote, 3); s.has(long) {
		quote = long
	}
	for range quote {
		s.next()
	}
	for !s.done() {
		switch {
		case escapes && s.peek() == '\\':
			s.next()
			s.next()
		case s.has(quote):
			for range quote {
				s.next()
			}
			// """" and """"" end with one or two quotes of the text.
			for len(quote) == 3 && s.peek() == quote[0] {
				s.next()
			}
			return true
		default:
			s.next()
		}
	}
	return false
}

// unescape reads the escapes of a quoted key: those of Go, and \e (TOML 1.1).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	if plain, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `\e`, `\x1b`) + `"`); err == nil {
		return plain
	}
	return s
}

// joinKey and indexKey build the dotted key of a problem. A part that is no
// bare key of TOML's is quoted.
func joinKey(prefix, part string) string {
	bare := part != ""
	for i := range len(part) {
		bare = bare && bareKeyByte(part[i])
	}
	if !bare {
		part = strconv.QuoteToGraphic(part)
	}
	if prefix == "" {
		return part
	}
	return prefix + "." + part
}

func indexKey(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }
