package api

import (
	"time"

	"cove/config"
)

// Image is an image that sandboxes can be made from: an element of GET /v1/images.
type Image struct {
	// ID is the digest of its config, "sha256:" and 64 hex digits.
	ID string `json:"id"`
	// Ref is what it is called; empty of one whose name went to another.
	Ref string `json:"ref,omitempty"`
	// Digest is that of its manifest, where it was pulled.
	Digest   string `json:"digest,omitempty"`
	Platform string `json:"platform"` // "linux/amd64"
	Owner    int    `json:"owner"`    // uid
	// Size is what its layers occupy, in bytes; layers of several images count in
	// each.
	Size    int64              `json:"size"`
	Layers  int                `json:"layers"`
	Created time.Time          `json:"created,omitzero"` // as it says itself
	Pulled  time.Time          `json:"pulled"`
	Used    []string           `json:"used,omitempty"` // names of the sandboxes and snapshots on it, the caller's
	Config  config.ImageConfig `json:"config"`
}

// RegistryAuth is what the caller's own configuration has for a registry. It is
// kept in no file.
type RegistryAuth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identity_token,omitempty"`
	RegistryToken string `json:"registry_token,omitempty"`
}

// PullRequest gets an image from a registry: POST /v1/images/pull, answered by
// Progress, one a line, the last of which has the Image or an Error.
type PullRequest struct {
	Ref string `json:"ref"`
	// Platform is "os/arch[/variant]"; default: the machine's.
	Platform string        `json:"platform,omitempty"`
	Auth     *RegistryAuth `json:"auth,omitempty"`
}

// ImportRequest takes an image that the caller reads from a file: POST
// /v1/images/import, upgraded to [StreamProtocol]: a tar, of an OCI layout or
// what "docker save" makes, goes in by stdin, Progress comes, one a line, on
// stdout.
type ImportRequest struct {
	// Ref is what it is to be called; empty: what it is called in the archive.
	Ref string `json:"ref,omitempty"`
	// Tag chooses one of several in the archive.
	Tag      string `json:"tag,omitempty"`
	Platform string `json:"platform,omitempty"`
}

// ExportRequest gives an image, or a snapshot, away: POST /v1/images/export,
// upgraded to [StreamProtocol]: the tar of an OCI layout comes on stdout.
type ExportRequest struct {
	// Ref is an image's name or id, or "snapshot:NAME".
	Ref string `json:"ref"`
	// Docker has "docker load" of any age take it.
	Docker bool `json:"docker,omitempty"`
}

// PruneReport is the answer to POST /v1/images/prune: what nothing uses goes.
type PruneReport struct {
	Images []Image `json:"images"`
	Freed  int64   `json:"freed"` // bytes
}

// Progress is what something long is at.
type Progress struct {
	// Text is a few words for people: "pulling 3 layers".
	Text string `json:"text,omitempty"`
	// Done of Total bytes; Total 0 is not known.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	// Log is output of what is being built.
	Log *LogLine `json:"log,omitempty"`

	// One of these is in the last.
	Image    *Image    `json:"image,omitempty"`
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}
