package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

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

// SnapshotRef names a snapshot: POST /v1/snapshots/rm.
type SnapshotRef struct {
	// Ref is a name, an id or the beginning of one.
	Ref string `json:"ref"`
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
	// Dirs are as in [CreateRequest].
	Dirs []*os.File `json:"-"`
}

// ForkResult is what became of a fork. Some may have failed.
type ForkResult struct {
	Sandboxes []Sandbox `json:"sandboxes"`
	Errors    []Error   `json:"errors,omitempty"`
	// Frozen and Copied are as in [Snapshot].
	Frozen float64 `json:"frozen,omitempty"`
	Copied int64   `json:"copied,omitempty"`
}

// Snapshot keeps the present state of a sandbox that is started, stopped or paused.
// Codes: not_found, conflict, exists (the name), exhausted. Stable.
func (c *Client) Snapshot(ctx context.Context, ref string, r SnapshotRequest) (Snapshot, error) {
	var s Snapshot
	return s, c.of(ctx, http.MethodPost, ref, "snapshot", nil, r, &s)
}

// Snapshots lists the caller's snapshots, the oldest first. Stable.
func (c *Client) Snapshots(ctx context.Context) ([]Snapshot, error) {
	var list []Snapshot
	return list, c.do(ctx, http.MethodGet, "/snapshots", nil, nil, &list)
}

// RemoveSnapshot removes a snapshot; sandboxes that were made of it are as before.
// Codes: not_found. Stable.
func (c *Client) RemoveSnapshot(ctx context.Context, ref string) (Snapshot, error) {
	var s Snapshot
	return s, c.do(ctx, http.MethodPost, "/snapshots/rm", nil, SnapshotRef{Ref: ref}, &s)
}

// Fork makes sandboxes of the present state of one, and returns when they run; what
// is wrong with one of them is in the result. Codes as [Client.Snapshot] and
// [Client.Create]. Stable.
func (c *Client) Fork(ctx context.Context, ref string, r ForkRequest) (ForkResult, error) {
	var f ForkResult
	path, err := sandboxPath(ref, "fork")
	if err != nil {
		return f, err
	}
	k, err := c.call(ctx, http.MethodPost, path, nil, r, false, r.Dirs...)
	if err != nil {
		return f, err
	}
	defer k.close()
	if k.resp.StatusCode/100 != 2 {
		return f, c.refusal(ctx, k.resp)
	}
	if err := json.NewDecoder(k.resp.Body).Decode(&f); err != nil {
		return f, c.failed(ctx, fmt.Errorf("read the daemon's answer: %w", err))
	}
	return f, nil
}
