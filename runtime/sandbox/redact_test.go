package sandbox

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func redacted(secrets map[string]string, pieces ...string) string {
	var out bytes.Buffer
	r := newRedactor(secrets, func(p []byte) { out.Write(p) })
	for _, p := range pieces {
		r.write([]byte(p))
	}
	r.flush()
	return out.String()
}

func TestRedact(t *testing.T) {
	one := map[string]string{"KEY": "sk-12345"}
	for _, c := range []struct {
		secrets map[string]string
		pieces  []string
		want    string
	}{
		{nil, []string{"a", "b"}, "ab"},
		{one, []string{"x sk-12345 y"}, "x [KEY] y"},
		{one, []string{"x sk-", "123", "45", " y"}, "x [KEY] y"},
		{one, []string{"sk-12345sk-12345"}, "[KEY][KEY]"},
		{one, []string{"sk-sk-12345"}, "sk-[KEY]"},
		{one, []string{"sk-1234"}, "sk-1234"}, // not all of it, and nothing follows
		{one, []string{"sk-1234", "6"}, "sk-12346"},
		{map[string]string{"A": "abcd", "B": "abcdef"}, []string{"abcd", "ef abcd", "e"}, "[B] [A]e"},
		{map[string]string{"SHORT": "1"}, []string{"1 2"}, "1 2"},
		{map[string]string{"EMPTY": ""}, []string{"x"}, "x"},
		{map[string]string{"PEM": "-----BEGIN\nabcdefgh\nxy\n"}, []string{"abcdefgh|xy|-----BEGIN\nabcdefgh\nxy\n"}, "[PEM]|xy|[PEM]"},
	} {
		if got := redacted(c.secrets, c.pieces...); got != c.want {
			t.Errorf("%v of %q: %q, want %q", c.secrets, c.pieces, got, c.want)
		}
	}
}

// However the output is cut, the same comes out, and no value is in it.
func TestRedactPieces(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		value := rapid.StringMatching(`[ab]{4,7}`).Draw(rt, "value")
		secrets := map[string]string{"K": value, "L": rapid.StringMatching(`[ab]{4,7}`).Draw(rt, "other")}
		text := rapid.StringMatching(`[abc]{0,60}`).Draw(rt, "text")
		whole := redacted(secrets, text)
		for _, v := range secrets {
			if strings.Contains(whole, v) {
				rt.Fatalf("%q is in %q", v, whole)
			}
		}
		var pieces []string
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "piece")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if got := redacted(secrets, pieces...); got != whole {
			rt.Fatalf("%q in pieces %q: %q, want %q", text, pieces, got, whole)
		}
	})
}
