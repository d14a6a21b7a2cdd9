package tuitest

import (
	"context"
	"fmt"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// Resize implements the TUI's backend.
func (f *Fake) Resize(ctx context.Context, id string, r api.ResizeRequest) error {
	if f.RefuseResize != nil {
		if err := f.RefuseResize(r); err != nil {
			f.mu.Lock()
			f.log = append(f.log, "resize "+id)
			f.mu.Unlock()
			return err
		}
	}
	d, err := f.Get(ctx, id)
	if err != nil {
		return err
	}
	res := d.Spec.Resources
	set(&res.CPU, r.CPU)
	set(&res.Memory, r.Memory)
	set(&res.Swap, r.Swap)
	set(&res.Pids, r.Pids)
	set(&res.Disk, r.Disk)
	if err := f.operate(ctx, id, lifecycle.OpResize, d.State, d.Reason); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizes[id] = res
	return nil
}

// set is *to = *from where there is something.
func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Touch implements the TUI's backend.
func (f *Fake) Touch(_ context.Context, id string) error {
	return f.update("touch", id, "", func(*api.Sandbox) error { return nil })
}

// Archive implements the TUI's backend.
func (f *Fake) Archive(ctx context.Context, id string) error {
	return f.operate(ctx, id, lifecycle.OpArchive, lifecycle.Archived, nil)
}

// Undo implements the TUI's backend.
func (f *Fake) Undo(context.Context) (api.Sandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, "undo")
	if len(f.deleted) == 0 {
		return api.Sandbox{}, &api.Error{Code: api.CodeNotFound, Message: "there is nothing to undo"}
	}
	b := f.deleted[len(f.deleted)-1]
	f.deleted = f.deleted[:len(f.deleted)-1]
	b.State = lifecycle.Stopped
	f.boxes[b.ID] = b
	f.tell(api.EventSandbox, b)
	return b, nil
}

// SetAutomation implements the TUI's backend.
func (f *Fake) SetAutomation(_ context.Context, id string, auto config.Automation) error {
	return f.update("automation", id, fmt.Sprint("stop ", auto.AutoStop, " delete ", auto.AutoDelete), func(*api.Sandbox) error {
		f.autos[id] = auto
		return nil
	})
}
