package config

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a profile, the settings, a flag or a
// [Spec], told so that it can be put right.
type Problem struct {
	// File is the file in which the key is written, or the flag ("--cpu");
	// empty for a Spec that comes from neither.
	File string `json:"file,omitempty"`
	// Line and Column count from 1, the column in bytes; 0 is unknown.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Key is the dotted key, "ports[0].port"; empty when the problem is the
	// file's as a whole.
	Key string `json:"key,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Hint says what to do; it may be empty.
	Hint string `json:"hint,omitempty"`
}

// String is the problem as one line: where, which key, what, what to do.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(clean(p.File))
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
			if p.Column > 0 {
				fmt.Fprintf(&b, ":%d", p.Column)
			}
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(clean(p.Key))
		b.WriteString(": ")
	}
	b.WriteString(clean(p.Message))
	if p.Hint != "" {
		b.WriteString("; ")
		b.WriteString(clean(p.Hint))
	}
	return b.String()
}

// ProfileError is a profile, a settings file or a flag over one that cannot be
// used. It is the caller's mistake: the command line exits with status 2.
type ProfileError struct {
	// Problems holds all that is wrong, in the order of the files; never
	// empty.
	Problems []Problem
}

// Error is one line per problem.
func (e *ProfileError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// NoProfileError says that there is no profile of the name that was asked for.
// It is [io/fs.ErrNotExist] to errors.Is.
type NoProfileError struct {
	Name string
	// Nearest is the profile that may have been meant, or empty.
	Nearest string
}

// Error is one line with the nearest name, or the command that lists them, or
// that the file is not there.
func (e *NoProfileError) Error() string {
	if isPath(e.Name) {
		return fmt.Sprintf("there is no file %s; \"cove profile ls\" lists the profiles that have a name", quote(e.Name))
	}
	hint := `"cove profile ls" lists them`
	if e.Nearest != "" {
		hint = fmt.Sprintf("did you mean %s?", quote(e.Nearest))
	}
	return fmt.Sprintf("there is no profile %s; %s", quote(e.Name), hint)
}

// Is makes the error an [io/fs.ErrNotExist].
func (e *NoProfileError) Is(target error) bool { return target == fs.ErrNotExist }

// asError is nil when there are no problems.
func asError(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &ProfileError{Problems: problems}
}

// quote writes a string of the user's, or of a stranger, for a message: short,
// on one line, and without anything a terminal would act on.
func quote(s string) string { return strconv.QuoteToGraphic(clip(s)) }

// clip cuts a string that is too long for a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// clean replaces what is not to reach a terminal as it is.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unsafeRune(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// unsafeRune tells control characters (a terminal acts on them) and the marks
// that turn the direction of text (they make a line read as something else:
// CVE-2021-42574).
func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) ||
		r == 0x2028 || r == 0x2029
}
