package runner

import (
	"errors"
	"fmt"
)

// Kinds of failures, for errors.Is.
var (
	// ErrNotExist: the runtime knows no such container.
	ErrNotExist = errors.New("no such container")
	// ErrExist: a container with that id is there already.
	ErrExist = errors.New("the container exists already")
	// ErrRunning: the container has to end first, or was started already.
	ErrRunning = errors.New("the container is running")
	// ErrNotRunning: the container's first process has ended.
	ErrNotRunning = errors.New("the container is not running")
	// ErrTimeout: runc did not end in time and was killed, with all that it
	// had started and that was still in its process group.
	ErrTimeout = errors.New("runc did not end in time")
	// ErrNotFound: there is no runc where cove looks for it.
	ErrNotFound = errors.New("runc is not installed beside cove")
	// ErrUntrusted: somebody other than its owner could replace runc.
	ErrUntrusted = errors.New("runc cannot be trusted")
	// ErrVulnerable: this version of runc is known to let sandboxes escape
	// or to hang; see [VersionError].
	ErrVulnerable = errors.New("this version of runc is refused")
	// ErrUserNS: a process is not in the user namespace it has to be in.
	ErrUserNS = errors.New("wrong user namespace")
	// ErrGone: the process to watch has ended, or its pid is another's by now.
	ErrGone = errors.New("the process is gone")
)

// Error is a runc that failed.
type Error struct {
	Op      string // the command: "create", "start", ...
	ID      string // the container, or ""
	Message string // what runc wrote to its log, on one line and made printable
	// Err is one of the kinds above, a context's error, or how runc ended.
	Err error
}

// Error tells the command, the container and why.
func (e *Error) Error() string {
	what := "runc " + e.Op
	if e.ID != "" {
		what += " " + e.ID
	}
	if e.Message == "" {
		return fmt.Sprintf("%s: %v", what, e.Err)
	}
	return fmt.Sprintf("%s: %s (%v)", what, e.Message, e.Err)
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Err }
