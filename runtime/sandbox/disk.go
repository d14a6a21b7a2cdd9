package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"cove/config"
	"cove/runtime/disk"
	"cove/runtime/rootfs"
)

// MissingDisk is what a sandbox's statistics miss where how much of the disk it uses is
// not known: Disk.
const MissingDisk = "disk"

// makeFiles makes what the sandbox's own files lie on, and the first of them, in its
// fresh directory. The disk stays open for the launch.
func (m *Manager) makeFiles(ctx context.Context, rec record, fresh string) error {
	top, err := m.opt.Disks.Create(ctx, rec.ID, fresh, m.diskSpec(rec.Spec.Resources))
	if err != nil {
		return diskError(err)
	}
	if err := rootfs.Create(top, m.freshRoot(rec)); err != nil {
		return errors.Join(noSpace(fmt.Errorf("make the sandbox's root: %w", err)), top.Close())
	}
	// The record's own sync does that for a directory, which is on the same file
	// system: without it a power cut would leave a sandbox without a root.
	return errors.Join(noSpace(m.opt.Disks.Sync(rec.ID)), top.Close())
}

// freshRoot is what the sandbox's root begins with.
func (m *Manager) freshRoot(rec record) rootfs.Fresh {
	if rec.Build {
		return rootfs.Fresh{} // it begins with what its steps are on
	}
	f := rootfs.Fresh{GitConfig: gitConfig(rec.Spec)}
	// Where its files are those of another, PID 1 puts the new name in the place of
	// that one's, and leaves the rest of them.
	own := rec.Hostname == rec.Name
	if own {
		f.Hostname = rec.Name
	}
	if base := rec.base(); !base.Host {
		f.Resolver, f.Dirs = own, m.opt.Layers.Lacks(base)
	}
	return f
}

// diskSpec is what is asked of a disk that is made or grows.
func (m *Manager) diskSpec(r config.Resources) disk.Spec {
	s := disk.SpecOf(r)
	if s.Reserve {
		s.Leave = m.guard.leave()
	}
	return s
}

// diskError makes of what is wrong with a disk what a caller decides on.
func diskError(err error) error {
	switch {
	case errors.Is(err, disk.ErrTools):
		return &InvalidError{Unsupported: true, Problems: []config.Problem{{
			Key: "resources.disk", Message: "this machine cannot make disks: " + err.Error(),
		}}}
	case errors.Is(err, disk.ErrNoSpace):
		return noRoomError{err}
	}
	return noSpace(err)
}

// noRoomError is a disk's error that says itself that there is no space. It is an
// [ErrNoSpace].
type noRoomError struct{ error }

// Is makes errors.Is(err, ErrNoSpace) hold.
func (noRoomError) Is(target error) bool { return target == ErrNoSpace }

func (e noRoomError) Unwrap() error { return e.error }

// diskPatience is after what time somebody is told that opening a disk takes long.
const diskPatience = time.Second

// openDisk has the sandbox's disk mounted for a launch.
func (m *Manager) openDisk(o *operation, rec record) error {
	slow := time.AfterFunc(diskPatience, func() { o.doing("opening its disk; a check of it may take minutes") })
	err := m.finishGrowth(o)
	if err == nil {
		err = m.opt.Disks.Open(o.ctx, rec.ID, disk.SpecOf(o.b.record().Spec.Resources))
	}
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
	known := err == nil
	if known && u.Quota == 0 {
		u.Used, known = m.opt.Disks.Files(st.ID)
	}
	if !known {
		st.Missing = append(st.Missing, MissingDisk)
	}
	st.Disk, st.DiskLimit = u.Used, u.Quota
}
