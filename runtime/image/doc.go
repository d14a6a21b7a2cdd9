// Package image gets the images that sandboxes are made from: from registries, and
// from what a caller reads from a file. An image is a config and a list of layers;
// its layers go into the store of package rootfs, each unpacked once whatever
// images have it, under a name that is the digest of what is in it.
//
// A registry is not trusted, and neither is an image. What is fetched has the
// digest and the size that the manifest says, and what is unpacked the one that
// the config says, or nothing of it is kept. A layer makes files beneath its own
// directory and nowhere else.
//
// Images belong to users: who has one has shown the registry that he may, or has
// brought it. Layers are shared.
package image

import (
	"errors"
	"fmt"
	"time"

	"cove/config"
)

// Errors a caller decides on; use [errors.Is].
var (
	// ErrNotFound: there is no such image.
	ErrNotFound = errors.New("no such image")
	// ErrReference: what was asked for is no reference to an image.
	ErrReference = errors.New("not a reference to an image")
	// ErrRegistry: the registry refused, or does not answer. The error that wraps
	// it has its message.
	ErrRegistry = errors.New("the registry")
	// ErrCorrupt: what came is not what was promised.
	ErrCorrupt = errors.New("the image is corrupt")
	// ErrHostile: a layer holds what no layer may.
	ErrHostile = errors.New("the image is not well-formed")
	// ErrTooLarge: it is more than the limits allow.
	ErrTooLarge = errors.New("the image is too large")
	// ErrPlatform: it is not made for this machine.
	ErrPlatform = errors.New("the image is not for this machine")
)

// Image is an image that a user has.
type Image struct {
	// ID is the digest of its config: "sha256:" and 64 hex digits.
	ID string `json:"id"`
	// Ref is what it is called, in full.
	Ref string `json:"ref"`
	// Digest is that of its manifest; empty of one that was imported.
	Digest   string    `json:"digest,omitempty"`
	Platform string    `json:"platform"`
	Owner    int       `json:"owner"` // uid
	Created  time.Time `json:"created,omitzero"`
	Pulled   time.Time `json:"pulled"`
	// Layers are names in the store of layers, the lowest first.
	Layers []string           `json:"layers"`
	Config config.ImageConfig `json:"config"`
}

// Progress is how far a pull has come.
type Progress struct {
	// Layers are those that are missing here, Done of Total bytes of which have
	// come.
	Layers      int
	Done, Total int64
	// Unpacking says that all has come.
	Unpacking bool
}

// Limits are what one layer may hold.
type Limits struct {
	// Entries are files, directories and links; Bytes is the contents of files.
	Entries, Bytes int64
}

// DefaultLimits are more than any image that people use needs.
func DefaultLimits() Limits { return Limits{Entries: 2_000_000, Bytes: 64 << 30} }

// short is a digest for people.
func short(digest string) string {
	const n = len("sha256:") + 12
	return digest[:min(n, len(digest))]
}

// layerName is the name of the layer whose contents have the digest.
func layerName(algorithm, hex string) string { return fmt.Sprintf("%s-%s", algorithm, hex) }
