package tui

import "testing"

// Two escs that come together, which terminals send for alt+esc too, are two.
func TestTwoEscs(t *testing.T) {
	m := newModel(t, 100, 24, fleet(noon())...)
	m.key("a")
	m.see("─ Activity")
	m.key("/")
	m.typed("xyz")
	m.key("enter")
	m.see("/ xyz")
	m.key("alt+esc")
	m.gone("─ Activity")
}
