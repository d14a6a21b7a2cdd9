package api

import (
	"net/http"

	"cove/config"
	"cove/runtime/lifecycle"
)

// Code is the kind of an error; it travels over the wire and comes back as
// an error that errors.Is matches with the sentinel of the same kind.
type Code string

// The codes of errors.
const (
	CodeInvalid     Code = "invalid"     // the request itself is wrong: usage
	CodeUnsupported Code = "unsupported" // valid, but this build or kernel cannot enforce it: usage
	CodeNotFound    Code = "not_found"   // no such sandbox, or not yours
	CodeExists      Code = "exists"      // the name is taken
	CodeConflict    Code = "conflict"    // not legal in this state, or another operation is under way
	CodeForbidden   Code = "forbidden"   // the caller may not use this daemon
	CodeCanceled    Code = "canceled"    // cancelled by a delete
	CodeSetup       Code = "setup"       // a setup step of the profile's failed; the sandbox is there, in the state error
	CodeImage       Code = "image"       // the registry refused, or what came is no image
	CodeBuild       Code = "build"       // a step of a build failed; the sandbox of the build is there, in the state build_failed
	CodeArchive     Code = "archive"     // an archive is damaged, or none of cove's
	CodeExhausted   Code = "exhausted"   // disk, ids or memory ran out
	CodeUnavailable Code = "unavailable" // the daemon or the sandbox does not answer
	CodeInternal    Code = "internal"    // a fault of cove or of the host
)

// Error is an error as the API sends it, and as the [Client] returns it for what
// the daemon refused and for a daemon that does not answer.
type Error struct {
	Code    Code                `json:"code"`
	Message string              `json:"message"`
	Hint    string              `json:"hint,omitempty"`  // what to do
	Op      lifecycle.Operation `json:"op,omitempty"`    // conflict: the operation under way
	State   lifecycle.State     `json:"state,omitempty"` // conflict: the state
	// Problems are all that is wrong with a spec, where Message tells the
	// first: codes invalid and unsupported.
	Problems []config.Problem `json:"problems,omitempty"`

	// cause is why the client itself made the error; it never travels.
	cause error
}

// Error gives the message and, in parentheses, what to do about it.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (" + e.Hint + ")"
}

// Unwrap is what the client met, of an error that the client itself made (a
// refused connection, the end of a context); nil of one that the daemon sent.
func (e *Error) Unwrap() error { return e.cause }

// Is matches by code, so errors.Is(err, &Error{Code: CodeNotFound}) and the
// sentinels below work on both sides of the wire.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}

// Sentinels for errors.Is.
var (
	ErrInvalid     = &Error{Code: CodeInvalid}
	ErrUnsupported = &Error{Code: CodeUnsupported}
	ErrNotFound    = &Error{Code: CodeNotFound}
	ErrExists      = &Error{Code: CodeExists}
	ErrConflict    = &Error{Code: CodeConflict}
	ErrForbidden   = &Error{Code: CodeForbidden}
	ErrCanceled    = &Error{Code: CodeCanceled}
	ErrSetup       = &Error{Code: CodeSetup}
	ErrImage       = &Error{Code: CodeImage}
	ErrBuild       = &Error{Code: CodeBuild}
	ErrArchive     = &Error{Code: CodeArchive}
	ErrExhausted   = &Error{Code: CodeExhausted}
	ErrUnavailable = &Error{Code: CodeUnavailable}
	ErrInternal    = &Error{Code: CodeInternal}
)

// Status is the HTTP status of the error's code.
func (e *Error) Status() int {
	switch e.Code {
	case CodeInvalid:
		return http.StatusBadRequest
	case CodeUnsupported, CodeSetup, CodeImage, CodeBuild, CodeArchive:
		return http.StatusUnprocessableEntity
	case CodeNotFound:
		return http.StatusNotFound
	case CodeExists, CodeConflict, CodeCanceled:
		return http.StatusConflict
	case CodeForbidden:
		return http.StatusForbidden
	case CodeExhausted:
		return http.StatusInsufficientStorage
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	case CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}
