package attach

import (
	"bytes"
	"testing"

	"cove/tui/internal/require"
)

// encodings are the ways in which a terminal writes ctrl+].
func encodings() map[string]string {
	return map[string]string{
		"plain":                  "\x1d",
		"kitty":                  "\x1b[93;5u",
		"kitty event":            "\x1b[93;5:1u",
		"modifyOtherKeys":        "\x1b[27;5;93~",
		"kitty num lock":         "\x1b[93;133u",
		"kitty caps lock":        "\x1b[93;69u",
		"kitty alternate":        "\x1b[93:125:93;5u",
		"kitty other layout":     "\x1b[43:42:93;5u",
		"kitty text":             "\x1b[93;5:1;29u",
		"modifyOtherKeys locked": "\x1b[27;133;93~",
	}
}

func TestDetachKey(t *testing.T) {
	for name, enc := range encodings() {
		for cut := 0; cut <= len(enc); cut++ { // read in two pieces, cut anywhere
			var m matcher
			before, pressed, rest := m.feed([]byte("ab" + enc[:cut]))
			got := bytes.Clone(before)
			if pressed != nil {
				require.Empty(t, rest, "%s cut at %d", name, cut)
			} else {
				before, pressed, rest = m.feed([]byte(enc[cut:] + "cd"))
				got = append(got, before...)
				require.Equal(t, "cd", string(rest), "%s cut at %d", name, cut)
			}
			require.Equal(t, "ab", string(got), "%s cut at %d", name, cut)
			require.Equal(t, enc, string(pressed), "%s cut at %d", name, cut)
		}
	}
}

func TestOtherKeysPass(t *testing.T) {
	for _, keys := range []string{
		"plain text\r", "\x1b", "\x1b[A", "\x1b[1;5C", "\x1bOP", "\x1b\x1b[A",
		"\x1b[93u",      // ]
		"\x1b[93;6u",    // ctrl+shift+]
		"\x1b[93;7u",    // ctrl+alt+]
		"\x1b[93;5:3u",  // released
		"\x1b[93;5:2u",  // held down
		"\x1b[91;5u",    // ctrl+[
		"\x1b[27;5;91~", // ctrl+[
		"\x1b[27;6;93~", // ctrl+shift+]
		"\x1b[3;5~",     // ctrl+delete
		"\x1b[93;x;5u",  // nothing
		"\x1b[200~paste ] \x1b[201~",
		"\x1b[<0;93;5M", "日本", "\x1b]11;rgb:0000/0000/0000\x1b\\", "\x1b[?62;22c",
		"\x1b[" + "1234567890123456789012345678901234567890;5u",
	} {
		var m matcher
		before, pressed, rest := m.feed([]byte(keys))
		require.True(t, pressed == nil, "%q", keys)
		require.Equal(t, keys, string(before)+string(m.flush()), "%q", keys)
		require.Empty(t, rest)
	}
}

func TestALoneEscapeIsHeldAndGivenUp(t *testing.T) {
	var m matcher
	before, _, _ := m.feed([]byte("x\x1b"))
	require.Equal(t, "x", string(before))
	require.Equal(t, "\x1b", string(m.flush()))
	before, _, _ = m.feed([]byte("[93;5u"))
	require.Equal(t, "[93;5u", string(before), "what comes after the wait is something else")
}

func TestSecondKey(t *testing.T) {
	for _, c := range []struct {
		in, second string
		skip       int
	}{
		{"\x1d", "\x1d", 0},
		{"\x1b[93;5:3u\x1b[93;5u", "\x1b[93;5u", 9}, // the first one was released in between
		{"\x1b[57442;5:3u\x1b[57442;5u\x1b[93;5u", "\x1b[93;5u", 22},
		{"j", "", 0}, {"", "", 0}, {"\x1b[93;5:2u", "", 9}, {"\x1b[A", "", 0}, {"\x1b[93;5:3uj", "", 9},
	} {
		skip, second := again([]byte(c.in))
		require.Equal(t, c.skip, skip, "%q", c.in)
		require.Equal(t, c.second, string(second), "%q", c.in)
	}
}

// Pasted text belongs to the program, whatever is in it; typing counts again
// when the paste has ended, and also when its end never comes.
func TestPastedKeysDoNotDetach(t *testing.T) {
	for name, enc := range encodings() {
		var m matcher
		paste := "\x1b[200~a" + enc + "b\x1b[201~"
		before, pressed, rest := m.feed([]byte(paste + "c" + enc + "d"))
		require.Equal(t, paste+"c", string(before), name)
		require.Equal(t, enc, string(pressed), name)
		require.Equal(t, "d", string(rest), name)

		m = matcher{}
		before, pressed, _ = m.feed([]byte("\x1b[200~no end"))
		require.True(t, pressed == nil, name)
		require.Equal(t, "\x1b[200~no end", string(before), name)
		before, pressed, _ = m.feed([]byte(enc + " still pasted"))
		require.True(t, pressed == nil, name)
		require.Equal(t, enc+" still pasted", string(before), name)
		_, pressed, _ = m.feed([]byte(enc))
		require.Equal(t, enc, string(pressed), name)
		require.False(t, m.pasting, name)
	}
}

// However input is cut, no byte is lost or doubled, and the first detach key
// of it is found at the same place.
func FuzzMatcher(f *testing.F) {
	for _, e := range encodings() {
		f.Add([]byte("a\x1b["+e+"b"), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if bytes.Contains(in, []byte("\x1b[200~")) {
			return // there it matters what is read together
		}
		whole := func() (string, string) {
			var m matcher
			b, p, r := m.feed(bytes.Clone(in))
			if p == nil {
				return string(b) + string(m.flush()), ""
			}
			return string(b), string(p) + string(r)
		}
		wb, wr := whole()
		if wb+wr != string(in) {
			t.Fatalf("%q became %q and %q", in, wb, wr)
		}
		cut = max(0, min(cut, len(in)))
		var m matcher
		b, p, r := m.feed(bytes.Clone(in[:cut]))
		got := string(b)
		if p == nil {
			b, p, r = m.feed(bytes.Clone(in[cut:]))
			got += string(b)
		} else {
			r = append(bytes.Clone(r), in[cut:]...)
		}
		if p == nil {
			got += string(m.flush())
		}
		if got != wb || string(p)+string(r) != wr {
			t.Fatalf("%q cut at %d: %q %q, whole: %q %q", in, cut, got, string(p)+string(r), wb, wr)
		}
	})
}
