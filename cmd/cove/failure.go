package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"cove/config"
	"cove/runtime/api"
)

// Exit statuses of the program itself. Commands that run something in a
// sandbox exit with that program's status instead.
const (
	statusDone   = 0
	statusFailed = 1
	statusUsage  = 2
)

// statusInterrupted is what a shell reports for a program ended by SIGINT.
const statusInterrupted = 128 + 2

// usageError is a request that is wrong as written: exit status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes a usageError of a formatted message.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// exitError ends the program with a status. Without err it says nothing: what
// there was to say has been said, or the status says it all.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// hintError is an error with the one thing to do about it.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() + " (" + e.hint + ")" }
func (e *hintError) Unwrap() error { return e.err }

// hint adds what to do to err. An error that already says so keeps its own.
func hint(err error, format string, args ...any) error {
	if hasHint(err) {
		return err
	}
	return &hintError{err, fmt.Sprintf(format, args...)}
}

func hasHint(err error) bool {
	var h *hintError
	if errors.As(err, &h) {
		return true
	}
	var e *api.Error
	return errors.As(err, &e) && e.Hint != ""
}

// statusOf is the exit status that err stands for.
func statusOf(err error) int {
	var exit *exitError
	var usage *usageError
	var profile *config.ProfileError
	var noProfile *config.NoProfileError
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &exit):
		return exit.status
	case errors.As(err, &usage), errors.As(err, &profile), errors.As(err, &noProfile),
		errors.Is(err, api.ErrInvalid), errors.Is(err, api.ErrUnsupported):
		return statusUsage
	case errors.Is(err, context.Canceled):
		return statusInterrupted
	}
	return statusFailed
}

// complain writes err as one line: what, why and what to do. An exitError is
// without words of its own is silent.
func complain(w io.Writer, what string, err error) {
	var exit *exitError
	if err == nil || errors.As(err, &exit) && exit.err == nil {
		return
	}
	msg := err.Error()
	var profile *config.ProfileError
	if errors.As(err, &profile) && len(profile.Problems) > 1 {
		msg = fmt.Sprintf("%s (and %d more; cove profile check tells all of a profile)", profile.Problems[0], len(profile.Problems)-1)
	}
	if errors.Is(err, context.Canceled) {
		msg = "interrupted"
	}
	if what != "" {
		msg = what + ": " + msg
	}
	// There is nobody left to tell when stderr itself fails.
	_, _ = io.WriteString(w, "cove: "+oneLine(msg)+"\n")
}

// oneLine makes s safe to print as one line: an error may quote what a program
// in a sandbox said, and that must not reach the terminal as control codes.
func oneLine(s string) string {
	var b strings.Builder
	space := false
	for _, r := range strings.TrimSpace(s) {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			space = true
			continue
		case r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0:
			continue
		case r == '\u200e' || r == '\u200f' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069':
			// Bidirectional overrides make a line read as another one.
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
