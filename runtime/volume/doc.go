// Package volume brings directories of the host into sandboxes, for as long as
// those run: the mounts of a Spec.
//
// The daemon opens no path that a caller names. A directory arrives as a
// descriptor that the caller opened ([Host.Admit]); what is kept of it is its
// [Identity]. When the sandbox starts again, a child with the owner's ids opens
// the path ([Host.Reopen]), and what it finds has to be the same directory.
//
// What a sandbox may do in the directory is what its owner may do there, at
// most. The mount shifts owners: the owner's id on disk is the sandbox's user,
// and nobody else's id is anybody inside. So what the sandbox's user writes is
// the owner's outside, what belongs to others can be read where all may read
// it, and be changed not at all. The sandbox's root has no id there: it may do
// to the owner's files what root may, and make none of its own.
//
// Mounts are nosuid and nodev, and what is mounted below the directory on the
// host is not in them. What they do not prevent, since the files are the
// owner's: that the sandbox makes symbolic links that lead a careless program
// of the host elsewhere, programs that somebody runs, or setuid programs of its
// owner. A writable mount trusts the sandbox with the directory.
package volume

import "fmt"

// Error is why one mount cannot be. It is the caller's to mend.
type Error struct {
	// Index is the mount's place in the Spec.
	Index int
	// Volume says that it is a named volume's, and Index the place among those.
	Volume bool
	// Message says what is wrong, Hint what to do; it may be empty.
	Message, Hint string
	// Unsupported says that the request is right, but this machine cannot.
	Unsupported bool
	// Err is the cause, or nil.
	Err error
}

// Reason is what is wrong, with its cause.
func (e *Error) Reason() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Error is one line.
func (e *Error) Error() string {
	s := e.Reason()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func refuse(hint, format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), Hint: hint}
}
