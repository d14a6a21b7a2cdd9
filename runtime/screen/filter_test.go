package screen

import (
	"bytes"
	"strings"
	"testing"
)

func filter(in string) string {
	var f Filter
	return string(f.Append(nil, []byte(in)))
}

func TestFilterDrops(t *testing.T) {
	for name, seq := range map[string]string{
		"title report":                "\x1b[21t",
		"icon report":                 "\x1b[20t",
		"title report, zeros":         "\x1b[0021t",
		"title report, control":       "\x1b[2\n1t",
		"title report, more":          "\x1b[21;1t",
		"title report, C1":            "\xc2\x9b21t",
		"title report, raw C1":        "\x9b21t",
		"title report, after rubbish": "\x1b[3\x1b[21t",
		"clipboard write":             "\x1b]52;c;aGVsbG8=\x07",
		"clipboard read":              "\x1b]52;c;?\x1b\\",
		"clipboard, C1":               "\xc2\x9d52;c;?\xc2\x9c",
		"clipboard, raw C1":           "\x9d52;c;?\x9c",
		"clipboard, zeros":            "\x1b]0000052;c;?\x07",
		"clipboard, control":          "\x1b]5\x002;c;?\x07",
		"clipboard, plus":             "\x1b]+52;c;?\x07",
		"kitty clipboard":             "\x1b]5522;type=read;\x1b\\",
		"font query":                  "\x1b]50;?\x07",
		"Emacs":                       "\x1b]51;Efind-file /etc/passwd\x07",
		"iTerm2":                      "\x1b]1337;ReportVariable=dXNlcg==\x07",
		"DECRQSS":                     "\x1bP$qm\x1b\\",
		"XTGETTCAP":                   "\x1bP+q544e\x1b\\",
		"XTGETTCAP, C1":               "\xc2\x90+q544e\xc2\x9c",
		"user-defined keys":           "\x1bP1;1|17/726d0d\x1b\\",
		"tmux passthrough":            "\x1bPtmux;\x1b\x1b]52;c;?\x07\x1b\\",
		"kitty remote control":        "\x1bP@kitty-cmd{}\x1b\\",
		"print":                       "\x1b[5i",
		"print, private":              "\x1b[?5i",
		"checksum":                    "\x1b[1;1;1;1;2;2*y",
		"leave UTF-8":                 "\x1b%@",
		"8-bit replies":               "\x1b G",
		"bad grammar":                 "\x1b[2?1t",
		"cut off":                     "\x1b[12\x18",
		"too long":                    "\x1b[" + strings.Repeat("1;", 200) + "m",
	} {
		got := filter("a" + seq + "b")
		// The end of a passthrough, and what cut a sequence off, may stay.
		got = strings.NewReplacer("\x1b\\", "", "\x18", "").Replace(got)
		if got != "ab" {
			t.Errorf("%s: %q gave %q", name, seq, got)
		}
	}
}

func TestFilterPasses(t *testing.T) {
	for _, s := range []string{
		"plain\ttext\r\n\x07\x0e\x0f\x7f",
		"äöü ß 漢字 🦊 雛 \u009b31mred",    // U+009B is a CSI
		"\xc2\xa9 \xff\xfe \xe9 latin", // broken UTF-8 is the terminal's to show
		"\x1b[31;1;4:3;38;2;1;2;3;48:5:9m",
		"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[>4;2m\x1b[>1u\x1b[<u\x1b[=5;1u\x1b[?u",
		"\x1b[c\x1b[>c\x1b[=c\x1b[5n\x1b[6n\x1b[?6n\x1b[>q\x1b[?2026$p\x1b[18t\x1b[14t\x1b[22;0t\x1b[23;0t",
		"\x1b]0;title\x07\x1b]2;title\x1b\\\x1b]8;;http://x/\x1b\\link\x1b]8;;\x1b\\",
		"\x1b]10;?\x07\x1b]11;?\x1b\\\x1b]4;1;?\x07\x1b]104\x07\x1b]104\x1b\\\x1b]7;file://h/\x07\x1b]133;A\x07",
		"\x1bPq#0;2;0;0;0~~@@\x1b\\\x1bP=1s\x1b\\\x1b_Gf=24;AAAA\x1b\\\x1bXx\x1b\\\x1b^x\x1b\\",
		"\x1b7\x1b8\x1b=\x1b>\x1bM\x1bD\x1bE\x1bc\x1b(0\x1b)B\x1b#8\x1b%G\x1b[!p\x1b[2 q\x1b[1\"q",
		"\x1b]lfile\x1b\\\x1b]P0000000x\x1b\\",
		"\x1b[2\r;5Hx",
	} {
		if got := filter(s); got != s {
			t.Errorf("%q\ngave %q", s, got)
		}
	}
}

// TestFilterJoins: what is left of a stream when something in it is dropped is
// not dangerous either.
func TestFilterJoins(t *testing.T) {
	drop := "\x1b]52;c;?\x07"
	for _, tt := range []struct{ in, want string }{
		{"\x1b[2" + drop + "1t", "1t"},
		{"\x1b]5" + drop + "2;c;?\x07", "2;c;?\x07"},
		{"\x1bP+" + drop + "q544e\x1b\\", "q544e\x1b\\"},
		{"\x1b" + drop + "]52;c;?\x07", "]52;c;?\x07"},
		{"\xc2" + drop + "\x9b21t", "\xc2"},
		{"\xe9" + drop + "\x9b21t", "\xe9"},
		{"\x1b]5\xc2\x9b21t", ""},
	} {
		if got := filter(tt.in); got != tt.want {
			t.Errorf("%q gave %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestReplay(t *testing.T) {
	in := "a\x07b\x05c\x1b[31md\x1b[6n\x1b[c\x1b[?25l\x1b[3J\x1b[2J\x1b[5;5He\x1b]11;?\x07\x1b]8;;u\x07f\x1b]0;t\x07\x1bPqxx\x1b\\\x1b_Gx\x1b\\\x1b[>1u\x1b[?u\x1b[s\x1b[u\x1b7\x1b(0\x1bc\x1b=g\r\n"
	want := "abc\x1b[31md\x1b[2J\x1b[5;5He\x1b]8;;u\x07f\x1b[s\x1b[u\x1b7\x1b(0g\r\n"
	if got := string(NewReplay().Append(nil, []byte(in))); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestFilterAllocatesNothing(t *testing.T) {
	in := []byte(strings.Repeat("text \x1b[31mred\x1b[0m ü \x1b]52;c;?\x07\x1b]0;x\x07", 50))
	dst := make([]byte, 0, len(in))
	var f Filter
	if n := testing.AllocsPerRun(100, func() { dst = f.Append(dst[:0], in) }); n != 0 {
		t.Errorf("Filter: %v allocations", n)
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

// FuzzFilter: the output does not depend on how the input is cut, and there is
// nothing left in it to take out.
func FuzzFilter(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		for _, old := range []bool{false, true} {
			whole := Filter{old: old}
			want := whole.Append(nil, in)
			cut := Filter{old: old}
			var got []byte
			for rest := in; len(rest) > 0; {
				n := min(len(rest), int(size%7)+1)
				got = cut.Append(got, rest[:n])
				rest = rest[n:]
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("whole %q\ncut   %q", want, got)
			}
			again := Filter{old: old}
			if twice := again.Append(nil, want); !bytes.Equal(twice, want[:len(want)-again.n]) {
				t.Fatalf("once  %q\ntwice %q", want, twice)
			}
		}
	})
}
