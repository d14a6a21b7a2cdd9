// Package mount makes mounts by file descriptor: clones of directories with
// their ids shifted (id-mapped mounts), overlays made of such clones, and
// opening files beneath a directory whatever hostile links lie in it. Nothing
// here needs a path below the caller's own directories to be reachable by
// anyone else: layers and uppers reach the kernel as descriptors, so the
// directory that holds them can stay closed.
//
// Kernels differ. [Detect] finds out by doing which way of making an overlay
// works on this one, and the resulting [Mounter] uses the best.
package mount

import "errors"

// Errors a caller decides on; use [errors.Is].
var (
	// ErrNoIDMap: this kernel, or the file system in question, cannot shift
	// ids on a mount, or make an overlay of such mounts. The error that wraps
	// it names what is missing.
	ErrNoIDMap = errors.New("id-mapped mounts are not available")
	// ErrReadOnly: the kernel mounted an overlay read-only though it was
	// given an upper directory: it could not write into the work directory.
	ErrReadOnly = errors.New("the overlay came up read-only")
	// ErrClosed: used after Close.
	ErrClosed = errors.New("closed")
)
