package api

import (
	"context"
	"net/http"

	"cove/config"
)

// ResizeRequest changes limits: POST /v1/sandboxes/{ref}/resize. What is nil
// stays as it is; at least one must not be. 0 takes a limit away, but for swap,
// where it is none to be used, and for the disk's quota, which can only grow.
type ResizeRequest struct {
	CPU    *float64     `json:"cpu,omitempty"`
	Memory *config.Size `json:"memory,omitempty"`
	Swap   *config.Size `json:"swap,omitempty"`
	Pids   *int64       `json:"pids,omitempty"`
	Disk   *config.Size `json:"disk,omitempty"`
}

// Resize changes limits, at once where the sandbox runs: all that r says, or
// nothing. Memory that goes down may take some seconds. Codes: not_found,
// invalid, unsupported (this host does not enforce it), conflict (more is in use
// than the limit would be, or the state). Stable.
func (c *Client) Resize(ctx context.Context, ref string, r ResizeRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.of(ctx, http.MethodPost, ref, "resize", nil, r, &s)
}
