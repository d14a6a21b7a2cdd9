package oci

import (
	"fmt"
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"

	"cove/config"
)

const (
	maxCPU              = 1 << 16
	unlimitedPids int64 = -1
)

// Resources gives the kernel's limits of a sandbox as OCI has them, for the
// bundle and for later changes. It fails with [ErrInput] where one is out of
// range and with [ErrUnsupported] where this host cannot enforce it.
func Resources(r config.Resources, h Host) (*specs.LinuxResources, error) {
	if math.IsNaN(r.CPU) || r.CPU < 0 || r.CPU > maxCPU || r.Memory < 0 || r.Swap < 0 || r.Pids < 0 || r.Memory > math.MaxInt64-r.Swap {
		return nil, fmt.Errorf("%w: a limit is out of range", ErrInput)
	}
	if r.Swap > 0 && (!h.Swap || r.Memory == 0 && !h.CgroupV2) {
		return nil, fmt.Errorf("%w: swap can only be limited with the kernel's swap accounting, and on version 1 control groups together with memory", ErrUnsupported)
	}
	out := &specs.LinuxResources{
		// The runtime adds the harmless ones: null, zero, full, random,
		// urandom, tty and the terminals.
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		Pids:    &specs.LinuxPids{Limit: new(r.Pids)},
	}
	if r.Pids == 0 {
		// 0 means none at all since runc 1.4.
		out.Pids.Limit = new(unlimitedPids)
	}
	if r.CPU > 0 {
		out.CPU = &specs.LinuxCPU{Period: new(uint64(config.CPUPeriod)), Quota: new(r.CPUQuota())}
		if !h.CgroupV2 {
			out.CPU.Shares = new(r.CPUShares())
		}
	}
	if h.CgroupV2 {
		// One program that eats too much must not take PID 1 with it.
		out.Unified = map[string]string{"memory.oom.group": "0"}
	}
	if h.CgroupV2 && r.CPU > 0 {
		// Not shares, which the runtime would convert by a formula of its own.
		out.Unified["cpu.weight"] = fmt.Sprint(r.CPUWeight())
	}
	switch {
	case r.Memory > 0 && h.Swap:
		// OCI counts memory and swap together.
		out.Memory = &specs.LinuxMemory{Limit: new(int64(r.Memory)), Swap: new(int64(r.Memory + r.Swap))}
	case r.Memory > 0:
		out.Memory = &specs.LinuxMemory{Limit: new(int64(r.Memory))}
	case h.CgroupV2 && h.Swap:
		out.Unified["memory.swap.max"] = fmt.Sprint(int64(r.Swap))
	}
	return out, nil
}
