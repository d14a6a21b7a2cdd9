// Package disk gives sandboxes disks with a hard quota: a file system of its own
// for everything that a sandbox writes, so that a full one is ENOSPC inside and
// hurts nobody else.
//
// A disk is a sparse file, disk.img, in the sandbox's directory, with ext4 in it,
// that a loop device serves. The quota is the size of that file: it is the most
// that the host can lose to the sandbox, and what df shows inside as the size.
// What ext4 needs for itself (a journal of 1/64, from 4 to 64 MiB, and inodes of
// 1/64, of a small disk 1/32) is part of it and shown as used, so that a little less
// can be written: 56 MiB of 64. The file grows as
// the sandbox writes, and what is deleted inside is given back to the host while
// it runs and when it stops, except where the whole quota was set aside.
//
// Nothing of a mounted disk can leak, however the daemon ends: it is mounted
// nowhere, only descriptors and the overlay made of it lead to it, and the loop
// device goes with the last of them. A daemon that finds the sandbox running
// finds the device by the name that it bears, and so the same file system.
//
// An image is only ever made here, and written by the kernel alone: the kernel's
// ext4 does not stand up to images that somebody made to harm it, so one that
// comes from outside must never be brought here to be mounted.
package disk

import (
	"errors"
	"fmt"

	"cove/config"
)

// Errors a caller decides on; use [errors.Is].
var (
	// ErrOffline: the disk of a running sandbox cannot grow on this machine; it
	// can once the sandbox is stopped.
	ErrOffline = errors.New("this machine grows disks only of stopped sandboxes")
	// ErrShrink: a disk only grows.
	ErrShrink = errors.New("a disk can only grow")
	// ErrNoSpace: the host has not the space that is to be set aside. The error
	// that wraps it tells how much there is.
	ErrNoSpace = errors.New("not enough space on the host's disk")
	// ErrTools: a program of e2fsprogs that is needed is not installed.
	ErrTools = errors.New("e2fsprogs is missing")
	// ErrDamaged: the image is missing, or what is in it needs a person.
	ErrDamaged = errors.New("the sandbox's disk is damaged")
	// ErrNotOpen: the sandbox's disk is not mounted, or it has none.
	ErrNotOpen = errors.New("the sandbox's disk is not mounted")
	// ErrClosed: used after Close.
	ErrClosed = errors.New("closed")
)

// Spec is what is asked of a disk.
type Spec struct {
	// Size is the quota in bytes; 0 is none, and then there is no disk: the
	// sandbox's files lie in its directory.
	Size int64
	// Reserve has the whole quota set aside on the host.
	Reserve bool
	// Leave is what must be free there once it is.
	Leave int64
}

// SpecOf is what a sandbox's resources ask for.
func SpecOf(r config.Resources) Spec { return Spec{Size: int64(r.Disk), Reserve: r.DiskReserve} }

// Usage is how full a disk is, in bytes.
type Usage struct {
	// Quota is the size of the disk, 0 where there is none.
	Quota int64
	// Growing says that it is larger than its file system: a daemon was killed
	// while it made it grow.
	Growing bool
	// Used is what counts against the quota; only known while the disk is open.
	Used int64
	// Host is what it occupies on the host, at most Quota and a few blocks of
	// the host's to find them by. What is deleted inside is given back some time later.
	Host int64
}

// Device is a block device by its numbers, as cgroup files name it.
type Device struct{ Major, Minor uint32 }

// String gives "major:minor".
func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }
