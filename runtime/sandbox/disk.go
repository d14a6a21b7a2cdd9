package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"cove/config"
	"cove/runtime/disk"
	"cove/runtime/lifecycle"
	"cove/runtime/rootfs"
)

// MissingDisk is what a sandbox's statistics miss where it has no quota: Disk.
const MissingDisk = "disk"

// makeFiles makes what the sandbox's own files lie on, and the first of them, in its
// fresh directory. The disk stays open for the launch.
func (m *Manager) makeFiles(ctx context.Context, rec record, fresh string) error {
	top, err := m.opt.Disks.Create(ctx, rec.ID, fresh, disk.SpecOf(rec.Spec.Resources))
	if err != nil {
		return diskError(err)
	}
	if err := rootfs.Create(top, rec.Name, gitConfig(rec.Spec)); err != nil {
		return errors.Join(noSpace(fmt.Errorf("make the sandbox's root: %w", err)), top.Close())
	}
	return top.Close()
}

// diskError makes of what is wrong with a disk what a caller decides on.
func diskError(err error) error {
	switch {
	case errors.Is(err, disk.ErrTools):
		return &InvalidError{Unsupported: true, Problems: []config.Problem{{
			Key: "resources.disk", Message: "this machine cannot make disks: " + err.Error(),
		}}}
	case errors.Is(err, disk.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return noSpace(err)
}

// diskPatience is after what time somebody is told that opening a disk takes long.
const diskPatience = time.Second

// openDisk has the sandbox's disk mounted for a launch.
func (m *Manager) openDisk(o *operation, rec record) error {
	slow := time.AfterFunc(diskPatience, func() { o.doing("opening its disk; a check of it may take minutes") })
	err := m.opt.Disks.Open(o.ctx, rec.ID, disk.SpecOf(rec.Spec.Resources))
	if !slow.Stop() {
		o.doing("")
	}
	return diskError(err)
}

// closeDisk closes the disk of a sandbox that was not launched: what ends a launch
// does it else.
func (m *Manager) closeDisk(id string) {
	if err := m.opt.Rootfs.Unmount(m.stateDir(id), m.target(id)); err != nil {
		m.log.Warn("could not give back", "sandbox", id, "what", "disk", "error", err)
	}
}

// adoptDisk finds the disk of a sandbox that runs.
func (m *Manager) adoptDisk(ctx context.Context, rec record) {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	if err := m.opt.Disks.Open(ctx, rec.ID, disk.SpecOf(rec.Spec.Resources)); err != nil {
		m.log.Error("could not take over the disk of a sandbox that runs", "sandbox", rec.ID, "error", err)
	}
}

// measureDisk adds to a sandbox's statistics how full its disk is.
func (m *Manager) measureDisk(st *Stats) {
	if m.opt.Disks == nil {
		return
	}
	u, err := m.opt.Disks.Usage(st.ID)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.log.Debug("could not read how full a disk is", "sandbox", st.ID, "error", err)
	}
	if err != nil || u.Quota == 0 {
		st.Missing = append(st.Missing, MissingDisk)
	}
	st.Disk, st.DiskLimit = u.Used, u.Quota
}

// checkGrowth refuses what cannot become of a disk.
func checkGrowth(was, want config.Resources) error {
	var why, hint string
	switch {
	case want.Disk == was.Disk:
		return nil
	case was.Disk == 0:
		why, hint = "it was made without a disk of its own, and cannot get one", "make another one with --disk"
	case want.Disk < was.Disk:
		why = fmt.Sprintf("a disk can only grow: it has %v, and %v were asked for", was.Disk, want.Disk)
	default:
		return nil
	}
	return &InvalidError{Problems: []config.Problem{{Key: "resources.disk", Message: why, Hint: hint}}}
}

// growDisk makes the sandbox's disk larger.
func (m *Manager) growDisk(o *operation, was, want config.Resources) error {
	if want.Disk == was.Disk {
		return nil
	}
	slow := time.AfterFunc(diskPatience, func() { o.doing("growing its disk") })
	// Not the operation's context: a delete waits for it rather than to leave the
	// disk half grown.
	err := m.opt.Disks.Grow(context.WithoutCancel(o.ctx), o.b.id, disk.SpecOf(want))
	if !slow.Stop() {
		o.doing("")
	}
	if err != nil {
		return diskError(err)
	}
	o.stage("grown")
	return nil
}

// finishGrowth makes the disk as large as a killed daemon was making it, where it had
// begun with that, and records it: there is no way back.
func (m *Manager) finishGrowth(o *operation, size *config.Size) error {
	b := o.b
	was := b.record().Spec.Resources
	if size == nil || *size <= was.Disk {
		return nil
	}
	u, err := m.opt.Disks.Usage(b.id)
	if err != nil || !u.Growing && u.Quota <= int64(was.Disk) {
		return err
	}
	want := was
	want.Disk = *size
	err = m.growDisk(o, was, want)
	if errors.Is(err, disk.ErrOffline) { // it is as it was
		return nil
	}
	if err != nil {
		return err
	}
	return m.recordLimits(b, want)
}

// finishResizeStopped is [Manager.finishResize] of a sandbox that does not run.
func (m *Manager) finishResizeStopped(o *operation, args json.RawMessage) error {
	o.enter(lifecycle.Resizing)
	defer o.enter(o.b.record().Rest)
	var r ResizeRequest
	if err := json.Unmarshal(args, &r); err != nil {
		return fmt.Errorf("read what was under way: %w", err)
	}
	return m.finishGrowth(o, r.Disk)
}
