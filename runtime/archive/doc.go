// Package archive keeps a tree of files as one file that proves itself: a tar,
// compressed with zstd, that ends in a manifest with a checksum of all before it.
//
// The tar's entries, in this order:
//
//	cove/archive.json   a version, and what the caller keeps beside the tree
//	tree/...            the tree, directories before what is in them
//	cove/manifest.json  the [Manifest]
//
// It can be read by any tar that knows PAX (POSIX.1-2008, pax) and zstd (RFC
// 8878): owners by number, times to the nanosecond, extended attributes as
// SCHILY.xattr records, hard links as such. Two things are cove's own: a file with
// holes is kept without them, its map in the records [sparseSize] and
// [sparseMap]; and a whiteout of overlayfs is the character device 0/0 that it
// is on disk.
//
// Not kept: sockets, which nobody listens on any more, inode flags, access times,
// and the attributes by which overlayfs ties a layer to those below it.
package archive

import (
	"encoding/json"
	"errors"
)

// Errors a caller decides on; use [errors.Is].
var (
	// ErrDamaged: this is no archive of cove's, or not what was written:
	// broken off, or changed.
	ErrDamaged = errors.New("the archive is damaged")
	// ErrHostile: it holds what cove never writes: names that lead out of it,
	// devices.
	ErrHostile = errors.New("the archive is not cove's")
	// ErrTooLarge: it holds more than the reader's limits allow.
	ErrTooLarge = errors.New("the archive is too large")
	// ErrVersion: a newer cove wrote it.
	ErrVersion = errors.New("the archive needs a newer cove")
)

// Version is of what this package writes, and the newest that it reads.
const Version = 1

// Manifest is what an archive says of itself at its end.
type Manifest struct {
	Version int `json:"version"`
	// Entries are the files, directories and links of the tree, Bytes the
	// contents of its files, without holes.
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"`
	// Skipped are the sockets that were left out.
	Skipped int64 `json:"skipped,omitempty"`
	// SHA256 is of the tar up to the manifest's own entry, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// head is cove/archive.json.
type head struct {
	Version int             `json:"version"`
	Meta    json.RawMessage `json:"meta"`
}

const (
	headName     = "cove/archive.json"
	treeName     = "tree/"
	manifestName = "cove/manifest.json"
	// maxMeta is how much the caller may keep beside a tree, in bytes.
	maxMeta     = 4 << 20
	maxManifest = 4 << 10

	xattrPrefix = "SCHILY.xattr."
	sparseSize  = "COVE.sparse.size"
	sparseMap   = "COVE.sparse.map" // "offset:length,..." of what is no hole
	// maxExtents is how many pieces a sparse map has: a PAX record of Go's
	// reader holds a mebibyte. A file in more pieces is kept with its holes.
	maxExtents = 16384

	copyBuffer = 256 << 10
	// maxWindow is what a reader keeps in memory of the stream: more than any
	// level of the writer's uses.
	maxWindow = 32 << 20
)
