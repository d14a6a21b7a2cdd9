package api

import (
	"context"
	"net/http"

	"cove/config"
)

// ArchiveRequest puts a sandbox's files into an archive: POST
// /v1/sandboxes/{ref}/archive.
type ArchiveRequest struct {
	// Stop stops one that is started first.
	Stop bool `json:"stop,omitempty"`
}

// RenameRequest gives a sandbox another name: POST /v1/sandboxes/{ref}/rename.
type RenameRequest struct {
	Name string `json:"name"`
}

// LabelsRequest changes labels: POST /v1/sandboxes/{ref}/labels.
type LabelsRequest struct {
	// Set adds labels or replaces their values; Remove takes labels away,
	// and one that is not there is no error. No key may be in both.
	Set    map[string]string `json:"set,omitempty"`
	Remove []string          `json:"remove,omitempty"`
}

// NetworkRequest changes what a sandbox reaches: POST /v1/sandboxes/{ref}/network.
type NetworkRequest struct {
	// Network takes the place of the whole policy. It must be there: an empty
	// policy is an open one.
	Network *config.Network `json:"network"`
}

// SetNetwork changes what a sandbox reaches, at once where it runs: what it has
// open and may no longer reach ends. Codes: not_found, invalid, unsupported,
// conflict. Stable.
func (c *Client) SetNetwork(ctx context.Context, ref string, r NetworkRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "network", nil, r, &s)
}

// Pause freezes every process of a sandbox; memory is kept. One that is paused
// is as it is. Codes: not_found, conflict, unsupported (this host cannot
// freeze). Stable.
func (c *Client) Pause(ctx context.Context, ref string) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "pause", nil, nil, &s)
}

// Resume lets a paused sandbox go on; one that is started is as it is. Codes:
// not_found, conflict. Stable.
func (c *Client) Resume(ctx context.Context, ref string) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "resume", nil, nil, &s)
}

// Archive puts the files of a stopped sandbox into a verified archive, which a
// start brings back; one that is archived is as it is. Codes: not_found,
// conflict, exhausted (the host's disk is full; it is stopped as before).
// Stable.
func (c *Client) Archive(ctx context.Context, ref string, r ArchiveRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "archive", nil, r, &s)
}

// Rename gives a sandbox another name, in every state but destroyed; its
// hostname follows at its next start. Codes: not_found, invalid, exists.
// Stable.
func (c *Client) Rename(ctx context.Context, ref, name string) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "rename", nil, RenameRequest{Name: name}, &s)
}

// SetLabels changes the labels of a sandbox, in every state but destroyed.
// Codes: not_found, invalid. Stable.
func (c *Client) SetLabels(ctx context.Context, ref string, r LabelsRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "labels", nil, r, &s)
}
