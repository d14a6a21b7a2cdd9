package theme

import (
	"reflect"
	"testing"

	"cove/tui/internal/require"
)

func TestPaint(t *testing.T) {
	require.Equal(t, "x", Style{}.Paint("x"))
	require.Equal(t, "", Style{Attr: Bold}.Paint(""))
	require.Equal(t, "\x1b[1mx\x1b[m", Style{Attr: Bold}.Paint("x"))
	require.Equal(t, "\x1b[1;7;31;44mx\x1b[m", Style{Fg: Index(1), Bg: Index(4), Attr: Bold | Reverse}.Paint("x"))
	require.Equal(t, "\x1b[2;4;92;101mx\x1b[m", Style{Fg: Index(10), Bg: Index(9), Attr: Faint | Underline}.Paint("x"))
	require.Equal(t, "\x1b[38;5;242;48;5;255mx\x1b[m", Style{Fg: Index(242), Bg: Index(255)}.Paint("x"))
	require.Equal(t, "\x1b[30mx\x1b[m", Style{Fg: Index(0)}.Paint("x"), "black is not the default")
}

func TestOver(t *testing.T) {
	row := Style{Bg: Index(4), Attr: Reverse}
	require.Equal(t, Style{Fg: Index(2), Bg: Index(4), Attr: Reverse | Bold}, Style{Fg: Index(2), Attr: Bold}.Over(row))
	require.Equal(t, Style{Bg: Index(1), Attr: Reverse}, Style{Bg: Index(1)}.Over(row))
	require.Equal(t, Style{Attr: Bold}, Style{}.With(Bold))
}

// styles are the tokens of a theme.
func styles(t Theme) []Style {
	var out []Style
	v := reflect.ValueOf(t)
	for i := range v.NumField() {
		if s, ok := v.Field(i).Interface().(Style); ok {
			out = append(out, s)
		}
	}
	return out
}

func TestNoColorHasNone(t *testing.T) {
	for _, light := range []bool{false, true} {
		for _, s := range styles(New(Options{NoColor: true, Light: light})) {
			require.Equal(t, 0, s.Fg)
			require.Equal(t, 0, s.Bg)
		}
	}
}

func TestLightIsNotDark(t *testing.T) {
	dark, light := New(Options{}), New(Options{Light: true})
	require.NotEqual(t, dark.OK, light.OK)
	for _, s := range styles(light) {
		require.NotIn(t, []Color{Index(10), Index(11), Index(14), Index(15)}, s.Fg, "bright colours cannot be read on white")
	}
}

func TestASCIIHasNothingElse(t *testing.T) {
	v := reflect.ValueOf(asciiGlyphs())
	for i := range v.NumField() {
		s := v.Field(i).String()
		require.NotEmpty(t, s, v.Type().Field(i).Name)
		for _, r := range s {
			require.AtMost(t, r, rune(0x7e), v.Type().Field(i).Name)
		}
	}
	v = reflect.ValueOf(unicodeGlyphs())
	for i := range v.NumField() {
		require.NotEmpty(t, v.Field(i).String(), v.Type().Field(i).Name)
	}
}
