package dialog

import (
	"strconv"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/text"
	"cove/tui/theme"
)

// Confirm asks before something is lost. Cancel is the default: Enter on a
// question that nobody read changes nothing.
type Confirm struct {
	title, body, command, verb string
	yes                        func() tea.Cmd
	keys                       confirmKeys
	onYes                      bool
	top, page, tall            int // of the body, as drawn last
	// where the buttons were drawn last, for the mouse
	line, cancelEnd, yesStart, yesEnd int
}

type confirmKeys struct{ other, yes, no, press, up, down key.Binding }

// NewConfirm returns a question. verb is the button that runs yes; command is
// the same on the command line, shown below the body.
func NewConfirm(title, body, command, verb string, yes func() tea.Cmd) *Confirm {
	return &Confirm{title: title, body: body, command: command, verb: verb, yes: yes, keys: confirmKeys{
		other: on("left", "right", "tab", "shift+tab", "h", "l"), yes: on("y", "Y"), no: on("n", "N", "q", "esc"), press: on("enter"),
		up: on("up", "k", "pgup"), down: on("down", "j", "pgdown"),
	}}
}

// ID implements [Dialog].
func (c *Confirm) ID() string { return "confirm" }

// Key implements [Dialog].
func (c *Confirm) Key(k tea.KeyPressMsg) (bool, tea.Cmd) {
	switch {
	case key.Matches(k, c.keys.up):
		c.Scroll(-1)
	case key.Matches(k, c.keys.down):
		c.Scroll(1)
	case key.Matches(k, c.keys.other):
		c.onYes = !c.onYes
	case key.Matches(k, c.keys.yes):
		return true, c.yes()
	case key.Matches(k, c.keys.no):
		return true, nil
	case key.Matches(k, c.keys.press):
		if c.onYes {
			return true, c.yes()
		}
		return true, nil
	}
	return false, nil
}

// Scroll moves a body that is longer than the screen.
func (c *Confirm) Scroll(n int) tea.Cmd {
	c.top = max(0, min(c.top+n, c.tall-c.page))
	return nil
}

// Paste implements [Dialog]: pasted text answers no question.
func (c *Confirm) Paste(string) tea.Cmd { return nil }

// Click implements [Dialog].
func (c *Confirm) Click(x, y int) (bool, tea.Cmd) {
	switch {
	case y != c.line:
		return false, nil
	case x >= 0 && x < c.cancelEnd:
		return true, nil
	case x >= c.yesStart && x < c.yesEnd:
		return true, c.yes()
	}
	return false, nil
}

// Draw implements [Dialog].
func (c *Confirm) Draw(th *theme.Theme, w, h int) Content {
	w = min(w, 64)
	body := text.Wrap(text.CleanLines(c.body), w)
	var lines []string
	c.tall, c.page = len(body), max(h-2, 1)
	if c.page < c.tall {
		c.page = max(c.page-1, 1) // a line says that there is more
	}
	c.Scroll(0)
	lines = append(lines, body[c.top:min(c.top+c.page, c.tall)]...)
	if c.page < c.tall {
		lines = append(lines, th.Warn.Paint(text.Cut(strconv.Itoa(c.top+1)+"-"+strconv.Itoa(c.top+c.page)+" of "+strconv.Itoa(c.tall)+" lines "+th.Glyphs.Dot+" "+th.Glyphs.Up+" "+th.Glyphs.Down+" scroll", w, "")))
	}
	if c.command != "" && len(lines)+4 <= h {
		lines = append(lines, "", th.Muted.Paint(text.Cut("$ "+text.Clean(c.command), w, th.Glyphs.Ellipsis)))
	}
	lines = append(lines, "")
	cancel, yes := "  Cancel  ", "  "+c.verb+"  "
	no, ok := th.Button, th.Button
	if c.onYes {
		yes, ok = " >"+c.verb+"< ", th.Danger
	} else {
		cancel, no = " >Cancel< ", th.Focused
	}
	c.line = len(lines)
	c.cancelEnd = text.Width(cancel)
	c.yesStart = c.cancelEnd + 2
	c.yesEnd = c.yesStart + text.Width(yes)
	lines = append(lines, no.Paint(cancel)+"  "+ok.Paint(yes))
	return Content{Title: text.Clean(c.title), Lines: lines}
}
