package main

import (
	"bytes"
	"fmt"

	"cove/runtime/frame"
)

// explained adds, to the status of a program that failed, what it said last: its
// terminal goes with it, and who was shown that much may not have read it.
func (x *session) explained(s frame.ExitStatus) frame.ExitStatus {
	if s.Code == 0 || s.Signal != 0 || s.Error != "" || !x.named || x.past == nil {
		return s
	}
	x.mu.Lock()
	said := x.past.last(4, 4<<10)
	x.mu.Unlock()
	if line := lastWords(said); line != "" {
		s.Error = fmt.Sprintf("the session ended with status %d: %s", s.Code, line)
	}
	return s
}

// lastWords is the last line of a terminal's output that has something on it,
// without its escape sequences (ECMA-48): it goes into a sentence.
func lastWords(said []byte) string {
	var line, last []byte
	for i := 0; i < len(said); i++ {
		c := said[i]
		switch {
		case c == '\n' || c == '\r':
			if len(bytes.TrimSpace(line)) > 0 {
				last = line
			}
			line = nil
		case c == 0x1b:
			i += escapeLen(said[i+1:])
		case c >= ' ' && c != 0x7f:
			line = append(line, c)
		}
	}
	if len(bytes.TrimSpace(line)) > 0 {
		last = line
	}
	return string(bytes.ToValidUTF8(bytes.TrimSpace(last), nil))
}

// escapeLen is how much of b belongs to the escape sequence that begins before
// it.
func escapeLen(b []byte) int {
	switch {
	case len(b) == 0:
		return 0
	case b[0] == '[': // CSI: to its final byte
		for i := 1; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
		}
		return len(b)
	case b[0] == ']' || b[0] == 'P' || b[0] == '_' || b[0] == '^' || b[0] == 'X': // a string: to BEL or ST
		for i := 1; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == 0x1b {
				return min(i+2, len(b))
			}
		}
		return len(b)
	}
	for i, c := range b { // intermediate bytes, and a final one
		if c < 0x20 || c > 0x2f {
			return i + 1
		}
	}
	return len(b)
}
