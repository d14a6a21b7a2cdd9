package server

import (
	"net/http"

	"cove/runtime/api"
	"cove/runtime/sandbox"
)

// gpus lists the machine's GPUs. Who holds one is told as far as the caller may
// see the sandbox.
func (q *request) gpus() error {
	if _, err := query(q.r); err != nil {
		return err
	}
	list := q.s.opt.Manager.GPUs(q.r.Context(), q.caller)
	out := make([]api.GPU, 0, len(list))
	for i := range list {
		g := &list[i]
		out = append(out, api.GPU{
			ID: g.ID, Index: g.Index, UUID: g.UUID, Vendor: g.Vendor, Model: g.Model, Devices: g.Nodes, Source: g.Source,
			Holders: g.Holders, Held: g.Held, Shared: g.Shared,
			Utilization: g.Use.Utilization, Memory: g.Use.Memory, MemoryTotal: g.Use.MemoryTotal, Missing: g.Use.Missing,
		})
	}
	return q.reply(http.StatusOK, out)
}

func toGPUUses(list []sandbox.GPUUse) []api.GPUUse {
	var out []api.GPUUse
	for _, u := range list {
		out = append(out, api.GPUUse{ID: u.ID, Utilization: u.Utilization, Memory: u.Memory, MemoryTotal: u.MemoryTotal, Missing: u.Missing})
	}
	return out
}
