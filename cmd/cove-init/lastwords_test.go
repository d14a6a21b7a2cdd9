package main

import "testing"

func TestLastWords(t *testing.T) {
	for said, want := range map[string]string{
		"":                 "",
		" \r\n\n":          "",
		"one\ntwo\r\n\r\n": "two",
		"two, cut":         "two, cut",
		"50%\r100%":        "100%",
		"\x1b[1;31mred\x1b[0m\x1b(B ü\x1b[K\r\n": "red ü",
		"\x1b]0;title\x07text\x1b]2;t\x1b\\\n":   "text",
		"kept\n\x1b[2":                           "kept",
		"kept\n\x1b]0;never ends":                "kept",
		"kept\n\x1b":                             "kept",
		"a\x00\x07\x7fb\xff":                     "ab",
	} {
		if got := lastWords([]byte(said)); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}
