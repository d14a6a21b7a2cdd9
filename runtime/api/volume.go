package api

import (
	"context"
	"net/http"
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

// VolumeRef names a volume of the caller's: POST /v1/volumes/rm -> Volume.
type VolumeRef struct {
	Name string `json:"name"`
}

// Volumes lists the caller's volumes, by name; root's are everybody's. Stable.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	var list []Volume
	return list, c.do(ctx, http.MethodGet, "/volumes", nil, nil, &list)
}

// CreateVolume makes a volume. Codes: invalid, exists, exhausted. Stable.
func (c *Client) CreateVolume(ctx context.Context, r VolumeRequest) (Volume, error) {
	var v Volume
	return v, c.do(ctx, http.MethodPost, "/volumes", nil, r, &v)
}

// RemoveVolume removes a volume with all that is in it. Codes: not_found; conflict
// while a sandbox has it, which the message names. Stable.
func (c *Client) RemoveVolume(ctx context.Context, name string) (Volume, error) {
	var v Volume
	return v, c.do(ctx, http.MethodPost, "/volumes/rm", nil, VolumeRef{Name: name}, &v)
}

// AttachVolume gives a sandbox that is started or stopped a volume, which is made
// where there is none. Codes: not_found, invalid, conflict, exhausted. Stable.
func (c *Client) AttachVolume(ctx context.Context, ref string, r AttachVolumeRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "volumes", nil, r, &s)
}

// DetachVolume takes a volume away from a sandbox. Codes: not_found, invalid;
// conflict while something inside uses it. Stable.
func (c *Client) DetachVolume(ctx context.Context, ref string, r DetachVolumeRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "volumes/detach", nil, r, &s)
}
