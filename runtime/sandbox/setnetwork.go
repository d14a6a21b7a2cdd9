package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"

	"cove/config"
	"cove/runtime/lifecycle"
	"cove/runtime/network"
	"cove/runtime/runner"
)

// SetNetwork changes what a sandbox reaches: at once where it runs, and from its
// next start on. It occupies the sandbox: a start or a stop must not come in
// between. It fails with an *[InvalidError], and leaves all as it was where the
// kernel refuses.
func (m *Manager) SetNetwork(ctx context.Context, c Caller, ref string, n config.Network) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	spec := b.record().Spec
	spec.Network = n
	if err := m.validate(CreateRequest{Spec: spec}); err != nil {
		return b.snapshot(), err
	}
	return m.perform(ctx, b, lifecycle.OpUpdate, func(*operation) error { return m.setNetwork(ctx, b, n) })
}

func (m *Manager) setNetwork(ctx context.Context, b *box, n config.Network) error {
	b.file.Lock()
	defer b.file.Unlock()
	rec, err := m.updatable(b)
	if err != nil {
		return err
	}
	was := network.PolicyOf(rec.Spec.Network)
	rec.Spec.Network = n
	b.mu.Lock()
	run := b.run
	b.mu.Unlock()
	// In force first: what is written down is true when somebody reads it.
	if err := m.connect(ctx, b, run, network.PolicyOf(n)); err != nil {
		return errors.Join(err, m.connect(context.WithoutCancel(ctx), b, run, was))
	}
	m.hook("network", "connected")
	if err := m.write(b, rec); err != nil {
		return errors.Join(err, m.connect(context.WithoutCancel(ctx), b, run, was))
	}
	b.mu.Lock()
	b.rec.Spec.Network = n
	b.mu.Unlock()
	return nil
}

// connect puts a policy in force for a sandbox that runs; one with a nil run
// does not.
func (m *Manager) connect(ctx context.Context, b *box, run *running, p network.Policy) error {
	if run == nil {
		return nil
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", run.Pid))
	if err != nil {
		return fmt.Errorf("find the sandbox's network: %w", err)
	}
	defer ns.Close()
	// The pid is still its own: then so was what was opened.
	proc, err := runner.Watch(run.Pid, run.StartTime)
	if err != nil {
		return fmt.Errorf("find the sandbox's network: %w", err)
	}
	defer func() { _ = proc.Close() }()
	return m.opt.Network.Connect(ctx, b.id, ns, p)
}
