package tui

import (
	"errors"
	"time"

	"cove/runtime/api"
	"cove/tui/text"
	"cove/tui/theme"
)

// notice is the line in which the program says what happened. News goes by
// itself; an error stays until it is dismissed, and comes back when news that
// covered it is gone.
type notice struct {
	news  string
	until time.Time // when the news goes
	fault string    // an error, in one line
	whole string    // and in full, for its dialog
}

// stay is how long news stays.
const stay = 6 * time.Second

// say shows news.
func (n *notice) say(now time.Time, s string) { n.news, n.until = text.Clean(s), now.Add(stay) }

// fail shows an error, over any news. command is what failed on the command
// line, "" where it has nothing like it.
func (n *notice) fail(what, command string, err error) {
	n.whole = whole(what, command, err)
	n.fault, n.news = text.Clean(what+": "+err.Error()), ""
}

// whole is an error in full: what failed and why with what can be done, and
// what to type to try again.
func whole(what, command string, err error) string {
	s := what + ": " + err.Error()
	var answer *api.Error
	if errors.As(err, &answer) {
		for _, p := range answer.Problems {
			s += "\n  " + p.String()
		}
		if answer.Op != "" {
			s += "\nunder way: " + string(answer.Op)
		}
	}
	if command != "" {
		s += "\n\n$ " + command
	}
	return text.CleanLines(s)
}

// shown tells whether there is something to dismiss.
func (n *notice) shown() bool { return n.news != "" || n.fault != "" }

// dismiss removes what is shown.
func (n *notice) dismiss() {
	if n.news != "" {
		n.news = ""
		return
	}
	n.fault, n.whole = "", ""
}

func (n *notice) tick(now time.Time) {
	if !now.Before(n.until) {
		n.news = ""
	}
}

// line draws the notice in w cells; "" when there is none.
func (n *notice) line(th *theme.Theme, w int) string {
	switch g := th.Glyphs; {
	case n.news != "":
		return text.Fit(" "+n.news, w, g.Ellipsis)
	case n.fault != "":
		const hint = "  e shows all  esc dismisses "
		room := w
		if w >= 60 {
			room -= len(hint)
		}
		line := th.Bad.Paint(text.Fit(" "+g.Failed+" "+n.fault, room, g.Ellipsis))
		if room < w {
			line += th.Muted.Paint(hint)
		}
		return line
	}
	return ""
}
