package sandbox

import (
	"context"
	"fmt"

	"cove/runtime/doctor"
	"cove/runtime/lifecycle"
)

// Checks tries what this machine can do, now.
func (m *Manager) Checks(ctx context.Context) []doctor.Check {
	if m.opt.Probe == nil {
		return nil
	}
	return m.opt.Probe(ctx)
}

// Audit waits until what is deleted in the background is gone, and returns
// what of this instance's no sandbox accounts for. While operations are under
// way their sandboxes count as running.
func (m *Manager) Audit(ctx context.Context) ([]doctor.Leak, error) {
	if err := m.trash.drain(ctx); err != nil {
		return nil, fmt.Errorf("wait for what is being deleted: %w", err)
	}
	f := doctor.Facts{
		Inst: m.opt.Inst, StateDir: m.opt.StateDir, RunDir: m.opt.RunDir,
		Sandboxes: map[string]bool{}, Running: map[string]bool{},
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
	if f.Leases, err = m.opt.Leases.Mine(); err != nil {
		return nil, fmt.Errorf("list the leases: %w", err)
	}
	if f.Names, err = m.links.List(); err != nil {
		return nil, fmt.Errorf("list the names: %w", err)
	}
	m.mu.Lock()
	for id, b := range m.boxes {
		i := b.snapshot()
		f.Sandboxes[id] = true
		f.Running[id] = i.Pid != 0 || i.Op != "" || i.State == lifecycle.Unknown
	}
	m.mu.Unlock()
	return doctor.Audit(f)
}
