package form

import (
	"strconv"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"cove/tui/dialog"
	"cove/tui/text"
	"cove/tui/theme"
)

// Option is one row of a [Picker].
type Option struct {
	Name string
	// About is a line on it, From where it comes from.
	About, From string
	// Wrong says why it cannot be used, "" when it can.
	Wrong string
}

// Picker is one of many, found by typing. While it has the focus it shows them
// below what was typed.
type Picker struct {
	// Waiting is shown as long as there are no options.
	Waiting string

	options []Option
	match   []int // those that match what was typed
	at      int   // in match
	in      *dialog.Input
	top     int
	keys    pickerKeys
}

type pickerKeys struct{ up, down, pageUp, pageDown key.Binding }

// pickerMost is how many options are shown at once.
const pickerMost = 6

// NewPicker returns a picker without options.
func NewPicker() *Picker {
	return &Picker{in: dialog.NewInput(64), keys: pickerKeys{
		up: on("up", "ctrl+p"), down: on("down", "ctrl+n"), pageUp: on("pgup"), pageDown: on("pgdown"),
	}}
}

// Offer sets the options. The first that can be used is chosen.
func (p *Picker) Offer(options []Option) {
	p.options = options
	p.find()
}

// Chosen returns the option chosen; false when there is none.
func (p *Picker) Chosen() (Option, bool) {
	if p.at >= len(p.match) {
		return Option{}, false
	}
	return p.options[p.match[p.at]], true
}

// Choose chooses an option by its name.
func (p *Picker) Choose(name string) {
	p.in.Set("")
	p.find()
	for i, k := range p.match {
		if p.options[k].Name == name {
			p.at = i
		}
	}
}

// find looks for what was typed: names that begin with it come first, then
// names and descriptions that have it somewhere.
func (p *Picker) find() {
	typed := strings.ToLower(p.in.Value())
	p.match, p.at = p.match[:0], 0
	rank := func(o *Option) int {
		name := strings.ToLower(o.Name)
		switch {
		case strings.HasPrefix(name, typed):
			return 0
		case strings.Contains(name, typed):
			return 1
		case strings.Contains(strings.ToLower(o.About), typed), strings.Contains(strings.ToLower(o.From), typed):
			return 2
		}
		return -1
	}
	for want := range 3 {
		for i := range p.options {
			if rank(&p.options[i]) == want {
				p.match = append(p.match, i)
			}
		}
	}
	for i, k := range p.match {
		if p.options[k].Wrong == "" {
			p.at = i
			break
		}
	}
}

// Key implements [Field].
func (p *Picker) Key(k tea.KeyPressMsg) bool {
	switch {
	case key.Matches(k, p.keys.up) && p.at > 0:
		p.at--
	case key.Matches(k, p.keys.down) && p.at < len(p.match)-1:
		p.at++
	case key.Matches(k, p.keys.pageUp):
		p.at = max(p.at-pickerMost, 0)
	case key.Matches(k, p.keys.pageDown):
		p.at = max(0, min(p.at+pickerMost, len(p.match)-1))
	default:
		before := p.in.Value()
		if !p.in.Key(k) {
			return false
		}
		if p.in.Value() != before {
			p.find()
		}
	}
	return true
}

// Paste implements [Field].
func (p *Picker) Paste(s string) {
	p.in.Insert(s)
	p.find()
}

// Step implements [Field].
func (p *Picker) Step(n int) bool {
	to := p.at + n
	if to < 0 || to >= len(p.match) {
		return false
	}
	p.at = to
	return true
}

// Enter implements [Field]: what was typed to find the choice has done its work.
func (p *Picker) Enter(bool) {
	if o, ok := p.Chosen(); ok {
		p.Choose(o.Name)
	}
}

// Click implements [Field].
func (p *Picker) Click(_, y int) {
	if i := p.top + y - 1; y > 0 && i < len(p.match) {
		p.at = i
	}
}

// Draw implements [Field].
func (p *Picker) Draw(th *theme.Theme, w int, focused bool) Drawn {
	chosen, ok := p.Chosen()
	if !focused {
		if !ok {
			return Drawn{Lines: []string{th.Muted.Paint(text.Cut("none", w, ""))}}
		}
		style, about := th.Muted, chosen.About
		if chosen.Wrong != "" {
			style, about = th.Bad, chosen.Wrong
		}
		name := text.Cut(text.Clean(chosen.Name), w, th.Glyphs.Ellipsis)
		return Drawn{Lines: []string{th.Strong.Paint(name) + style.Paint(text.Cut("  "+text.Clean(about), w-text.Width(name), th.Glyphs.Ellipsis))}}
	}
	line, x := drawInput(th, p.in, "type to find", w, true)
	d := Drawn{Lines: []string{line}, Cursor: &dialog.Point{X: x}}
	if n := len(p.match); n > pickerMost {
		// More than are seen.
		at := " " + strconv.Itoa(p.at+1) + " of " + strconv.Itoa(n)
		if room := w - len(at); room > textWidth {
			line, x = drawInput(th, p.in, "type to find", room, true)
			d = Drawn{Lines: []string{line + th.Muted.Paint(at)}, Cursor: &dialog.Point{X: x}}
		}
	}
	switch {
	case len(p.options) == 0:
		d.Lines = append(d.Lines, th.Muted.Paint(text.Cut(p.Waiting, w, th.Glyphs.Ellipsis)))
	case len(p.match) == 0:
		d.Lines = append(d.Lines, th.Bad.Paint(text.Cut("nothing has that in its name or description", w, th.Glyphs.Ellipsis)))
	}
	p.list(th, w, &d)
	return d
}

// list draws the options that match.
func (p *Picker) list(th *theme.Theme, w int, d *Drawn) {
	n := min(len(p.match), pickerMost)
	p.top = max(min(p.top, p.at), p.at-n+1)
	p.top = max(0, min(p.top, len(p.match)-n))
	names, froms := 0, 0
	for _, o := range p.options {
		names = max(names, text.Width(text.Clean(o.Name)))
		froms = max(froms, text.Width(text.Clean(o.From)))
	}
	names = min(names, 16, w/2)
	const about, least = 40, 8
	if froms = min(froms, 30, w-2-names-2-about); froms < least {
		froms = 0
	}
	for i := p.top; i < p.top+n; i++ {
		o := p.options[p.match[i]]
		base, sign := theme.Style{}, "  "
		if i == p.at {
			base, sign = th.Select, th.Glyphs.Marker+" "
		}
		about, style, from := o.About, th.Muted, o.From
		if o.Wrong != "" {
			about, style, from = o.Wrong, th.Bad, ""
		}
		room := w - 2 - names
		tail := ""
		if from != "" && froms > 0 {
			tail = "  " + text.Fit(text.Clean(from), froms, th.Glyphs.Ellipsis)
			room -= text.Width(tail)
		}
		d.Lines = append(d.Lines, base.Paint(sign)+
			th.Strong.Over(base).Paint(text.Fit(text.Clean(o.Name), names, th.Glyphs.Ellipsis))+
			style.Over(base).Paint(text.Fit("  "+text.Clean(about), room, th.Glyphs.Ellipsis)+tail))
	}
}

// Empty tells whether nothing was typed to find an option.
func (p *Picker) Empty() bool { return p.in.Value() == "" }
