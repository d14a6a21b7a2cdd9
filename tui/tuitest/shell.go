package tuitest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"

	"cove/runtime/frame"
)

// Shell serves a small shell on one end of a connection and returns the other
// one, which carries frames as the daemon's attach does. Its prompt is
// "NAME-ROUND$ "; it echoes what is typed, control characters as ^X, and knows
// a few commands:
//
//	size    prints the size of the terminal, and every new one after it
//	dirty   leaves the terminal as a crashed full-screen program does
//	full    takes the second screen until a key is pressed
//	cut     breaks the connection
//	exit N  ends the session with status N
//
// Anything else it prints in brackets.
func Shell(name string, round, cols, rows int) io.ReadWriteCloser {
	here, there := net.Pipe()
	s := &shell{conn: there, prompt: fmt.Sprintf("%s-%d$ ", name, round), cols: cols, rows: rows}
	go s.serve()
	return here
}

type shell struct {
	conn       net.Conn
	prompt     string
	cols, rows int
	line       []byte
	sizes      bool
	full       bool
	out        []byte // not yet written
	err        error
}

// Dirty is what the command dirty writes: the second screen, mouse and focus
// reports, application keys, the kitty keyboard, a hidden cursor, a scroll
// region, a line drawing character set, colours, an open hyperlink.
const Dirty = "\x1b[?1049h\x1b[?1003h\x1b[?1006h\x1b[?1004h\x1b[?1h\x1b=\x1b[>5u\x1b[>4;2m\x1b[?25l" +
	"\x1b[3;5r\x1b(0\x1b[41;33mqqqDIRTY\x1b]8;;https://example.com\x1b\\link\x1b[?2004h\x1b[?2026h"

func (s *shell) serve() {
	defer func() { _ = s.conn.Close() }()
	started, err := json.Marshal(frame.StartedInfo{Pid: 7, Session: "main", Created: true})
	if err != nil {
		return
	}
	s.send(frame.Started, started)
	s.print("\x1b[2J\x1b[H" + s.prompt)
	s.flush()
	r := frame.NewReader(s.conn)
	for s.err == nil {
		t, p, err := r.Next()
		if err != nil {
			return
		}
		switch t {
		case frame.Stdin:
			for _, c := range p {
				if done := s.typed(c); done {
					return
				}
			}
			s.send(frame.Ack, binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		case frame.Resize:
			if len(p) == 4 {
				s.cols, s.rows = int(binary.BigEndian.Uint16(p)), int(binary.BigEndian.Uint16(p[2:]))
			}
			if s.sizes {
				s.print(fmt.Sprintf("now %dx%d\r\n", s.cols, s.rows))
			}
		default:
		}
		s.flush()
	}
}

func (s *shell) typed(c byte) (done bool) {
	switch {
	case s.full:
		s.full = false
		s.print("\x1b[?1049l" + s.prompt)
	case c == '\r':
		s.print("\r\n")
		line := string(s.line)
		s.line = s.line[:0]
		if done := s.run(line); done {
			return true
		}
	case c == 0x7f:
		if len(s.line) > 0 {
			s.line = s.line[:len(s.line)-1]
			s.print("\b \b")
		}
	case c < 0x20:
		s.print("^" + string(c+'@'))
	default:
		s.line = append(s.line, c)
		s.print(string(c))
	}
	return false
}

func (s *shell) run(line string) (done bool) {
	word, arg, _ := strings.Cut(line, " ")
	switch word {
	case "exit":
		st := frame.ExitStatus{}
		_, _ = fmt.Sscan(arg, &st.Code)
		if b, err := json.Marshal(st); err == nil {
			s.send(frame.Exit, b)
		}
		s.flush()
		return true
	case "cut":
		s.flush()
		return true
	case "size":
		s.sizes = true
		s.print(fmt.Sprintf("%dx%d\r\n", s.cols, s.rows))
	case "dirty":
		s.print(Dirty)
		return false
	case "full":
		s.full = true
		s.print("\x1b[?1049h\x1b[5;5HFULL SCREEN")
		return false
	case "":
	default:
		s.print("[" + line + "]\r\n")
	}
	s.print(s.prompt)
	return false
}

func (s *shell) print(text string) { s.send(frame.Stdout, []byte(text)) }

func (s *shell) send(t frame.Type, p []byte) {
	s.out = frame.Append(s.out, t, p)
}

// flush writes what was gathered. net.Pipe has no buffer, but the other side
// reads all the time.
func (s *shell) flush() {
	if len(s.out) > 0 {
		_, s.err = s.conn.Write(s.out)
		s.out = s.out[:0]
	}
}
