package screen

import (
	"bytes"
	"strings"
	"testing"
)

func TestReplay(t *testing.T) {
	in := "a\x07b\x05c\x1b[31md\x1b[6n\x1b[c\x1b[?25l\x1b[3J\x1b[2J\x1b[5;5He\x1b]11;?\x07\x1b]8;;u\x07f\x1b]0;t\x07\x1bPqxx\x1b\\\x1b_Gx\x1b\\\x1b[>1u\x1b[?u\x1b[s\x1b[u\x1b7\x1b(0\x1bc\x1b=g\r\n"
	want := "abc\x1b[31md\x1b[2J\x1b[5;5He\x1b]8;;u\x07f\x1b[s\x1b[u\x1b7\x1b(0g\r\n"
	if got := string(new(Replay).Append(nil, []byte(in))); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestAllocatesNothing(t *testing.T) {
	in := []byte(strings.Repeat("text \x1b[31mred\x1b[0m ü \x1b]52;c;?\x07\x1b]0;x\x07", 50))
	dst := make([]byte, 0, len(in))
	var r Replay
	if n := testing.AllocsPerRun(100, func() { dst = r.Append(dst[:0], in) }); n != 0 {
		t.Errorf("Replay: %v allocations", n)
	}
	var tr Tracker
	if n := testing.AllocsPerRun(100, func() { tr.WriteAll(in) }); n != 0 {
		t.Errorf("Tracker: %v allocations", n)
	}
}

func seeds(f *testing.F) {
	for _, s := range []string{
		"plain \x1b[31m text\r\n", "\x1b]52;c;?\x07", "\x1b]0;t\x1b\\", "\xc2\x9b21t", "\x1bP+q544e\x1b\\x", "\x1b[?1049h\x1b[<u",
		"\xe9\x9b\x9b \xc2\xa9 \x9d52;\x9c", "\x1b]5\x1b]2\x1b\\", "\x1b[2\x18\x1b[1;2;3:4m", "\x1b_G\x1b\x1b\\\xc2\x1b[",
		"\x1b[>5u\x1b[?1049h\x1b[>7u\x1b[=3;2u\x1b[5;20r\x1b[?1006;1002h\x1b(0\x0e\x1b[4:3;58:2::1:2:3;38;5;200m\x1b[3 q",
	} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s+s), uint8(3))
	}
}

// FuzzReplay: the output does not depend on how the input is cut, and there is
// nothing left in it to take out.
func FuzzReplay(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		var whole, cut, again Replay
		want := whole.Append(nil, in)
		var got []byte
		for rest := in; len(rest) > 0; {
			n := min(len(rest), int(size%7)+1)
			got = cut.Append(got, rest[:n])
			rest = rest[n:]
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("whole %q\ncut   %q", want, got)
		}
		if twice := again.Append(nil, want); !bytes.Equal(twice, want[:len(want)-again.n]) {
			t.Fatalf("once  %q\ntwice %q", want, twice)
		}
	})
}
