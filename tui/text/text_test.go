package text

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"cove/tui/internal/require"
	"github.com/charmbracelet/x/ansi"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, in, line, lines string }{
		{"plain", "fix-auth", "fix-auth", "fix-auth"},
		{"colour", "\x1b[31mred\x1b[m", "red", "red"},
		{"title", "a\x1b]0;evil\x07b", "ab", "ab"},
		{"lines", "a\r\nb\tc", "a  b c", "a\nb    c"},
		{"bell", "a\ab", "a b", "a b"},
		{"reversed by a direction mark", "abc\u202etxt.exe", "abctxt.exe", "abctxt.exe"},
		{"broken UTF-8", "a\xffb", "a\ufffdb", "a\ufffdb"},
		{"line separator", "a\u2028b", "a b", "a b"},
		{"wide", "日本", "日本", "日本"},
	} {
		require.Equal(t, c.line, Clean(c.in), c.name)
		require.Equal(t, c.lines, CleanLines(c.in), c.name)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31mb\x9b31mc\xc2\x9b31m\u202e\n\t")
	f.Fuzz(func(t *testing.T, s string) {
		for _, lines := range []bool{false, true} {
			out := clean(s, lines)
			require.True(t, utf8.ValidString(out))
			for _, r := range out {
				if lines && r == '\n' {
					continue
				}
				require.False(t, unicode.IsControl(r), "%q from %q", r, s)
				require.False(t, unicode.Is(unicode.Cf, r), "%q from %q", r, s)
			}
		}
	})
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		in   string
		w    int
		want string
	}{
		{"abc", 5, "abc  "}, {"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"abc", 0, ""}, {"abc", -1, ""},
		{"日本語", 5, "日本…"}, {"日本語", 4, "日… "}, {"", 2, "  "}, {"ab", 1, "…"},
	} {
		require.Equal(t, c.want, Fit(c.in, c.w, "…"), "%q in %d", c.in, c.w)
	}
	require.Equal(t, "  abc", FitRight("abc", 5, "…"))
	require.Equal(t, "ab…", FitRight("abcd", 3, "…"))
	require.Len(t, Spaces(500), 500)
}

func FuzzFit(f *testing.F) {
	f.Add("日本-box", 5)
	f.Add("a\u0301bc🇩🇪x", 3)
	f.Fuzz(func(t *testing.T, s string, w int) {
		s, w = Clean(s), w%200
		require.Equal(t, max(w, 0), ansi.StringWidth(Fit(s, w, "…")), "%q in %d", s, w)
		if w > 1 {
			for _, l := range Wrap(s, w) {
				require.AtMost(t, ansi.StringWidth(l), w, "%q in %d", s, w)
			}
		}
	})
}

func TestWrap(t *testing.T) {
	require.Equal(t, []string{"one two", "three"}, Wrap("one two three", 8))
	require.Equal(t, []string{"abcd", "ef", "", "g"}, Wrap("abcdef\n\ng", 4))
	require.Equal(t, []string{""}, Wrap("", 4))
	require.NotEmpty(t, Wrap("abc", -3))
	require.Equal(t, "onetwothree", strings.Join(Wrap("onetwothree", 2), ""))
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 900 * time.Millisecond: "0s", 59 * time.Second: "59s", 90 * time.Second: "1m",
		time.Hour: "1h", 134 * time.Minute: "2h14m", 24 * time.Hour: "1d", 76 * time.Hour: "3d4h",
		6*24*time.Hour + 23*time.Hour: "6d23h", 7*24*time.Hour + 5*time.Hour: "7d", 400 * 24 * time.Hour: "400d",
	} {
		require.Equal(t, want, Age(d), d.String())
	}
}
