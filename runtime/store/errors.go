package store

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Errors that a caller decides on; the functions of this package wrap them.
var (
	// ErrNoSpace: the file system is full, or its quota is used up. What was
	// there before the failed write is there still.
	ErrNoSpace = errors.New("no space left")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrTooLarge: a file or a record is larger than it may be.
	ErrTooLarge = errors.New("too large")
	// ErrCorrupt: a file does not hold what it should.
	ErrCorrupt = errors.New("corrupt")
	// ErrInvalid: the argument cannot be right.
	ErrInvalid = errors.New("invalid")
	// ErrLocked: another daemon uses the directory; see [LockedError].
	ErrLocked = errors.New("in use by another daemon")
	// ErrUnsafe: others than root could get at the directory; see [UnsafeError].
	ErrUnsafe = errors.New("not safe to use")
	// ErrForeign: it belongs to another instance.
	ErrForeign = errors.New("belongs to another instance")
	// ErrExhausted: all of a kind are leased.
	ErrExhausted = errors.New("none left to lease")
	// ErrGone: there is no such process.
	ErrGone = errors.New("no such process")
)

// noSpace makes a full disk recognisable as [ErrNoSpace]; other errors, and
// nil, pass through. A quota is a full disk too.
func noSpace(err error) error {
	if (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
