package tuitest

import (
	"strings"
	"testing"
)

func TestTerminal(t *testing.T) {
	tt := Start(t, Config{Cols: 60, Rows: 10, Env: []string{"GREETING=hello"}}, "/bin/sh", "-c", `
		printf '\033]52;c;Y29waWVk\007\033[?1049h\033[?1003h\033[>5u\033]2;a title\007\033[2;3H\033[1;31m%s\033[m' "$GREETING"
		stty -icanon -echo; dd bs=1 count=1 2>/dev/null; stty size
		trap 'stty size' WINCH; dd bs=1 count=1 2>/dev/null
		printf '\033[?1003l\033[<u\033[?1049lgone\n'; exit 3`)
	s := tt.Wait("the title and the text", func(s Screen) bool { return s.Title == "a title" && s.Has("hello") })
	line, y := s.Line("hello")
	x := strings.Index(line, "hello")
	switch {
	case y != 1 || x != 2:
		t.Errorf("hello is at %d,%d", x, y)
	case s.Style(x, y) != "bold fg=1" && !strings.HasPrefix(s.Style(x, y), "bold fg="):
		t.Errorf("it looks %q", s.Style(x, y))
	case tt.Clipboard() != "copied":
		t.Errorf("the clipboard has %q", tt.Clipboard())
	case !s.Alt || !tt.Mode(1003) || !tt.Mode(1049) || tt.Keyboard() != 5:
		t.Errorf("alt %v, modes %v, keyboard %d", s.Alt, tt.Modes(1003, 1049), tt.Keyboard())
	case !strings.Contains(s.Styles(), "a = bold"):
		t.Errorf("styles:\n%s", s.Styles())
	}
	tt.Send("x")
	tt.See("10 60")
	tt.Resize(50, 12)
	tt.Send("y")
	s = tt.See("gone")
	if s.Alt || len(tt.Modes(1003, 1049)) > 0 || tt.Keyboard() != 0 {
		t.Errorf("left behind: alt %v, modes %v, keyboard %d", s.Alt, tt.Modes(1003, 1049), tt.Keyboard())
	}
	if err := tt.Exit(); err == nil {
		t.Error("status 3 is no error")
	}
	if n := tt.Code(); n != 3 {
		t.Errorf("status %d", n)
	}
	if tt.Bytes() == 0 {
		t.Error("no bytes were written")
	}
}

func TestDraw(t *testing.T) {
	s := Draw("ab\x1b[7m日本\x1b[m\nsecond", 8, 3)
	if got := s.Text(); got != "ab日本\nsecond\n" {
		t.Errorf("%q", got)
	}
	if got := s.Styles(); got != "..aaaa\n\n\na = reverse\n" {
		t.Errorf("%q", got)
	}
}
