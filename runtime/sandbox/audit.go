package sandbox

import (
	"context"
	"errors"
	"fmt"

	"cove/runtime/doctor"
	"cove/runtime/lifecycle"
	"cove/runtime/network"
)

// Checks tries what this machine can do, now.
func (m *Manager) Checks(ctx context.Context) []doctor.Check {
	checks := []doctor.Check{m.guard.check()}
	if m.opt.Probe != nil {
		checks = append(m.opt.Probe(ctx), checks...)
	}
	return checks
}

// Audit waits until what is deleted in the background is gone, and returns
// what of this instance's no sandbox accounts for. While operations are under
// way their sandboxes count as running.
func (m *Manager) Audit(ctx context.Context) ([]doctor.Leak, error) {
	if err := m.trash.drain(ctx); err != nil {
		return nil, fmt.Errorf("wait for what is being deleted: %w", err)
	}
	if err := m.collectLayers(ctx); err != nil && !errors.Is(err, errUnknownSandbox) {
		return nil, fmt.Errorf("remove layers that nothing uses: %w", err)
	}
	if err := m.opt.Rootfs.Drain(ctx); err != nil {
		return nil, fmt.Errorf("wait for file systems that are being unmounted: %w", err)
	}
	if m.opt.NamedVolumes != nil {
		m.opt.NamedVolumes.Wait()
	}
	if err := m.opt.Network.Drain(ctx); err != nil {
		return nil, fmt.Errorf("wait for links that are being deleted: %w", err)
	}
	f := doctor.Facts{
		Inst: m.opt.Inst, StateDir: m.opt.StateDir, RunDir: m.opt.RunDir,
		Sandboxes: map[string]bool{}, Running: map[string]bool{}, Kept: m.kept.ids(),
	}
	// The lists first, the sandboxes after: one that starts in between is
	// then known, not leaked. One that ends in between is asked for again.
	var err error
	if f.Cgroups, err = m.opt.Cgroups.List(); err != nil {
		return nil, fmt.Errorf("list the cgroups: %w", err)
	}
	if f.Containers, err = m.opt.Runner.List(); err != nil {
		return nil, fmt.Errorf("list the containers: %w", err)
	}
	if f.Leases, err = m.leases(); err != nil {
		return nil, fmt.Errorf("list the leases: %w", err)
	}
	if f.Names, err = m.links.List(); err != nil {
		return nil, fmt.Errorf("list the names: %w", err)
	}
	attached, err := m.opt.Disks.Attached()
	if err != nil {
		return nil, fmt.Errorf("look at the loop devices: %w", err)
	}
	layers, err := m.opt.Disks.AttachedLayers()
	if err != nil {
		return nil, fmt.Errorf("look at the loop devices: %w", err)
	}
	inUse := map[string]bool{}
	m.mu.Lock()
	for id, b := range m.boxes {
		i := b.snapshot()
		f.Sandboxes[id] = true
		f.Running[id] = i.Pid != 0 || i.Op != "" || i.State == lifecycle.Unknown
		for _, name := range b.record().Base.Layers {
			inUse[name] = inUse[name] || f.Running[id]
		}
	}
	m.mu.Unlock()
	f.GPUs = m.gpuLeaks(f.Running)
	if f.Network, err = m.opt.Network.Strays(func(id string) bool { return f.Running[id] }); err != nil {
		return nil, fmt.Errorf("look at the network: %w", err)
	}
	for id, dev := range attached {
		if !f.Running[id] {
			f.Disks = append(f.Disks, fmt.Sprintf("%s for %s", dev, id))
		}
	}
	for name, dev := range layers {
		if !inUse[name] {
			f.Disks = append(f.Disks, fmt.Sprintf("%s for the layer %s", dev, name))
		}
	}
	return doctor.Audit(f)
}

// leases are this instance's leases but those of namespaces that wait for a
// sandbox. One that is taken while this looks is looked at again.
func (m *Manager) leases() (map[uint32]string, error) {
	for again := false; ; again = true {
		mine, err := m.opt.Leases.Mine()
		if err != nil {
			return nil, err
		}
		unknown := false
		for base, id := range mine {
			if id == network.PoolOwner && m.opt.Network.Pooled(base) {
				delete(mine, base)
			} else if id == network.PoolOwner {
				unknown = true
			}
		}
		if !unknown || again {
			return mine, nil
		}
	}
}
