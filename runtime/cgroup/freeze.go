package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// freezer is the one of a sandbox's groups in which all of it can be frozen.
type freezer struct {
	dir string
	v2  bool
}

const (
	freezeFile   = "cgroup.freeze" // cgroup-v2.rst, since Linux 5.2
	freezerState = "freezer.state" // v1, freezer-subsystem.rst
)

// freezers are the places where a sandbox may be frozen, the best first: what is
// frozen by v2 says so by an event, and dies of a signal while it is frozen.
// Beside v1 the OCI runtime puts a sandbox into the group of v2 too, but need
// not: one without processes would freeze nothing.
func (t *Tree) freezers(id string) ([]freezer, error) {
	var found []freezer
	for _, h := range t.layout.Hierarchies {
		f := freezer{t.dir(h, id), h.V2}
		if !h.V2 {
			continue
		}
		pids, err := procsBelow(f.dir)
		if err != nil {
			return nil, err
		}
		if len(pids) > 0 {
			found = append(found, f)
		}
	}
	if h, ok := t.with("freezer"); ok && !h.V2 {
		found = append(found, freezer{t.dir(h, id), false})
	}
	return found, nil
}

// Freeze stops every process of a sandbox where it is and returns when all have
// stopped; what they hold they keep. [ErrUnavailable]: this host's control
// groups freeze nothing. When ctx ends first, for instance because a process
// waits for a disk, the sandbox is thawed again and Freeze fails with the cause.
func (t *Tree) Freeze(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	places, err := t.freezers(id)
	if err != nil {
		return fmt.Errorf("freeze %s: %w", id, err)
	}
	w, err := newWaiter(ctx)
	if err != nil {
		return fmt.Errorf("freeze %s: %w", id, err)
	}
	defer w.close()
	for _, f := range places {
		err := f.set(true)
		if isGone(err) {
			continue // a kernel without it, or no such group
		}
		if err == nil {
			err = f.await(w, true)
		}
		if err != nil {
			return fmt.Errorf("freeze %s: %w", id, errors.Join(err, f.set(false)))
		}
		return nil
	}
	return fmt.Errorf("freeze %s: %w: it has neither cgroup.freeze nor a freezer controller", id, ErrUnavailable)
}

// Thaw lets the processes of a sandbox go on and returns when all do. One that
// is not frozen, or not there, is no error.
func (t *Tree) Thaw(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	w, err := newWaiter(ctx)
	if err != nil {
		return fmt.Errorf("thaw %s: %w", id, err)
	}
	defer w.close()
	// Wherever it may be frozen, whatever else has frozen it there.
	var errs []error
	for _, f := range t.everyFreezer(id) {
		err := f.set(false)
		if err == nil {
			err = f.await(w, false)
		}
		if err != nil && !isGone(err) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("thaw %s: %w", id, err)
	}
	return nil
}

// Frozen tells whether a sandbox is frozen or was told to be. One that is not
// there is not.
func (t *Tree) Frozen(id string) (bool, error) {
	if err := checkID(id); err != nil {
		return false, err
	}
	for _, f := range t.everyFreezer(id) {
		name := freezerState
		if f.v2 {
			name = freezeFile
		}
		data, err := readFile(filepath.Join(f.dir, name))
		if isGone(err) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("ask whether %s is frozen: %w", id, err)
		}
		switch string(bytes.TrimSpace(data)) {
		case "1", "FROZEN", "FREEZING":
			return true, nil
		}
	}
	return false, nil
}

func (t *Tree) everyFreezer(id string) []freezer {
	var all []freezer
	for _, h := range t.layout.Hierarchies {
		if h.V2 {
			all = append(all, freezer{t.dir(h, id), true})
		}
	}
	if h, ok := t.with("freezer"); ok && !h.V2 {
		all = append(all, freezer{t.dir(h, id), false})
	}
	return all
}

func (f freezer) set(frozen bool) error {
	switch {
	case f.v2 && frozen:
		return writeFile(filepath.Join(f.dir, freezeFile), "1")
	case f.v2:
		return writeFile(filepath.Join(f.dir, freezeFile), "0")
	case frozen:
		return writeFile(filepath.Join(f.dir, freezerState), "FROZEN")
	}
	return writeFile(filepath.Join(f.dir, freezerState), "THAWED")
}

// await waits until all of the group is as it was set.
func (f freezer) await(w *waiter, frozen bool) error {
	if f.v2 {
		return w.event(f.dir, "frozen", frozen)
	}
	want := "THAWED"
	if frozen {
		want = "FROZEN"
	}
	for first := true; ; first = false {
		// v1 has no event: reading is what makes the kernel look again
		// whether all have stopped.
		data, err := readFile(filepath.Join(f.dir, freezerState))
		if err != nil || string(bytes.TrimSpace(data)) == want {
			return err
		}
		if !first && frozen {
			// A process that came in by a fork in the meantime is asked too.
			if err := f.set(true); err != nil {
				return err
			}
		}
		if err := w.pause(time.Millisecond); err != nil {
			return err
		}
	}
}
