package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Procs gives the processes of a sandbox: all that are in its group or below it
// in any hierarchy, in order of pid. None when there is no group.
func (t *Tree) Procs(id string) ([]int, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	var all []int
	for _, dir := range t.dirs(id) {
		pids, err := procsBelow(dir)
		if err != nil {
			return nil, fmt.Errorf("list the processes of %s: %w", id, err)
		}
		all = append(all, pids...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func procsBelow(dir string) ([]int, error) {
	var all []int
	err := walk(dir, func(group string) error {
		pids, err := readProcs(group)
		all = append(all, pids...)
		return err
	})
	return all, err
}

// Kill ends every process in a sandbox's group and below, in every hierarchy,
// and returns when there is none: a create that was killed half way may have
// joined some hierarchies only. A sandbox without a group is no error. When ctx
// ends first, Kill fails with its cause, and processes may be left.
func (t *Tree) Kill(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	w, err := newWaiter(ctx)
	if err != nil {
		return fmt.Errorf("end the processes of %s: %w", id, err)
	}
	defer w.close()
	if t.layout.Mode != Unified {
		t.stopForks(id)
	}
	thaw := func() { t.thaw(id); _ = t.LiftIO(id) }
	for _, h := range t.layout.Hierarchies {
		if h.V2 {
			err = errors.Join(err, killUnified(w, t.dir(h, id), thaw))
		}
	}
	for _, h := range t.layout.Hierarchies {
		if !h.V2 {
			err = errors.Join(err, killLoop(w, t.dir(h, id), thaw))
		}
	}
	if err != nil {
		return fmt.Errorf("end the processes of %s: %w", id, err)
	}
	return nil
}

// stopForks keeps what is being killed from making more of itself, where it is
// killed one by one. The group is never used again. That it cannot be done is
// no error: a killed process makes no more either.
func (t *Tree) stopForks(id string) {
	if h, ok := t.with("pids"); ok {
		_ = writeFile(filepath.Join(t.dir(h, id), "pids.max"), "0")
	}
}

// thaw lets frozen processes of a v1 freezer take the signal that was sent to
// them. Those of v2 take it frozen.
func (t *Tree) thaw(id string) {
	if h, ok := t.with("freezer"); ok && !h.V2 {
		_ = walk(t.dir(h, id), func(group string) error {
			return writeFile(filepath.Join(group, "freezer.state"), "THAWED")
		})
	}
}

// LiftIO takes away what [Tree.SetIO] set, for a group that is killed and not used
// again: a process that waits in the kernel for its turn at a disk does not end
// before that came, and what is unwritten when its last mount goes is written at that
// pace too. A sandbox without a group is no error. [Tree.Kill] does it too.
func (t *Tree) LiftIO(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	h, ok := t.with("io")
	if !ok {
		return nil
	}
	err := walk(t.dir(h, id), func(group string) error {
		if h.V2 {
			return liftLimits(filepath.Join(group, "io.max"), "rbps=max wbps=max")
		}
		return errors.Join(
			liftLimits(filepath.Join(group, "blkio.throttle.read_bps_device"), "0"),
			liftLimits(filepath.Join(group, "blkio.throttle.write_bps_device"), "0"))
	})
	if err != nil {
		return fmt.Errorf("lift the limits of disks of %s: %w", id, err)
	}
	return nil
}

// liftLimits writes none for every device that a file of limits has a line of.
func liftLimits(file, none string) error {
	data, err := readFile(file)
	for line := range strings.Lines(string(data)) {
		if device, _, ok := strings.Cut(line, " "); ok {
			err = errors.Join(err, writeFile(file, device+" "+none))
		}
	}
	return err
}

// killUnified ends all processes below a v2 group at once (cgroup.kill, since
// Linux 5.14) and waits until the kernel says that the
// group is empty.
func killUnified(w *waiter, dir string, thaw func()) error {
	err := writeFile(filepath.Join(dir, "cgroup.kill"), "1")
	if isGone(err) {
		if _, err := readProcs(dir); isGone(err) {
			return nil // no such group
		}
		return killLoop(w, dir, thaw) // an older kernel
	}
	if err != nil {
		return err
	}
	thaw()
	if err := w.unpopulated(dir); !isGone(err) {
		return err
	}
	return nil
}

// killLoop sends SIGKILL to the processes of a group and waits for their end,
// until there are none.
func killLoop(w *waiter, dir string, thaw func()) error {
	for {
		pids, err := procsBelow(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		// At most so many descriptors at a time; the rest comes in the next round.
		killed, err := killSome(w, dir, pids[:min(len(pids), 128)], thaw)
		if err == nil && killed == 0 {
			// All of them were ending by themselves, and leave the group now.
			err = w.pause(time.Millisecond)
		}
		if err != nil {
			return err
		}
	}
}

// killSome kills processes by descriptors, which a process that takes over a
// pid does not get. The group is read again with the descriptors open: what is
// in it now is what they mean, or has ended.
func killSome(w *waiter, dir string, pids []int, thaw func()) (killed int, err error) {
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		fd := -1
		err := restart(func() (err error) {
			fd, err = unix.PidfdOpen(pid, 0)
			return err
		})
		switch {
		case err == nil:
			held[pid] = fd
		case !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL): // it has ended
			return 0, fmt.Errorf("pidfd_open %d: %w", pid, err)
		}
	}
	now, err := procsBelow(dir)
	if err != nil {
		return 0, err
	}
	for pid, fd := range held {
		if !slices.Contains(now, pid) {
			_ = unix.Close(fd)
			delete(held, pid)
			continue
		}
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	thaw()
	for pid, fd := range held {
		if err := w.readable(fd); err != nil {
			return 0, fmt.Errorf("process %d does not end: %w", pid, err)
		}
	}
	return len(held), nil
}

// Remove removes a sandbox's group, with what is below it, from every
// hierarchy. What is not there is no error. Processes that are left are waited
// for until ctx ends; [Tree.Kill] comes before.
func (t *Tree) Remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	w, err := newWaiter(ctx)
	if err != nil {
		return fmt.Errorf("remove the control group of %s: %w", id, err)
	}
	defer w.close()
	for _, dir := range t.dirs(id) {
		if rmdir(dir) == nil {
			continue
		}
		err = errors.Join(err, walk(dir, func(group string) error { return removeGroup(w, group) }))
	}
	if err != nil {
		return fmt.Errorf("remove the control group of %s: %w", id, err)
	}
	return nil
}

// removeGroup removes a group that has none below it.
func removeGroup(w *waiter, dir string) error {
	for {
		err := rmdir(dir)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if err := w.emptied(dir); err != nil {
			return fmt.Errorf("%s is in use: %w", dir, err)
		}
	}
}

// emptied waits until a group may be empty: on v2 for the kernel's word, on v1
// for the end of one of its processes. A process that has just ended can hold
// its group a moment longer than it is to be seen in it; the kernel has no
// event for that, so it is tried again a millisecond later.
func (w *waiter) emptied(dir string) error {
	err := w.unpopulated(dir)
	if !errors.Is(err, fs.ErrNotExist) && err != nil {
		return err
	}
	pids, err := readProcs(dir)
	if err != nil && !isGone(err) {
		return err
	}
	if len(pids) > 0 {
		fd, err := unix.PidfdOpen(pids[0], 0)
		if err == nil {
			defer func() { _ = unix.Close(fd) }()
			return w.readable(fd)
		}
	}
	return w.pause(time.Millisecond)
}
