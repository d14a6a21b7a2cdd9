package screen

import (
	"bytes"
	"strings"
	"testing"
)

func track(in string) *Tracker {
	var t Tracker
	t.WriteAll([]byte(in))
	return &t
}

func TestTrackerRestores(t *testing.T) {
	const clear = "\x1b[0m\x1b[r\x1b[H\x1b[2J\x1b(B\x1b)B\x0f\x1b[0m"
	for _, tt := range []struct{ in, want string }{
		{"", "\x1b[0m"},
		{"text\r\n\x1b[?25l\x1b[?25h\x1b[1m\x1b[m", "\x1b[0m"},
		{"\x1b[?25l", "\x1b[?25l\x1b[0m"},
		{"\x1b[?7l\x1b[?1h\x1b=", "\x1b[?1h\x1b[?7l\x1b=\x1b[0m"},
		{"\x1b[?1049h", "\x1b[?1049h\x1b[H\x1b[2J\x1b[0m"},
		{"\x1b[?47h\x1b[?1049h", "\x1b[?47h\x1b[H\x1b[2J\x1b[0m"},
		{"\x1b[?1049h\x1b[?1049l", "\x1b[0m"},
		{"\x1b[?1000;1002;1006h", "\x1b[?1002h\x1b[?1006h\x1b[0m"},
		{"\x1b[?1000;1006h\x1b[?1000l", "\x1b[?1006h\x1b[0m"},
		{"\x1b[?1004;2004h", "\x1b[?1004h\x1b[?2004h\x1b[0m"},
		{"\x1b[?2004h\x1b[?2004s\x1b[?2004l\x1b[?2004r", "\x1b[?2004h\x1b[0m"},
		{"\x1b[>1u\x1b[>5u", "\x1b[>1u\x1b[>5u\x1b[0m"},
		{"\x1b[>1u\x1b[>5u\x1b[<2u", "\x1b[0m"},
		{"\x1b[=3;1u\x1b[=4;2u\x1b[=1;3u", "\x1b[=6;1u\x1b[0m"},
		{"\x1b[>1u\x1b[?1049h\x1b[>7u", "\x1b[>1u\x1b[?1049h\x1b[H\x1b[2J\x1b[>7u\x1b[0m"},
		{"\x1b[>4;2m", "\x1b[>4;2m\x1b[0m"},
		{"\x1b[>4;2m\x1b[>4m", "\x1b[0m"},
		{"\x1b[5;10r", "\x1b7\x1b[5;10r\x1b8\x1b[0m"},
		{"\x1b[5;10r\x1b[r", "\x1b[0m"},
		{"\x1b[4 q\x1b[4h\x1b[20h", "\x1b[4h\x1b[20h\x1b[4 q\x1b[0m"},
		{"\x1b(0\x1b)A\x0e", "\x1b(0\x1b)A\x0e\x1b[0m"},
		{"\x1b(0\x1b(B", "\x1b[0m"},
		{"\x1b[1;3;4;9;53m", "\x1b[0;1;3;9;4;53m"},
		{"\x1b[1;2;22;4:3;7;27;31;45m", "\x1b[0;4:3;31;45m"},
		{"\x1b[38;5;200;48:2::1:2:3m", "\x1b[0;38;5;200;48;2;1;2;3m"},
		{"\x1b[38:2:9:8:7m\x1b[91;107m\x1b[39m", "\x1b[0;107m"},
		{"\x1b[58:5:9;4m", "\x1b[0;4m\x1b[58;5;9m"},
		{"\x1b[?25l\x1b[31m\x1b[?1049h\x1bc", "\x1b[0m"},
		{"\x1b[?25l\x1b[?1000h\x1b[!p", "\x1b[?1000h\x1b[0m"},
		{"\x1b]0;\x1b[?25l", "\x1b[?25l\x1b[0m"}, // a string ends where a sequence begins
		{"\x1b]0;[?25l\x07", "\x1b[0m"},
		{"\xc2\x9b?25l", "\x1b[?25l\x1b[0m"},
		{"\xe9\x9b\x9b?25l", "\x1b[0m"}, // within a character
	} {
		got := string(track(tt.in).AppendRestore(nil, nil))
		if rest, ok := strings.CutPrefix(got, clear); !ok || rest != tt.want {
			t.Errorf("%q gave %q, want %q", tt.in, got, clear+tt.want)
		}
	}
}

func TestTrackerStopsAtSwitch(t *testing.T) {
	in := []byte("shell\x1b[?1049hvim\x1b[?1049lshell\x1b[?25l")
	var tr Tracker
	var main bytes.Buffer
	for rest := in; len(rest) > 0; {
		alt := tr.Alt()
		n := tr.Write(rest)
		if !alt {
			main.Write(rest[:n])
		}
		rest = rest[n:]
	}
	if got := main.String(); got != "shell\x1b[?1049hshell\x1b[?25l" {
		t.Errorf("main screen %q", got)
	}
}

func TestRestoreShowsLinesBeforeAlternate(t *testing.T) {
	got := string(track("\x1b[?1049h").AppendRestore(nil, []byte("old\x1b[6n\r\n$ vim")))
	if i, j := strings.Index(got, "old\r\n$ vim"), strings.Index(got, "\x1b[?1049h"); i < 0 || j < i {
		t.Errorf("got %q", got)
	}
}

// bare is the state that a terminal shows, without what only the parser needs.
func bare(t *Tracker) Tracker {
	b := *t
	b.lex, b.saved, b.colors = lexer{}, 0, false
	if b.alt == 0 {
		b.kitty[1] = kitty{} // of a screen that is not shown
	}
	for i := range b.kitty {
		k := &b.kitty[i]
		for j := k.depth; j < maxKitty; j++ {
			k.stack[j] = 0
		}
	}
	return b
}

// FuzzTracker: a terminal that is brought to the state of another one is in
// that state, and one that is reset is in none.
func FuzzTracker(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte, _ uint8) {
		one := track(string(in))
		restore := one.AppendRestore(nil, nil)
		two := track(string(restore))
		if got, want := bare(two), bare(one); got != want {
			t.Fatalf("restored by %q\ngot  %+v\nwant %+v", restore, got, want)
		}
		reset := one.AppendReset(nil)
		one.WriteAll(reset)
		if got := bare(one); got != (Tracker{}) {
			t.Fatalf("reset by %q\ngot %+v", reset, got)
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	in := []byte(strings.Repeat("\x1b[38;5;12mfile.go\x1b[0m: some text on a line of a listing, ümläut\r\n", 500))
	dst := make([]byte, 0, len(in))
	b.SetBytes(int64(len(in)))
	var r Replay
	for b.Loop() {
		dst = r.Append(dst[:0], in)
	}
}

func BenchmarkTracker(b *testing.B) {
	in := []byte(strings.Repeat("\x1b[38;5;12mfile.go\x1b[0m: some text on a line of a listing, ümläut\r\n", 500))
	b.SetBytes(int64(len(in)))
	var t Tracker
	for b.Loop() {
		t.WriteAll(in)
	}
}
