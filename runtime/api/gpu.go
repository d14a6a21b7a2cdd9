package api

import (
	"context"
	"net/http"
)

// GPU is one device of the host: an element of GET /v1/gpus. Sizes are in
// bytes; what the host cannot tell is 0, see Missing.
type GPU struct {
	// ID is its CDI name, "nvidia.com/gpu=0" (CNCF container device interface).
	ID string `json:"id"`
	// Index is its place in the list, as a profile may name it.
	Index int `json:"index"`
	// UUID is the vendor's name for the card, "GPU-...", where it has one.
	UUID   string `json:"uuid,omitempty"`
	Vendor string `json:"vendor"`
	Model  string `json:"model,omitempty"`
	// Devices are the device nodes that come with it.
	Devices []string `json:"devices,omitempty"`
	// Source is where it was found: the CDI file, "nvidia-ctk", "amd".
	Source string `json:"source"`
	// Holders are the sandboxes that hold it now and that the caller may see,
	// by name; Held counts those of all owners. Shared says that they share it.
	Holders []string `json:"holders,omitempty"`
	Held    int      `json:"held,omitempty"`
	Shared  bool     `json:"shared,omitempty"`
	// Utilization is the part of its time, 0 to 1, in which it was busy.
	Utilization float64 `json:"utilization"`
	Memory      int64   `json:"memory"`
	MemoryTotal int64   `json:"memory_total,omitempty"`
	// Missing names the fields, by their JSON names, that cannot be told here.
	Missing []string `json:"missing,omitempty"`
}

// GPUUse is what a device that a sandbox holds does now, whoever uses it.
type GPUUse struct {
	ID          string  `json:"id"`
	Utilization float64 `json:"utilization"`
	Memory      int64   `json:"memory"`
	MemoryTotal int64   `json:"memory_total,omitempty"`
	// Missing is as in [GPU].
	Missing []string `json:"missing,omitempty"`
}

// GPUs lists the machine's GPUs, what they do and who holds them; it may take some
// seconds. Stable.
func (c *Client) GPUs(ctx context.Context) ([]GPU, error) {
	var list []GPU
	return list, c.do(ctx, http.MethodGet, "/gpus", nil, nil, &list)
}
