// Package cow is the daemon's side of copy-on-write mounts of host directories:
// what a directory held when a sandbox got it ([Take], [Manifest]), what the
// sandbox has changed ([Write]), and taking changes back ([Discard]).
//
// The upper directories are the sandbox's, and hostile; they are read beneath
// descriptors, no link is followed, and nothing of a directory of the host's but
// names and times is looked at.
package cow

import "errors"

// Errors a caller decides on; use [errors.Is].
var (
	// ErrTooMany: more files were changed than can be listed.
	ErrTooMany = errors.New("too many files")
	// ErrHidden: what is to be discarded lies in a directory that was deleted or
	// replaced as a whole.
	ErrHidden = errors.New("its directory was replaced as a whole")
	// ErrDamaged: the file of the manifest is not whole.
	ErrDamaged = errors.New("the list of what the directory held is damaged")
)
