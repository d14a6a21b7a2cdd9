package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"cove/config"
	"cove/runtime/disk"
	"cove/runtime/lifecycle"
	"cove/runtime/store"
)

// A disk that has grown cannot go back. So the order is the other one than that of
// limits: what the record says comes first, and is then made true. What was begun
// is kept in the sandbox's own directory, where it outlives a reboot: the next
// daemon, or else the next start, does it to the end.

// checkDisk refuses what no disk can be made to be.
func checkDisk(was, want config.Size) error {
	hint, message := "make another sandbox and copy what is needed: cove cp", ""
	switch {
	case was == want:
		return nil
	case was == 0:
		message = fmt.Sprintf("it was made without a disk of its own, and cannot be given one of %v", want)
		hint = "make another sandbox with --disk and copy what is needed: cove cp"
	case want == 0:
		message = fmt.Sprintf("its quota of %v cannot be taken away", was)
	case want > 0 && want < was:
		message = fmt.Sprintf("a disk only grows: it has %v, and cannot shrink to %v", was, want)
	default:
		return nil
	}
	return &InvalidError{Problems: []config.Problem{{Key: "resources.disk", Message: message, Hint: hint}}}
}

// commit writes the limits down, and makes the disk as large as they say.
func (m *Manager) commit(o *operation, was, want config.Resources) (err error) {
	b := o.b
	if was.Disk == want.Disk {
		return m.recordLimits(b, want)
	}
	if err := m.guard.admit(); err != nil {
		return err
	}
	log, err := store.OpenOplog(filepath.Join(m.stateDir(b.id), oplogFile), true)
	if err != nil {
		return noSpace(fmt.Errorf("open the operation's record: %w", err))
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := log.Begin(string(o.op), string(o.from)); err != nil {
		return noSpace(err)
	}
	err = m.recordLimits(b, want)
	if err == nil {
		o.stage("promised")
		err = m.grow(o, want)
	}
	if err != nil {
		if back := m.recordLimits(b, was); back != nil {
			return errors.Join(err, back) // the next start tries again
		}
		return errors.Join(err, log.End("failed"))
	}
	o.stage("grown")
	if err := log.End("done"); err != nil {
		m.log.Warn("could not record that a disk has grown", "sandbox", b.id, "error", err) // to do it again does nothing
	}
	return nil
}

// grow makes the disk as large as r says.
func (m *Manager) grow(o *operation, r config.Resources) error {
	slow := time.AfterFunc(diskPatience, func() { o.doing("growing its disk") })
	// Not the operation's context: a program that is killed while it moves things
	// on a disk leaves it damaged. A delete waits for it.
	err := m.opt.Disks.Grow(context.WithoutCancel(o.ctx), o.b.id, m.diskSpec(r))
	if !slow.Stop() {
		o.doing("")
	}
	if errors.Is(err, disk.ErrOffline) {
		name := o.b.record().Name
		return &LimitError{
			Name: name, Err: err, Message: "its disk cannot grow while it runs: on this machine cove has not the right to it, CAP_SYS_RESOURCE",
			Hint: "stop it first: cove stop " + name,
		}
	}
	return diskError(err)
}

// finishGrowth does to the end what a killed daemon was at with the sandbox's
// disk. Where that cannot be done the record says what the disk is.
func (m *Manager) finishGrowth(o *operation) error {
	b := o.b
	if b.record().Spec.Resources.Disk == 0 {
		return nil
	}
	path := filepath.Join(m.stateDir(b.id), oplogFile)
	last, err := store.ReadOplog(path)
	if err != nil || !last.Unfinished || lifecycle.Operation(last.Op) != lifecycle.OpResize {
		return err
	}
	log, err := store.OpenOplog(path, true)
	if err != nil {
		return noSpace(err)
	}
	defer func() { _ = log.Close() }()
	r := b.record().Spec.Resources
	result := "done"
	if err := m.grow(o, r); err != nil {
		m.log.Warn("a disk did not grow", "sandbox", b.id, "to", r.Disk, "error", err)
		result = "failed"
		u, uerr := m.opt.Disks.Usage(b.id)
		if uerr != nil || u.Quota == 0 {
			return errors.Join(err, uerr)
		}
		r.Disk = config.Size(u.Quota)
		if err := m.recordLimits(b, r); err != nil {
			return err
		}
	}
	return log.End(result)
}
