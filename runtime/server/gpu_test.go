package server

import (
	"testing"

	"cove/runtime/api"
	"cove/runtime/gpu"
	"cove/runtime/sandbox"
)

func TestGPUs(t *testing.T) {
	h := newHost(t)
	h.info("mine", owner)
	h.info("foreign", other)
	list, err := h.as(owner).GPUs(t.Context())
	noError(t, err)
	equal(t, []api.GPU{
		{
			ID: "nvidia.com/gpu=0", UUID: "GPU-1", Vendor: "NVIDIA", Model: "H200", Devices: []string{"/dev/nvidia0"}, Source: "nvidia-ctk",
			Holders: []string{"mine"}, Held: 2, Shared: true, Utilization: 0.5, Memory: 1, MemoryTotal: 2,
		},
		{ID: "v.example/gpu=0", Index: 1, Missing: []string{"memory"}},
	}, list)
	equal(t, 400, h.ask(owner, "GET", "/v1/gpus?all=1", "").status)
}

// What a sandbox holds is told with it and with what it uses; that somebody else
// has it is a conflict.
func TestGPUsOfASandbox(t *testing.T) {
	h := newHost(t)
	mine := h.info("mine", owner)
	mine.GPUs = []string{"nvidia.com/gpu=0"}
	h.m.put(mine)
	s, err := h.as(owner).Get(t.Context(), "mine")
	noError(t, err)
	equal(t, mine.GPUs, s.GPUs)
	use := sandbox.Stats{GPUs: []sandbox.GPUUse{{ID: "nvidia.com/gpu=0", Use: gpu.Use{Utilization: 0.5, Memory: 1, MemoryTotal: 2, Missing: []string{gpu.Memory}}}}}
	equal(t, []api.GPUUse{{ID: "nvidia.com/gpu=0", Utilization: 0.5, Memory: 1, MemoryTotal: 2, Missing: []string{"memory"}}}, toStats(&use).GPUs)

	h.m.err = &sandbox.GPUError{Message: "gpu 0 (H200) is held by a", Hint: "stop that sandbox first"}
	_, err = h.as(owner).Start(t.Context(), "mine", api.StartRequest{})
	errorIs(t, err, api.ErrConflict)
	contains(t, err.Error(), "gpu 0 (H200) is held by a")
}
