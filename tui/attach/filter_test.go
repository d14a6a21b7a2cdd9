package attach

import (
	"strings"
	"testing"

	"cove/tui/internal/require"
)

func filtered(s string) string {
	f := filter{title: "box: "}
	return string(f.Write(nil, []byte(s)))
}

func TestFilterPasses(t *testing.T) {
	for _, s := range []string{
		"hello\r\n\ttab\b\a", "日本 é 🇩🇪", "\x1b[1;31mred\x1b[m", "\x1b[38:2::1:2:3mx", "\x1b[10;20H\x1b[2J\x1b[K\x1b[5A",
		"\x1b[?25l", "\x1b[?2004h", "\x1b[?1000h\x1b[?1006h", "\x1b[?2026h", "\x1b7\x1b8\x1b=\x1b>\x1bM\x1bD", "\x1b(0qqq\x1b(B",
		"\x1b[>5u\x1b[<u\x1b[=1;2u\x1b[?u", "\x1b[>4;2m", "\x1b[c\x1b[>c\x1b[=c\x1b[>q\x1b[6n\x1b[?6n", "\x1b[?2026$p\x1b[4$p",
		"\x1b[3;10r", "\x1b[2 q", "\x1b[14t\x1b[18t", "\x1b[!p",
		"\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\", "\x1b]11;?\x1b\\", "\x1b]4;1;rgb:ff/00/00\x1b\\", "\x1b]133;A\x1b\\",
		"\x1b]9;4;1;50\x1b\\", "\x1b]110\x1b\\",
		"\x1bPq#0;2;0;0;0#0~~@@vv\x1b\\after", "\x1bP0;1;0q~~\x1b\\", // sixel
		"\x1b_Ga=T,f=100;iVBORw0KGgo=\x1b\\", "\x1b_Ga=d\x1b\\", // kitty graphics
	} {
		require.Equal(t, s, filtered(s))
	}
}

func TestFilterDrops(t *testing.T) {
	for name, s := range map[string]string{
		"title report":              "\x1b[21t",
		"icon report":               "\x1b[20t",
		"title stack":               "\x1b[22t\x1b[23t",
		"window operations":         "\x1b[3;0;0t\x1b[8;1;1t\x1b[5t",
		"DECRQSS":                   "\x1bP$qm\x1b\\",
		"XTGETTCAP":                 "\x1bP+q544e\x1b\\",
		"user-defined keys":         "\x1bP0;1|17/6c730d\x1b\\",
		"restore presentation":      "\x1bP1$t1;1;1\x1b\\",
		"tmux passthrough":          "\x1bPtmux;\x1b\x1b]52;c;?\x07\x1b\\",
		"screen checksum":           "\x1b[1;1;1;1;80;24*y",
		"answerback":                "\x05",
		"8-bit CSI":                 "\x9b",
		"8-bit CSI as UTF-8":        "\xc2\x9b",
		"8-bit OSC as UTF-8":        "\xc2\x9d",
		"clipboard read":            "\x1b]52;c;?\x07",
		"clipboard write":           "\x1b]52;c;aGVsbG8=\x07",
		"kitty clipboard":           "\x1b]5522;type=read;dGV4dA==\x1b\\",
		"font query":                "\x1b]50;?\x07",
		"iTerm":                     "\x1b]1337;File=name=YQ==:YQ==\x07",
		"file link":                 "\x1b]8;;file:///etc/passwd\x1b\\",
		"a string for screen":       "\x1bktitle\x1b\\",
		"SOS and PM":                "\x1bXabc\x1b\\\x1b^abc\x1b\\",
		"graphics from a file":      "\x1b_Ga=T,t=f;L2V0Yy9wYXNzd2Q=\x1b\\",
		"graphics from memory":      "\x1b_Gt=s,a=q;L3No\x1b\\",
		"print":                     "\x1b[5i\x1b[?5i",
		"another encoding":          "\x1b%@",
		"8-bit answers":             "\x1b G",
		"conformance level":         "\x1b[62\"p",
		"column mode":               "\x1b[?3h\x1b[?40h",
		"a number without end":      "\x1b[" + strings.Repeat("1;", 300) + "m",
		"letters in the parameters": "\x1b[1<2m",
		"broken off by CAN":         "\x1b]0;abc\x18",
		"string ended by another":   "\x1b]52;c;?\x1b[21t",
		"control inside":            "\x1b[2\x051t",
		"deleted character":         "\x7f\x00\x11",
		"VT52":                      "\x1b[?2l",
		"VT52 and others":           "\x1b[?2;3;1034;8452h",
		"saved modes":               "\x1b[?1049s\x1b[?1049r\x1b[?2r",
		"keyboard lock":             "\x1b[2h",
		"local echo":                "\x1b[12l",
		"meta keys":                 "\x1b[?1034h\x1b[?1036l",
		"one character for hours":   "\x1b[99999b",
	} {
		require.Equal(t, "", filtered(s), name)
		require.Equal(t, "ab", filtered("a"+s+"b"), name)
	}
}

// What is seen by terminals that read the grammar otherwise, or is made of what
// is left when something was dropped, does not pass either.
func TestFilterDropsWhatHides(t *testing.T) {
	for name, s := range map[string]string{
		"title report":                "\x1b[21t",
		"icon report":                 "\x1b[20t",
		"title report, zeros":         "\x1b[0021t",
		"title report, control":       "\x1b[2\n1t",
		"title report, more":          "\x1b[21;1t",
		"title report, after rubbish": "\x1b[3\x1b[21t",
		"clipboard write":             "\x1b]52;c;aGVsbG8=\x07",
		"clipboard read":              "\x1b]52;c;?\x1b\\",
		"clipboard, zeros":            "\x1b]0000052;c;?\x07",
		"clipboard, control":          "\x1b]5\x002;c;?\x07",
		"clipboard, plus":             "\x1b]+52;c;?\x07",
		"kitty clipboard":             "\x1b]5522;type=read;\x1b\\",
		"font query":                  "\x1b]50;?\x07",
		"Emacs":                       "\x1b]51;Efind-file /etc/passwd\x07",
		"iTerm2":                      "\x1b]1337;ReportVariable=dXNlcg==\x07",
		"DECRQSS":                     "\x1bP$qm\x1b\\",
		"XTGETTCAP":                   "\x1bP+q544e\x1b\\",
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
		got := filtered("a" + s + "b")
		// The end of a passthrough, and a control that acts at once, may stay.
		got = strings.NewReplacer("\x1b\\", "", "\n", "").Replace(got)
		require.Equal(t, "ab", got, name)
	}
	drop := "\x1b]52;c;?\x07"
	for in, want := range map[string]string{
		"\x1b[2" + drop + "1t":          "1t",
		"\x1b]5" + drop + "2;c;?\x07":   "2;c;?\a",
		"\x1bP+" + drop + "q544e\x1b\\": "q544e",
		"\x1b" + drop + "]52;c;?\x07":   "]52;c;?\a",
	} {
		require.Equal(t, want, filtered(in), "%q", in)
	}
}

func TestFilterRewrites(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"title", "\x1b]0;vim\x07", "\x1b]2;box: vim\x1b\\"},
		{"title that is long", "\x1b]2;" + strings.Repeat("x", 5000) + "\x1b\\", "\x1b]2;box: " + strings.Repeat("x", 195) + "\x1b\\"},
		{"several modes", "\x1b[?1049;1000;3;25h", clearScreen + "\x1b[?1000h\x1b[?25h"},
		{"full reset", "\x1bc", softReset + clearScreen},
		{"control inside", "\x1b[3\r1m", "\r\x1b[31m"},
		{"stray bytes", "a\xffb\xe6\x97c", "a\ufffdb\ufffdc"},
	} {
		got := filtered(c.in)
		if c.name == "stray bytes" {
			got = strings.ReplaceAll(got, "ab", "a\ufffdb") // a byte that is no character at all may go
		}
		require.Equal(t, c.want, got, c.name)
	}
}

// What a full-screen program leaves is the shell as it was, without a question
// being asked again.
func TestLeavingFullScreenDrawsTheShellAgain(t *testing.T) {
	f := filter{}
	f.Write(nil, []byte("$ ls\r\n\x1b[32mfile\x1b[m\r\n\x1b[6n\x07$ vim\r\n"))
	in := string(f.Write(nil, []byte("\x1b[?1049h\x1b[Hlots of text\x1b[?25l")))
	require.Equal(t, clearScreen+"\x1b[Hlots of text\x1b[?25l", in)
	out := string(f.Write(nil, []byte("\x1b[?1049l$ ")))
	require.Equal(t, leaveFull+"$ ls\r\n\x1b[32mfile\x1b[m\r\n$ vim\r\n$ ", out)
}

func TestLeavingAScreenThatWasThereBefore(t *testing.T) {
	f := filter{}
	f.Write(nil, []byte("the picture of some editor"))
	require.Equal(t, leaveFull+"$ ", string(f.Write(nil, []byte("\x1b[?1049l$ "))))
	f.Write(nil, []byte("\x1b[?1049h"))
	require.Equal(t, leaveFull+"$ ", string(f.Write(nil, []byte("\x1b[?1049l"))))
}

func TestRecordingIsBoundedAndBeginsWithALine(t *testing.T) {
	f := filter{}
	line := strings.Repeat("x", 99) + "\n"
	for range 50_000 {
		f.Write(nil, []byte(line))
	}
	require.AtMost(t, len(f.main.bytes()), recorded)
	require.AtLeast(t, len(f.main.bytes()), recorded-200)
	require.AtMost(t, cap(f.main.buf), 8*recorded)
	require.True(t, strings.HasPrefix(string(f.main.bytes()), line))
	f.Write(nil, []byte("\x1b[H\x1b[2J"))
	require.AtMost(t, len(f.main.bytes()), 10)
}

func TestCloseEndsAnImage(t *testing.T) {
	f := filter{}
	require.Equal(t, "\x1bPq~~", string(f.Write(nil, []byte("\x1bPq~~"))))
	require.Equal(t, "\x1b\\", string(f.close(nil)))
	require.Equal(t, "", string(f.close(nil)))
	require.Equal(t, "text", string(f.Write(nil, []byte("text"))))
}

func TestResetUndoesOnlyWhatWasDone(t *testing.T) {
	f := filter{}
	require.NotContains(t, f.reset(), "\x1b]104")
	f.Write(nil, []byte("\x1b]11;#ff0000\x07\x1b]9;4;1;10\x07\x1b]22;text\x07\x1b]8;;http://a\x07"))
	for _, s := range []string{"\x1b]111", "\x1b]9;4;0", "\x1b]22;default", "\x1b]8;;\x1b\\", "\x1b[?1049l", "\x1b[<99u", "\x1b[?1003l"} {
		require.Contains(t, f.reset(), s)
	}
}

// The output does not depend on how the input is cut, holds no control that
// the filter is there to stop, and is the same when it is filtered again.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"\x1b]52;c;?\x07", "\x1b[?1049h\x1b[21t", "\x1bP$qm\x1b\\", "a\xc2\x9b21t", "\x1bPq\x1b\x1b[5i", "\x1b_Gt=f;x\x1b\\", "\x1b]0;a\x1b]52;;?\x07", "\x1b[5\x1b[5i"} {
		f.Add([]byte(s), 2)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		cut = max(0, min(cut, len(in)))
		one, two := filter{}, filter{}
		whole := string(one.Write(nil, in))
		parts := string(two.Write(two.Write(nil, in[:cut]), in[cut:]))
		if whole != parts {
			t.Fatalf("%q cut at %d: %q, whole %q", in, cut, parts, whole)
		}
		for _, bad := range []string{"\x05", "\x1b]52", "\x1b]50", "\x1bP$", "\x1bP+", "\x1b%", "\xc2\x9b", "\xc2\x9d", "\x1b[?1049"} {
			if strings.Contains(whole, bad) {
				t.Fatalf("%q let %q through: %q", in, bad, whole)
			}
		}
		for i := range len(whole) {
			if whole[i] >= 0x80 && whole[i] < 0xa0 && (i == 0 || whole[i-1] < 0x80) {
				t.Fatalf("%q let an 8-bit control through: %q", in, whole)
			}
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	text := []byte(strings.Repeat("\x1b[32mok\x1b[m  github.com/some/package\t0.123s\r\n", 1000))
	f := filter{}
	var out []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		out = f.Write(out[:0], text)
	}
}

// A program on the person's own screen has both screens, and what it changes
// is undone; a terminal that it has not touched is left alone.
func TestWriter(t *testing.T) {
	var out strings.Builder
	w := NewWriter(&out)
	_, err := w.Write([]byte("\x1b[?1049h\x1b[?1003h\x1b[?25l\x1b[>1u\x1b]52;c;?\x07\x1b]11;red\x07\x1b]0;vim\x07\x1b[31mx\x1b]0;unfinished"))
	require.NoError(t, err)
	require.Equal(t, "\x1b[?1049h\x1b[?1003h\x1b[?25l\x1b[>1u\x1b]11;red\x1b\\\x1b[22;2t\x1b]2;vim\x1b\\\x1b[31mx", out.String())
	out.Reset()
	require.NoError(t, w.Reset())
	for _, want := range []string{"\x1b[?1049l", "\x1b[?1003l", "\x1b[?25h", "\x1b[<1u", "\x1b]111\x1b\\", "\x1b[0m", "\x1b[23;2t"} {
		require.Contains(t, out.String(), want)
	}
	out.Reset()
	require.NoError(t, w.Reset())
	require.Equal(t, "\x1b[?2026l\x1b[0m\x1b]8;;\x1b\\", out.String())
	out.Reset()
	_, err = w.Write([]byte("\x1b[?2l\x1b[21t\x1bc"))
	require.NoError(t, err)
	require.Equal(t, "\x1b[?1049l"+softReset+clearScreen, out.String())
}
