package api

import (
	"time"

	"cove/config"
)

// Volume is a named volume: an element of GET /v1/volumes. A name is its owner's
// own.
type Volume struct {
	Name    string    `json:"name"`
	Owner   int       `json:"owner"` // uid
	Created time.Time `json:"created"`
	// Quota is the most that it holds, in bytes; 0 is no limit.
	Quota config.Size `json:"quota"`
	// Used is what it occupies, in bytes; -1 where that is not known.
	Used int64 `json:"used"`
	// Sandboxes are the names of those that have it, running or not.
	Sandboxes []string `json:"sandboxes,omitempty"`
}

// VolumeRequest makes a volume: POST /v1/volumes -> 201 Volume.
type VolumeRequest struct {
	Name  string      `json:"name"`
	Quota config.Size `json:"quota,omitempty"`
}

// AttachVolumeRequest gives a sandbox a volume, at once where it runs, and from
// the next start on: POST /v1/sandboxes/{ref}/volumes -> Sandbox.
type AttachVolumeRequest struct{ config.Volume }

// DetachVolumeRequest takes it away again: POST /v1/sandboxes/{ref}/volumes/detach
// -> Sandbox.
type DetachVolumeRequest struct {
	// Target is where it is inside, or its name where it is there once.
	Target string `json:"target"`
}
