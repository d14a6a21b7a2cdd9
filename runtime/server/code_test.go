package server

import (
	"testing"

	"cove/runtime/api"
)

func TestLanguageOf(t *testing.T) {
	for _, c := range []struct {
		lang, name, source, profile, want string
	}{
		{"", "x.py", "#!/bin/bash", "ruby", "python"},
		{"ruby", "x.py", "", "go", "ruby"},
		{"", "", "#!/usr/bin/env -S A=1 python3.12 -u\nx", "ruby", "python"},
		{"", "", "#!/bin/sh\n", "", "bash"},
		{"", "tool", "#! /usr/bin/node", "", "javascript"},
		{"", "x.mts", "", "", "typescript"},
		{"", "x.txt", "#!/usr/bin/perl", "go", ""},
		{"", "x", "#!/usr/bin/perl", "bash", ""},
		{"", "x.pl", "print 42", "bash", ""},
		{"", "x.txt", "#!/bin/sh", "go", "bash"},
		{"bash", "x.txt", "#!/usr/bin/perl", "go", "bash"},
		{"", "x", "echo", "bash", "bash"},
		{"", "", "print(1)", "python", "python"},
		{"", "", "#!", "python", "python"},
		{"", "", "#!/usr/bin/env", "", ""},
		{"perl", "x.py", "", "python", ""},
		{"", "", "x", "", ""},
	} {
		l, err := languageOf(api.CodeRequest{Language: c.lang, Name: c.name, Source: []byte(c.source)}, c.profile)
		if l.name != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v", c, l.name, err)
		}
	}
}

func TestMissingNamesAll(t *testing.T) {
	for _, l := range languages() {
		for _, w := range l.ways {
			contains(t, noInterpreter(l), w.Needs)
		}
	}
}
