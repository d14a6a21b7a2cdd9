package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"cove/config"
	"cove/runtime/cgroup"
	"cove/runtime/lifecycle"
)

// ResizeRequest is what limits a sandbox is to have. What is nil stays as it is;
// 0 takes a limit away, but for swap, where it is none to be used, and for the
// disk's quota, which can only grow.
type ResizeRequest struct {
	CPU    *float64     `json:"cpu,omitempty"`
	Memory *config.Size `json:"memory,omitempty"`
	Swap   *config.Size `json:"swap,omitempty"`
	Pids   *int64       `json:"pids,omitempty"`
	Disk   *config.Size `json:"disk,omitempty"`
}

// LimitError is a limit that cannot be had as things are now: more is in use.
type LimitError struct {
	Name          string
	Message, Hint string // what is in the way, and what to do
	Err           error
}

func (e *LimitError) Error() string { return e.Name + ": " + e.Message }
func (e *LimitError) Unwrap() error { return e.Err }

// Resize changes the limits of a sandbox: at once where it runs, and for its
// next starts. All of the request is done, or nothing. It fails with an
// *[InvalidError], with a *[LimitError] where more is in use than the limit that
// is asked for, and with [ErrUnsupported] where this host enforces no such limit.
// No process is killed for it.
func (m *Manager) Resize(ctx context.Context, c Caller, ref string, r ResizeRequest) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	if _, err := m.resized(b.record(), r); err != nil {
		return b.snapshot(), err
	}
	return m.performWith(ctx, b, lifecycle.OpResize, r, func(o *operation) error { return m.resize(o, r) })
}

// resized is what the sandbox's limits would be.
func (m *Manager) resized(rec record, r ResizeRequest) (config.Resources, error) {
	spec := rec.Spec
	if (r == ResizeRequest{}) {
		return spec.Resources, &InvalidError{Problems: []config.Problem{{Message: "no limit was given", Hint: "cpu, memory, swap, pids and disk can be"}}}
	}
	replace(&spec.Resources.CPU, r.CPU)
	replace(&spec.Resources.Memory, r.Memory)
	replace(&spec.Resources.Swap, r.Swap)
	replace(&spec.Resources.Pids, r.Pids)
	replace(&spec.Resources.Disk, r.Disk)
	if err := checkDisk(rec.Spec.Resources.Disk, spec.Resources.Disk); err != nil {
		return spec.Resources, err
	}
	if err := m.validate(CreateRequest{Spec: spec}); err != nil {
		return spec.Resources, err
	}
	err := m.opt.Limiter.CheckChange(rec.Spec.Resources, spec.Resources)
	if errors.Is(err, cgroup.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return spec.Resources, err
}

func replace[T any](field *T, with *T) {
	if with != nil {
		*field = *with
	}
}

// resize is the body of the operation.
func (m *Manager) resize(o *operation, r ResizeRequest) error {
	b := o.b
	rec := b.record()
	was := rec.Spec.Resources
	want, err := m.resized(rec, r)
	if err != nil || sameLimits(was, want) {
		return err
	}
	o.enter(lifecycle.Resizing)
	err = o.point("resizing")
	if err == nil {
		err = m.limit(o, was, want)
	}
	if err == nil {
		// In force first: what is written down is true when somebody reads it.
		err = m.commit(o, was, want)
	}
	if err != nil {
		// The record is as it was, unless it could not be put back either.
		err = errors.Join(m.limitError(rec.Name, err), m.settleLimits(o, b.record().Spec.Resources, want))
	} else {
		o.stage("recorded")
		m.warnAnew(b, was, want)
	}
	m.holdStill(m.ctx, b)
	o.enter(o.from)
	return err
}

// sameLimits compares what can be resized.
func sameLimits(a, b config.Resources) bool {
	return a.CPU == b.CPU && a.Memory == b.Memory && a.Swap == b.Swap && a.Pids == b.Pids && a.Disk == b.Disk
}

// limitStep puts one kind of limit in force. Each is done whole or not at all.
type limitStep struct {
	stage string
	// falls says that it may be refused, since more may be in use.
	falls bool
	set   func(ctx context.Context, r config.Resources) error
	// take is the part of r that it is about, in the rest of which.
	take func(rest *config.Resources, r config.Resources)
}

// limitSteps are the ways from one set of limits to another, in their order:
// those that may be refused come first, since going back on them cannot be. Of
// memory and swap one may fall as the other grows, so that they are the last of
// these.
func (m *Manager) limitSteps(b *box, from, to config.Resources) []limitStep {
	steps := []limitStep{
		{
			"pids", falls(from.Pids, to.Pids),
			func(_ context.Context, r config.Resources) error { return m.opt.Limiter.ResizePids(b.id, r.Pids) },
			func(rest *config.Resources, r config.Resources) { rest.Pids = r.Pids },
		},
		{
			"memory", falls(from.Memory, to.Memory) || to.Swap < from.Swap,
			func(ctx context.Context, r config.Resources) error {
				return m.opt.Limiter.ResizeMemory(ctx, b.id, r.Memory, r.Swap, func(ctx context.Context) (func() error, error) { return m.still(ctx, b) })
			},
			func(rest *config.Resources, r config.Resources) { rest.Memory, rest.Swap = r.Memory, r.Swap },
		},
		{
			"cpu", false,
			func(_ context.Context, r config.Resources) error { return m.setCPU(b.id, r) },
			func(rest *config.Resources, r config.Resources) { rest.CPU = r.CPU },
		},
	}
	slices.SortStableFunc(steps, func(a, b limitStep) int {
		switch {
		case a.falls == b.falls:
			return 0
		case a.falls:
			return -1
		}
		return 1
	})
	return steps
}

// setCPU limits the processor time of a sandbox that runs, and has it run on as
// many processors. Where the host has no such controller there is nothing to
// change.
func (m *Manager) setCPU(id string, r config.Resources) error {
	if err := m.opt.Limiter.SetCPU(id, r.CPU); err != nil && !errors.Is(err, cgroup.ErrUnavailable) {
		return err
	}
	m.place(record{ID: id, Spec: config.Spec{Resources: r}})
	return nil
}

// errStill: a sandbox could not be frozen in time.
var errStill = errors.New("some process did not stand still, it may wait for a disk")

// still is a [cgroup.Still]. A daemon that is killed meanwhile leaves the sandbox
// frozen; the next one finds the resize unfinished and lets it go on.
func (m *Manager) still(ctx context.Context, b *box) (goOn func() error, err error) {
	b.ice.Lock() // until it goes on
	b.mu.Lock()
	already := b.frozen || b.held != ""
	b.mu.Unlock()
	if already {
		return func() error { b.ice.Unlock(); return nil }, nil
	}
	hold, cancel := context.WithTimeoutCause(ctx, holdTimeout, errStill)
	defer cancel()
	if err := m.opt.Cgroups.Freeze(hold, b.id); err != nil {
		b.ice.Unlock()
		return nil, fmt.Errorf("hold it still: %w", err)
	}
	m.hook("resize", "still")
	return func() error {
		defer b.ice.Unlock()
		// Whatever ended meanwhile.
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), holdTimeout, errStill)
		defer cancel()
		return m.opt.Cgroups.Thaw(ctx, b.id)
	}, nil
}

// falls tells whether a limit goes down; 0 is none.
func falls[T ~int64](from, to T) bool { return to > 0 && (from == 0 || to < from) }

// limit puts the limits in force where the sandbox runs.
func (m *Manager) limit(o *operation, was, want config.Resources) error {
	if o.b.snapshot().Pid == 0 {
		return nil
	}
	for _, s := range m.limitSteps(o.b, was, want) {
		if err := s.set(o.ctx, want); err != nil {
			return err
		}
		if err := o.point(s.stage); err != nil {
			return err
		}
	}
	return nil
}

// settleLimits makes what the kernel enforces and what the record says agree,
// after a resize that did not come to its end: the record's limits are put back in
// force. Where the sandbox has grown beyond one of them by now, the one that it was
// given for it stays, and is recorded.
func (m *Manager) settleLimits(o *operation, was, other config.Resources) error {
	b := o.b
	if b.snapshot().Pid == 0 {
		return nil
	}
	// A delete that cancels it leaves it whole until it comes to it.
	ctx := context.WithoutCancel(o.ctx)
	is := was
	var errs []error
	for _, s := range m.limitSteps(b, other, was) {
		back := s.set(ctx, was)
		if back == nil {
			continue
		}
		if err := s.set(ctx, other); err != nil {
			errs = append(errs, back, err) // the group itself is gone, say
			continue
		}
		m.log.Warn("a limit could not be put back", "sandbox", b.id, "limit", s.stage, "error", back)
		s.take(&is, other)
	}
	if !sameLimits(is, was) {
		errs = append(errs, m.recordLimits(b, is))
		m.warnAnew(b, was, is)
	}
	return errors.Join(errs...)
}

// recordLimits writes them down.
func (m *Manager) recordLimits(b *box, r config.Resources) error {
	b.file.Lock()
	defer b.file.Unlock()
	rec, err := m.updatable(b)
	if err != nil {
		return err
	}
	rec.Spec.Resources = r
	if err := m.write(b, rec); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rec.Spec.Resources = r
	return nil
}

// warnAnew makes the warnings of a sandbox that runs those of its new limits.
func (m *Manager) warnAnew(b *box, was, now config.Resources) {
	before := m.opt.Cgroups.Warnings(was)
	err := m.saveRunning(b, func(r *running) {
		others := slices.DeleteFunc(slices.Clone(r.Warnings), func(w string) bool { return slices.Contains(before, w) })
		r.Warnings = append(m.opt.Cgroups.Warnings(now), others...)
	})
	if err != nil {
		m.log.Warn("could not record what is not enforced", "sandbox", b.id, "error", err)
	}
}

// limitError puts what is in the way of a limit into words.
func (m *Manager) limitError(name string, err error) error {
	used, ok := errors.AsType[*cgroup.InUseError](err)
	switch {
	case errors.Is(err, cgroup.ErrUnavailable):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case !ok:
		return err
	case used.Quantity == cgroup.Pids:
		return &LimitError{
			Name: name, Err: err, Message: fmt.Sprintf("%d processes and threads are in use: %d cannot be the limit", used.Used, used.Limit),
			Hint: "end some inside, or stop it first",
		}
	}
	return &LimitError{
		Name: name, Err: err, Message: fmt.Sprintf("%v of %s are in use: %v cannot be the limit", mebibytes(used.Used), used.Quantity, config.Size(used.Limit)),
		Hint: fmt.Sprintf("free some inside, stop it first, or ask for %v or more", mebibytes(used.Least)),
	}
}

// mebibytes rounds up to what people read.
func mebibytes(n int64) config.Size {
	return (config.Size(n) + config.MiB - 1) / config.MiB * config.MiB
}

// finishResize is what is left to do of a resize that a killed daemon was at:
// what it was given for is in args.
func (m *Manager) finishResize(o *operation, args json.RawMessage) error {
	b := o.b
	o.enter(lifecycle.Resizing)
	defer o.enter(lifecycle.Started)
	// It may have been held still for the last look at its memory.
	if err := m.thaw(o.ctx, b); err != nil {
		return err
	}
	was := b.record().Spec.Resources
	want := config.Spec{Resources: was}
	var r ResizeRequest
	if err := json.Unmarshal(args, &r); err != nil {
		return fmt.Errorf("read what was under way: %w", err)
	}
	replace(&want.Resources.CPU, r.CPU)
	replace(&want.Resources.Memory, r.Memory)
	replace(&want.Resources.Swap, r.Swap)
	replace(&want.Resources.Pids, r.Pids)
	defer m.holdStill(m.ctx, b)
	return errors.Join(m.settleLimits(o, was, want.Resources), m.finishGrowth(o))
}
