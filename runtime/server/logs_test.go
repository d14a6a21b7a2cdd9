package server

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"cove/runtime/api"
)

// TestLogs gets a journal that a sandbox forged, and makes lines of it.
func TestLogs(t *testing.T) {
	rec := func(id int, kind, text string) string {
		return fmt.Sprintf(`{"time":%d,"id":%d,"kind":%q,"text":%q}`, 1_000_000*int64(id), id, kind, base64.StdEncoding.EncodeToString([]byte(text)))
	}
	long := strings.Repeat("x", maxLine)
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, rec(i+10, "stdout", "begun"))
		}
		return out
	}
	for name, c := range map[string]struct {
		records []string
		want    string
	}{
		"pieces of lines": {
			[]string{rec(1, "start", "cmd a"), rec(1, "stdout", "one\ntw"), rec(2, "stdout", "other\n"), rec(1, "stderr", "err"), rec(1, "stdout", "o\n\nrest"), rec(1, "end", "status 0"), `{"kind":"now"}`},
			"1 start cmd a|1 stdout one|2 stdout other|1 stdout two|1 stdout |1 stdout rest|1 stderr err|1 end status 0",
		},
		"what has no end":  {[]string{rec(1, "stdout", "prompt> "), `{"kind":"now"}`}, "1 stdout prompt> "},
		"no text":          {[]string{rec(1, "stdout", "a\xffb\x1b[2J\n")}, "1 stdout a\uFFFDb\x1b[2J"},
		"a long line":      {[]string{rec(1, "stdout", long+long+"y\n")}, "1 stdout " + long + "|1 stdout " + long + "|1 stdout y"},
		"no kind":          {[]string{rec(1, "evil", "x")}, "broke off"},
		"no JSON":          {[]string{"{"}, "broke off"},
		"a time of no age": {[]string{`{"time":9223372036854775807,"id":1,"kind":"start"}`}, "1 start "},
		"endless":          {[]string{strings.Repeat("x", 200<<10)}, "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			i := h.info("a", owner)
			p := playInit(t, h.m.socket(i))
			p.logs = c.records
			lines, err := h.as(owner).Logs(t.Context(), "a", false)
			noError(t, err)
			defer func() { _ = lines.Close() }()
			var got []string
			for {
				l, err := lines.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				noError(t, err)
				switch {
				case l.Source == "cove":
					got = append(got, "broke off")
				case l.Source == "setup":
					got = append(got, "setup "+l.Text)
				case l.Stream != api.LogPing:
					got = append(got, fmt.Sprintf("%s %s %s", strings.TrimPrefix(l.Source, "exec-"), l.Stream, l.Text))
				}
			}
			want := "setup one|setup two\uFFFD"
			if c.want != "" {
				want += "|" + c.want
			}
			equal(t, want, strings.Join(got, "|"))
		})
	}
	// Programs that begin a line and never end it do not pile up.
	h := newHost(t)
	i := h.info("a", owner)
	playInit(t, h.m.socket(i)).logs = many(maxJoined * 2)
	lines, err := h.as(owner).Logs(t.Context(), "a", false)
	noError(t, err)
	defer func() { _ = lines.Close() }()
	n := 0
	for {
		l, err := lines.Next()
		if err != nil {
			break
		}
		if l.Text == "begun" {
			n++
		}
	}
	equal(t, maxJoined*2, n)
}
