// Package rootfs makes the root of a sandbox from this machine's own system:
// its /usr, seen read-only through an overlay, and a skeleton of everything
// else, built from an allow list. Nothing has to be pulled, and a sandbox has
// the tools its user has.
//
// Two overlays make one root: the skeleton below the sandbox's own changes at
// /, and the host's /usr below its changes at /usr, with a layer of whiteouts
// between them. The whiteouts matter: root inside equals on-disk root, so it
// could read every file of /usr that only the host's root may read. Whatever
// is not readable by everyone on the host is therefore not there.
//
// What a sandbox can read of the host, then, is: what every user of the host
// can read in /usr (without /usr/local/etc and /usr/home), the allow-listed
// part of /etc filtered the same way, and the package database.
//
// Residual windows, all of which concern only files that appear in the host's
// /usr without being readable by everyone. A sandbox that is already mounted
// does not get new whiteouts: such a file, made after the mount in a directory
// the sandbox can see, is readable by its root. New mounts know of a new file,
// or of a directory closed later, at most [recheckEvery] after it appeared plus
// the duration of the check, and of a file that everyone could read until its
// mode was changed at most [rescanEvery] after that. Programs that keep secrets
// below /usr outside /usr/local/etc are what remains exposed.
package rootfs

import (
	"errors"
	"time"
)

// Errors a caller decides on; use [errors.Is]. Those of package mount, such as
// mount.ErrNoIDMap, are passed on.
var (
	// ErrHostLayout: this host's directories are not laid out so that a root
	// can be made of them. The error that wraps it says what is wrong.
	ErrHostLayout = errors.New("the host image cannot be made from this system")
	// ErrDamaged: what is on disk of the sandbox makes no root: its upper is
	// missing, or it replaced a directory that must exist by something else.
	ErrDamaged = errors.New("the sandbox's root is damaged")
	// ErrMounted: something is mounted at the target already.
	ErrMounted = errors.New("already mounted")
	// ErrClosed: used after Close.
	ErrClosed = errors.New("closed")
)

const (
	// recheckEvery is how often, at most, the directories of /usr are looked
	// at again while sandboxes are being made.
	recheckEvery = 30 * time.Second
	// rescanEvery is the same for every file of them.
	rescanEvery = 10 * time.Minute
)

// DevUID is the id, and group id, of the user dev inside.
const DevUID = 1000
