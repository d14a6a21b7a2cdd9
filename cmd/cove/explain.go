package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// explain adds to an error of the daemon's the sandbox it is about and what to
// do, where the daemon did not say so itself. name may be empty.
func explain(err error, name string) error {
	if err == nil {
		return nil
	}
	var e *api.Error
	if !errors.As(err, &e) {
		return prefixed(err, name)
	}
	err = prefixed(err, name)
	switch e.Code {
	case api.CodeNotFound:
		return hint(err, "see: cove ls")
	case api.CodeExists:
		return hint(err, "choose another name with -n, or remove that one if it is yours: cove rm %s", orPlaceholder(name))
	case api.CodeForbidden:
		return hint(err, "become a member of group cove: sudo usermod -aG cove $USER")
	case api.CodeConflict:
		if e.Op == "" && e.State == lifecycle.Stopped && !strings.Contains(e.Message, "; cove ") { // it says what to do
			return hint(err, "start it with: cove start %s", orPlaceholder(name))
		}
		if e.Op == "" && e.State == lifecycle.Paused {
			return hint(err, "let it go on with: cove resume %s", orPlaceholder(name))
		}
		if e.Op == "" && e.State == lifecycle.Error {
			return hint(err, "what went wrong: cove inspect %[1]s; to try again: cove start %[1]s", orPlaceholder(name))
		}
		if e.Op != "" && !strings.Contains(e.Message, "try again") {
			return hint(err, "try again when %s is done", e.Op)
		}
	case api.CodeExhausted:
		return hint(err, "make room, or remove what you do not need: cove ls, cove rm")
	case api.CodeInternal:
		return hint(err, "the daemon's log says more")
	case api.CodeInvalid, api.CodeUnsupported, api.CodeCanceled, api.CodeSetup, api.CodeUnavailable,
		api.CodeImage, api.CodeBuild, api.CodeArchive:
	}
	return err
}

// prefixed puts the name of a sandbox before an error that does not name it.
func prefixed(err error, name string) error {
	text := err.Error()
	if name == "" || strings.HasPrefix(text, name+":") || strings.HasSuffix(text, ": "+name) || strings.Contains(text, strconv.Quote(name)) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

func orPlaceholder(name string) string {
	if name == "" {
		return "NAME"
	}
	return name
}
