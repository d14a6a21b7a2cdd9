package tuitest

import (
	"context"

	"cove/runtime/api"
)

// Host is what the fake daemon says of its machine.
type Host struct {
	Disk     *api.HostDisk
	GPUs     []api.GPU
	Warnings []string
}

// SetHost changes what the daemon says of its machine.
func (f *Fake) SetHost(h Host) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host = h
}

// Status implements the TUI's backend.
func (f *Fake) Status(context.Context) (api.DaemonStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return api.DaemonStatus{}, &api.Error{Code: api.CodeUnavailable, Message: "the daemon does not run", Hint: "cove daemon start"}
	}
	return api.DaemonStatus{Sandboxes: len(f.boxes), Disk: f.host.Disk, Warnings: f.host.Warnings}, nil
}

// GPUs implements the TUI's backend.
func (f *Fake) GPUs(context.Context) ([]api.GPU, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.host.GPUs, nil
}
