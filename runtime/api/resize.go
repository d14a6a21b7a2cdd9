package api

import "cove/config"

// ResizeRequest changes limits: POST /v1/sandboxes/{ref}/resize. What is nil
// stays as it is; at least one must not be. 0 takes a limit away, but for the
// disk's, which can only grow.
type ResizeRequest struct {
	CPU    *float64     `json:"cpu,omitempty"`
	Memory *config.Size `json:"memory,omitempty"`
	Swap   *config.Size `json:"swap,omitempty"`
	Pids   *int64       `json:"pids,omitempty"`
	Disk   *config.Size `json:"disk,omitempty"`
}
