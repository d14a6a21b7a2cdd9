package api

import "time"

// Snapshot is a state of a sandbox that was kept, or that a build made: an element
// of GET /v1/snapshots. A name is its owner's own.
type Snapshot struct {
	ID    string `json:"id"` // twelve hex digits
	Name  string `json:"name"`
	Owner int    `json:"owner"` // uid
	// Sandbox is the name of the one it was taken of, which may be gone; empty of
	// a build.
	Sandbox string `json:"sandbox,omitempty"`
	// Image is what lies lowest: "host" or a reference.
	Image string `json:"image"`
	// Parent is the id of the snapshot that it lies on, while there is one.
	Parent  string    `json:"parent,omitempty"`
	Created time.Time `json:"created"`
	// Size is what it alone occupies, in bytes: not what it lies on.
	Size   int64 `json:"size"`
	Layers int   `json:"layers"`
	// Frozen is for how long the sandbox stood still for it, in seconds, and Copied
	// how many bytes were copied; both 0 of one that was stopped.
	Frozen float64 `json:"frozen,omitempty"`
	Copied int64   `json:"copied,omitempty"`
	// Used are the names of the caller's sandboxes that are on it.
	Used []string `json:"used,omitempty"`
}

// SnapshotRequest keeps the present state of a sandbox: POST
// /v1/sandboxes/{ref}/snapshot -> 201 Snapshot.
type SnapshotRequest struct {
	// Name is made of the sandbox's when empty.
	Name string `json:"name,omitempty"`
}

// ForkRequest makes new sandboxes from the present state of one: POST
// /v1/sandboxes/{ref}/fork -> 201 ForkResult.
type ForkRequest struct {
	// Name is the fork's, or, of several, what theirs begin with: NAME-1, NAME-2.
	// It is made of the sandbox's when empty.
	Name string `json:"name,omitempty"`
	// Count is how many; 0 is one.
	Count   int               `json:"count,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"`
}

// ForkResult is what became of a fork. Some may have failed.
type ForkResult struct {
	Sandboxes []Sandbox `json:"sandboxes"`
	Errors    []Error   `json:"errors,omitempty"`
	// Frozen and Copied are as in [Snapshot].
	Frozen float64 `json:"frozen,omitempty"`
	Copied int64   `json:"copied,omitempty"`
}
