package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/disk"
	"cove/runtime/lifecycle"
	"cove/runtime/mount"
	"cove/runtime/rootfs"
)

// The state of a sandbox is kept as layers. Of one that does not run, what it has
// changed becomes a layer by a rename, and it goes on with nothing changed on top of
// that; of one that runs it is copied, first while it runs, and what changed
// meanwhile while it stands still.

const (
	// snapshotLayer begins the names of such layers.
	snapshotLayer = "snap-"
	// hotPasses is how often what changes is copied while the sandbox runs, as long as
	// a pass copies more than hotEnough bytes.
	hotPasses = 3
	hotEnough = 16 << 20
	// maxDepth is how many layers a root may have: overlayfs has a limit, and each
	// makes the looking up of files slower. They are merged long before.
	maxDepth = 400
)

// kept is a state that was kept: what a root of it is made of.
type keptState struct {
	base    rootfs.Base
	frozen  time.Duration
	copied  int64
	release func()
}

// Snapshot keeps the present state of a sandbox under a name; one is made up for an
// empty one. Errors: [ErrExists]; those of the operation.
func (m *Manager) Snapshot(ctx context.Context, c Caller, ref, name string) (SnapshotInfo, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return SnapshotInfo{}, err
	}
	if name != "" {
		if err := config.ValidName(name); err != nil {
			return SnapshotInfo{}, &InvalidError{Problems: []config.Problem{{Key: "name", Message: err.Error()}}}
		}
	}
	rec := b.record()
	name, done, err := m.snapshots.reserve(rec.Owner, name, rec.Name)
	if err != nil {
		return SnapshotInfo{}, err
	}
	defer done()
	var made Snapshot
	_, err = m.perform(ctx, b, lifecycle.OpSnapshot, func(o *operation) error {
		o.enter(lifecycle.Snapshotting)
		var err error
		made, err = m.snapshot(o, name)
		o.doing("")
		if m.stillThere(o) {
			o.enter(o.from)
		}
		return err
	})
	if err != nil {
		return SnapshotInfo{}, err
	}
	if made.ID == "" { // the operation goes on without us
		return SnapshotInfo{}, context.Cause(ctx)
	}
	return m.snapshotInfo(ctx, made)
}

// stillThere tells whether the sandbox is in the state of before, and no other
// came over it.
func (m *Manager) stillThere(o *operation) bool {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	return o.b.state == lifecycle.Snapshotting || o.b.state == lifecycle.Forking
}

func (m *Manager) snapshot(o *operation, name string) (Snapshot, error) {
	id, err := newID()
	if err != nil {
		return Snapshot{}, err
	}
	state, err := m.keepState(o)
	if err != nil {
		return Snapshot{}, err
	}
	defer state.release()
	rec := o.b.record()
	snap := Snapshot{
		Version: recordVersion, ID: id, Name: name, Owner: rec.Owner, Sandbox: rec.Name, Image: rec.Spec.Image, Parent: rec.Snapshot,
		Created: m.now().UTC(), Base: state.base, Config: configOf(rec), Hostname: rec.Hostname, Frozen: state.frozen, Copied: state.copied,
	}
	if err := m.snapshots.add(snap); err != nil {
		return Snapshot{}, err
	}
	o.stage("kept")
	if o.from == lifecycle.Stopped {
		// The next one lies on it.
		if err := m.save(o.b, func(r *record) { r.Snapshot = id }); err != nil {
			m.log.Warn("could not record on which snapshot a sandbox lies", "sandbox", rec.ID, "error", err)
		}
	}
	m.merge()
	return snap, nil
}

// configOf is what the image of a sandbox's state says of programs: what the sandbox
// runs them with, but what comes from its caller.
func configOf(rec record) config.ImageConfig {
	s := rec.effective()
	c := rec.Config.Clone()
	c.User, c.Workdir = s.User, s.Workdir
	c.Env = nil
	for k, v := range s.Env {
		if v.From == "" {
			c.Env = append(c.Env, k+"="+v.Value)
		}
	}
	return c
}

// keepState makes the present state of the sandbox one that a root can be made of.
// The caller calls release once it is recorded.
func (m *Manager) keepState(o *operation) (keptState, error) {
	if err := m.guard.admit(); err != nil {
		return keptState{}, err
	}
	rec := o.b.record()
	if n := len(rec.base().Layers); n >= maxDepth {
		return keptState{}, &ConflictError{Name: rec.Name, State: o.from, Why: fmt.Sprintf("it lies on %d layers, the most there can be; they are being merged, try again in a while", n)}
	}
	if o.from == lifecycle.Stopped && !onDiskWithCow(rec.Spec) {
		base, err := m.takeChanges(o)
		if err != nil {
			return keptState{}, err
		}
		return m.pinned(base)
	}
	return m.copyState(o)
}

// onDiskWithCow tells whether what was changed in directories of the host's, which stays
// the sandbox's own, lies on its disk: that cannot become a layer then.
func onDiskWithCow(s config.Spec) bool {
	return s.Resources.Disk > 0 && slices.ContainsFunc(s.Mounts, func(m config.Mount) bool { return m.Mode == config.MountCOW })
}

func (m *Manager) pinned(base rootfs.Base) (keptState, error) {
	at, err := m.pin(origin{base: base})
	return keptState{base: base, release: at.release}, err
}

// takeChanges makes what a stopped sandbox has changed a layer that it lies on, and gives
// what it lies on then. That the layer is on its way is recorded before, so that
// whatever comes in between, nothing is lost.
func (m *Manager) takeChanges(o *operation) (rootfs.Base, error) {
	rec := o.b.record()
	if same, err := m.unchanged(o, rec); err != nil || same {
		return rec.base(), err
	}
	if err := m.settleDisk(o, rec); err != nil {
		return rootfs.Base{}, err
	}
	id, err := newID()
	if err != nil {
		return rootfs.Base{}, err
	}
	layer := snapshotLayer + id
	if err := m.save(o.b, func(r *record) { r.Pending = layer }); err != nil {
		return rootfs.Base{}, noSpace(fmt.Errorf("record the snapshot: %w", err))
	}
	if err := o.point("pending"); err != nil {
		return rootfs.Base{}, errors.Join(err, m.finishCommit(o.ctx, o.b))
	}
	if err := m.finishCommit(context.WithoutCancel(o.ctx), o.b); err != nil {
		return rootfs.Base{}, err
	}
	o.stage("committed")
	return o.b.record().base(), nil
}

// settleDisk has what a power cut left in the journal of a sandbox's disk written to
// where it belongs: as a layer it is mounted without one.
func (m *Manager) settleDisk(o *operation, rec record) error {
	// What is still being closed is not settled yet, and will be.
	if err := m.opt.Rootfs.Settle(o.ctx, m.target(rec.ID)); err != nil {
		return err
	}
	settled, err := m.opt.Disks.Settled(rec.ID)
	if err != nil || settled {
		return diskError(err)
	}
	if err := m.openDisk(o, rec); err != nil {
		return err
	}
	m.closeDisk(rec.ID)
	if err := m.opt.Rootfs.Settle(o.ctx, m.target(rec.ID)); err != nil {
		return err
	}
	if settled, err = m.opt.Disks.Settled(rec.ID); err == nil && !settled {
		err = fmt.Errorf("%w: its journal does not get empty", disk.ErrDamaged)
	}
	return diskError(err)
}

// unchanged tells whether there is nothing to make a layer of. What is on a disk is
// not looked at: that takes longer than to take it.
func (m *Manager) unchanged(_ *operation, rec record) (bool, error) {
	if rec.Spec.Resources.Disk > 0 {
		return false, nil
	}
	top, err := os.Open(m.stateDir(rec.ID))
	if err != nil {
		return false, fmt.Errorf("look at the sandbox's files: %w", err)
	}
	same, err := rootfs.Unchanged(top)
	return same, errors.Join(err, top.Close())
}

// finishCommit brings takeChanges to its end, or takes it back where the layer was not
// taken: the record then says what is there. It may be called again.
func (m *Manager) finishCommit(ctx context.Context, b *box) error {
	rec := b.record()
	if rec.Pending == "" {
		return nil
	}
	if err := m.opt.Rootfs.Commit(ctx, m.stateDir(rec.ID), m.target(rec.ID), rec.Pending); err != nil {
		if m.opt.Layers.Whole(rec.Pending) {
			return noSpace(err) // it is tried again before anything is done with its files
		}
		return errors.Join(noSpace(err), m.save(b, func(r *record) { r.Pending = "" }))
	}
	if err := m.freshDisk(ctx, rec); err != nil {
		return fmt.Errorf("go on with fresh files: %w", diskError(err))
	}
	err := m.save(b, func(r *record) { r.Base, r.Pending = r.base().With(r.Pending), "" })
	if err != nil {
		return noSpace(fmt.Errorf("record the snapshot: %w", err))
	}
	return nil
}

// freshDisk gives a sandbox whose disk was taken another one.
func (m *Manager) freshDisk(ctx context.Context, rec record) error {
	if rec.Spec.Resources.Disk == 0 {
		return nil
	}
	// One that is there was never used.
	if err := os.Remove(filepath.Join(m.stateDir(rec.ID), disk.ImageFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	top, err := m.opt.Disks.Create(ctx, rec.ID, m.stateDir(rec.ID), disk.SpecOf(rec.Spec.Resources))
	if err != nil {
		return err
	}
	err = errors.Join(rootfs.Create(top, rootfs.Fresh{}), m.opt.Disks.Sync(rec.ID), top.Close())
	m.closeDisk(rec.ID)
	return err
}

// copyState copies what a sandbox has changed that runs, or is paused, or whose disk
// stays its own.
func (m *Manager) copyState(o *operation) (state keptState, err error) {
	b := o.b
	rec := b.record()
	id, err := newID()
	if err != nil {
		return keptState{}, err
	}
	var top *os.File
	if o.from == lifecycle.Stopped {
		if err := m.finishCommit(o.ctx, b); err != nil {
			return keptState{}, err
		}
		rec = b.record()
		top, err = m.openFiles(o, rec)
		defer m.closeDisk(rec.ID)
	} else {
		top, err = m.runningFiles(rec)
	}
	if err != nil {
		return keptState{}, err
	}
	defer func() { _ = top.Close() }()
	from, err := mount.OpenWithin(top, rootfs.Upper, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return keptState{}, fmt.Errorf("find the sandbox's files: %w", err)
	}
	defer func() { _ = from.Close() }()
	layer := snapshotLayer + id
	state.release, err = m.opt.Layers.MakeClone(o.ctx, layer, func(ctx context.Context, to *os.File) error {
		c := rootfs.NewCloner(from, to, m.guard.admit)
		for range hotPasses {
			before := c.Copied()
			if err := o.point("copying"); err != nil {
				return err
			}
			if err := m.pass(ctx, o, c); err != nil {
				return err
			}
			if c.Copied()-before < hotEnough {
				break
			}
		}
		// What its programs have written is in its files, on the disk or not.
		took, err := m.standStill(o, func() error { return c.Pass(ctx) })
		state.frozen, state.copied = took, c.Copied()
		return err
	})
	if err != nil {
		return keptState{}, noSpace(err)
	}
	state.base = rec.base().With(layer)
	base, err := m.pinned(state.base)
	if err != nil {
		state.release()
		return keptState{}, err
	}
	first := state.release
	state.release = func() { first(); base.release() }
	return state, nil
}

func (m *Manager) pass(ctx context.Context, o *operation, c *rootfs.Cloner) error {
	o.doing("copying its files")
	err := c.HotPass(ctx)
	if err == nil {
		err = m.guard.admit()
	}
	return err
}

// runningFiles opens the directory that holds the own files of a sandbox that runs.
func (m *Manager) runningFiles(rec record) (*os.File, error) {
	if rec.Spec.Resources.Disk == 0 {
		return os.Open(m.stateDir(rec.ID))
	}
	return m.opt.Disks.Root(rec.ID)
}

// standStill does something while no process of the sandbox runs, and tells for how
// long that was. One that is paused, or held, stands still anyway.
func (m *Manager) standStill(o *operation, do func() error) (time.Duration, error) {
	b := o.b
	b.mu.Lock()
	frozen := b.frozen || o.from == lifecycle.Stopped
	b.mu.Unlock()
	begin := time.Now()
	if frozen {
		return 0, do()
	}
	if err := m.freeze(o); err != nil {
		return 0, errors.Join(err, m.thaw(context.WithoutCancel(o.ctx), b))
	}
	err := do()
	if thaw := m.thaw(context.WithoutCancel(o.ctx), b); thaw != nil {
		return time.Since(begin), errors.Join(err, fmt.Errorf("let the sandbox go on: %w", thaw))
	}
	took := time.Since(begin)
	o.stage("thawed")
	m.guard.poke()
	return took, err
}

// snapshotsDir is where the records of snapshots are.
func (m *Manager) snapshotsDir() string { return filepath.Join(m.opt.StateDir, "snapshots") }
