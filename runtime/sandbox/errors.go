package sandbox

import (
	"errors"
	"fmt"

	"cove/config"
	"cove/runtime/lifecycle"
)

// Errors that a caller decides on; the Manager wraps them.
var (
	// ErrNotFound: no such sandbox, or none that the caller may see.
	ErrNotFound = errors.New("no such sandbox")
	// ErrExists: the name is taken.
	ErrExists = errors.New("the name is taken")
	// ErrCanceled: a delete cancelled the operation.
	ErrCanceled = errors.New("cancelled because the sandbox is being deleted")
	// ErrUnavailable: the sandbox, or the daemon that is shutting down, does not answer.
	ErrUnavailable = errors.New("does not answer")
	// ErrTooMany: the caller has all the sandboxes that one user may have.
	ErrTooMany = errors.New("too many sandboxes")
	// ErrUnsupported: this host, or the sandbox's PID 1, cannot do it.
	ErrUnsupported = errors.New("not supported here")
	// ErrNoSpace: the host's disk is full.
	ErrNoSpace = errors.New("no space left on the state directory's disk")
)

// InvalidError is a request that cannot be right: its spec or its name.
// Unsupported says that it is valid, but not enforceable here.
type InvalidError struct {
	Problems    []config.Problem
	Unsupported bool
}

func (e *InvalidError) Error() string {
	if len(e.Problems) == 0 {
		return "invalid request"
	}
	return e.Problems[0].String()
}

// MountError is a directory of the host's that a sandbox mounts and that
// cannot be mounted as it is now.
type MountError struct {
	Message, Hint string // what is wrong, and what to do
	Err           error
}

func (e *MountError) Error() string { return e.Message }
func (e *MountError) Unwrap() error { return e.Err }

// SetupError is a setup step of the profile's that failed. The sandbox is there,
// in the state error: its setup.log has all that the steps printed, and a start
// goes on with the step that failed.
type SetupError struct {
	Name        string
	Step, Steps int    // the first is 1
	Headline    string // the beginning of the step
	// Why is in one line, fit for a terminal, and holds no secret.
	Why string
}

func (e *SetupError) Error() string {
	return fmt.Sprintf("%s: setup step %d/%d (%s) failed: %s", e.Name, e.Step, e.Steps, e.Headline, e.Why)
}

// ConflictError is an operation that the table does not allow in this state,
// or that another one, under way, excludes.
type ConflictError struct {
	Name  string
	Op    lifecycle.Operation // the one under way, or ""
	State lifecycle.State
	Why   string
}

func (e *ConflictError) Error() string { return fmt.Sprintf("%s: %s", e.Name, e.Why) }
