// Package theme is how the TUI looks: about sixteen tokens and a set of
// glyphs. Everything that draws takes its styles from here and no colour
// alone ever carries a meaning: a state has a glyph and a word, the selected
// row is reversed and has a marker.
package theme

// Theme is a set of tokens.
type Theme struct {
	Text   Style // ordinary text
	Muted  Style // what can be overlooked: ages, hints, disabled actions
	Strong Style // what the eye should find first: names
	Title  Style // the program's name, titles of dialogs
	Border Style // lines around dialogs
	Column Style // titles of columns
	Select Style // the selected row, laid under its cells
	Key    Style // keys in hints and in the help
	Mark   Style // the sign of a marked row, and how many there are
	Spark  Style // sparklines and graphs
	Track  Style // the empty part of a bar

	OK   Style // runs
	Busy Style // on its way
	Rest Style // at rest: stopped, archived
	Warn Style // needs a look
	Bad  Style // failed

	Input   Style // text being typed
	Button  Style // a button of a dialog
	Focused Style // the button that Enter presses
	Danger  Style // that button, when it destroys something

	Glyphs Glyphs
}

// Glyphs are the signs that are not words.
type Glyphs struct {
	Started, Stopped, Passing, Failed, Unknown, Archived, Paused string

	Marker   string // before the selected row
	Ellipsis string
	Dot      string // between items of a line
	Branch   string // before a line that belongs to the row
	Mark     string // a row that is marked
	None     string // a value that is not known or is nothing
	Look     string // before a count of what needs a look
	// The order of a column, as seen from its title.
	Descending, Ascending string
	// Levels are the steps of a sparkline, from low to high.
	Levels string
	// Fill and Track are the used and the empty cells of a bar.
	Fill, Track string
	Up, Down    string // arrow keys, in hints

	TopLeft, TopRight, BottomLeft, BottomRight, Horizontal, Vertical string
}

// Options choose a theme.
type Options struct {
	// Light is for a light background.
	Light bool
	// NoColor uses attributes only: NO_COLOR is set, or the terminal has none.
	NoColor bool
	// ASCII uses no character outside ASCII.
	ASCII bool
}

// New returns the theme for o. The colours are the terminal's own sixteen,
// and two greys, so the theme is right on any background that is really light
// or dark: bright ones on dark, dark ones on light, where bright yellow and
// cyan cannot be read.
func New(o Options) Theme {
	t := Theme{
		Strong: Style{Attr: Bold}, Title: Style{Attr: Bold}, Select: Style{Attr: Reverse},
		Key: Style{Attr: Bold}, Mark: Style{Attr: Bold}, Warn: Style{Attr: Bold}, Bad: Style{Attr: Bold},
		Input: Style{Attr: Underline}, Focused: Style{Attr: Reverse | Bold}, Danger: Style{Attr: Reverse | Bold},
		Glyphs: unicodeGlyphs(),
	}
	if o.ASCII {
		t.Glyphs = asciiGlyphs()
	}
	switch {
	case o.NoColor:
		t.Muted, t.Rest, t.Border, t.Track = Style{Attr: Faint}, Style{Attr: Faint}, Style{Attr: Faint}, Style{Attr: Faint}
		t.Column = Style{Attr: Underline}
	case o.Light:
		t.paint(palette{grey: 242, line: 248, ok: 2, busy: 4, warn: 130, bad: 1, accent: 25})
	default:
		t.paint(palette{grey: 246, line: 240, ok: 10, busy: 14, warn: 11, bad: 9, accent: 12})
	}
	return t
}

// palette is what differs between light and dark, as palette indices.
type palette struct{ grey, line, ok, busy, warn, bad, accent uint8 }

func (t *Theme) paint(p palette) {
	t.Muted, t.Rest, t.Border = Style{Fg: Index(p.grey)}, Style{Fg: Index(p.grey)}, Style{Fg: Index(p.line)}
	t.Column = Style{Fg: Index(p.grey), Attr: Bold}
	t.Track, t.Spark = Style{Fg: Index(p.line)}, Style{Fg: Index(p.busy)}
	t.Mark = Style{Fg: Index(p.accent), Attr: Bold}
	t.Title, t.Key = Style{Fg: Index(p.accent), Attr: Bold}, Style{Fg: Index(p.accent), Attr: Bold}
	t.OK, t.Busy = Style{Fg: Index(p.ok)}, Style{Fg: Index(p.busy)}
	t.Warn, t.Bad = Style{Fg: Index(p.warn), Attr: Bold}, Style{Fg: Index(p.bad), Attr: Bold}
	t.Danger = Style{Fg: Index(p.bad), Attr: Reverse | Bold}
}

func unicodeGlyphs() Glyphs {
	return Glyphs{
		Started: "●", Stopped: "○", Passing: "◐", Failed: "✗", Unknown: "?", Archived: "▫", Paused: "◇",
		Marker: ">", Ellipsis: "…", Dot: "·", Branch: "└", Mark: "◆", Look: "▲", None: "–", Descending: "▼", Ascending: "▲",
		Levels: "▁▂▃▄▅▆▇█", Fill: "━", Track: "─", Up: "↑", Down: "↓",
		TopLeft: "╭", TopRight: "╮", BottomLeft: "╰", BottomRight: "╯", Horizontal: "─", Vertical: "│",
	}
}

func asciiGlyphs() Glyphs {
	return Glyphs{
		Started: "*", Stopped: "o", Passing: "~", Failed: "x", Unknown: "?", Archived: "-", Paused: "=",
		Marker: ">", Ellipsis: "~", Dot: "-", Branch: "`", Mark: "+", Look: "!", None: "-", Descending: "v", Ascending: "^",
		Levels: "_.-~=+*#", Fill: "=", Track: "-", Up: "up", Down: "down",
		TopLeft: "+", TopRight: "+", BottomLeft: "+", BottomRight: "+", Horizontal: "-", Vertical: "|",
	}
}
