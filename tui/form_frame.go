package tui

import (
	"strconv"
	"strings"

	"charm.land/bubbles/v2/key"

	"cove/tui/dialog"
	"cove/tui/form"
	"cove/tui/text"
	"cove/tui/theme"
)

// formFoot is what stands below the fields of a dialog: what is under way or
// what went wrong, the same on the command line, the keys.
type formFoot struct {
	busy    string
	err     error
	waiting string
	command string
	hints   []key.Help
}

// draw draws it for w cells. airy says that there is room for blank lines.
func (f *formFoot) draw(th *theme.Theme, w int, airy bool) []string {
	var lines []string
	most := 1
	if airy {
		most = 4
		lines = append(lines, "")
	}
	switch {
	case f.busy != "":
		lines = append(lines, th.Busy.Paint(text.Cut(th.Glyphs.Passing+" "+f.busy, w, th.Glyphs.Ellipsis)))
	case f.err != nil:
		for _, l := range capped(text.Wrap(text.CleanLines(f.err.Error()), w), most, w, th) {
			lines = append(lines, th.Bad.Paint(l))
		}
	case f.waiting != "":
		lines = append(lines, th.Muted.Paint(text.Cut(f.waiting, w, "")))
	}
	if f.command != "" {
		for _, l := range capped(wrapCommand("$ "+text.Clean(f.command), w), most, w, th) {
			lines = append(lines, th.Muted.Paint(l))
		}
	}
	if airy {
		lines = append(lines, "")
	}
	return append(lines, hintLine(th, w, f.hints...))
}

// frameForm draws the fields over the foot in w by h cells. The box keeps its
// size whatever is typed: it is as high as the fields have been so far, and least
// lines where there are as many. still hides the cursor.
func frameForm(th *theme.Theme, title string, f *form.Form, foot []string, w, h, least int, still bool) dialog.Content {
	room := max(h-len(foot), 1)
	lines, cursor := f.Draw(th, w, room)
	for len(lines) < min(room, max(f.Tall(), least)) {
		lines = append(lines, "")
	}
	lines[0] = text.Fit(lines[0], w, "") // the width of the box
	if still {
		cursor = nil
	}
	if all, above := f.Height(); all > room {
		title += "  " + strconv.Itoa(above+1) + "-" + strconv.Itoa(min(above+room, all)) + " of " + strconv.Itoa(all)
	}
	return dialog.Content{Title: title, Lines: append(lines, foot...), Cursor: cursor}
}

// wrapCommand breaks a command line at its blanks only, so that no flag is
// taken apart; a word that is too long is.
func wrapCommand(command string, w int) []string {
	var lines []string
	line := ""
	for i, word := range strings.Split(command, " ") {
		switch {
		case i == 0:
			line = word
		case text.Width(line)+1+text.Width(word) <= w:
			line += " " + word
		default:
			lines = append(lines, text.Wrap(line, w)...)
			line = word
		}
	}
	return append(lines, text.Wrap(line, w)...)
}

// capped is the first lines of many, the last one ending in an ellipsis when
// there are more.
func capped(lines []string, most, w int, th *theme.Theme) []string {
	if len(lines) <= most {
		return lines
	}
	lines = lines[:most]
	lines[most-1] = text.Cut(lines[most-1], w-1, "") + th.Glyphs.Ellipsis
	return lines
}
