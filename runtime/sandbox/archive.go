package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/archive"
	"cove/runtime/disk"
	"cove/runtime/lifecycle"
	"cove/runtime/mount"
	"cove/runtime/rootfs"
)

// An archived sandbox has its files in one verified file in place of its disk or
// directories. Which of them counts is what the record says, and nothing else:
// while it says archived, files beside the archive are the rest of an archiving
// or the beginning of a restore, and go; while it says anything else, an archive
// is the rest of a restore or the beginning of an archiving, and goes.

// archiveFile is the archive in a sandbox's directory.
const archiveFile = "archive.tar.zst"

// Archive puts the files of a stopped sandbox into an archive; one that is
// archived is left alone. With stop one that is started is stopped first. A start
// brings it back, and breaks an archiving off. On failure it is stopped as before.
func (m *Manager) Archive(ctx context.Context, c Caller, ref string, stop bool) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	if i := b.snapshot(); stop && lifecycle.Check(lifecycle.OpStop, i.State) == lifecycle.Allowed {
		if i.Spec.Automation.Ephemeral() {
			return i, &ConflictError{Name: i.Name, State: i.State, Why: `it is ephemeral (auto_delete = "0"): stopping it deletes it, so it cannot be archived`}
		}
		if i, err := m.Stop(ctx, c, b.id, false); err != nil {
			return i, err
		}
	}
	return m.perform(ctx, b, lifecycle.OpArchive, func(o *operation) error {
		return m.archive(o, lifecycle.Reason{Kind: lifecycle.ReasonUser})
	})
}

// archive is the body of the operation.
func (m *Manager) archive(o *operation, r lifecycle.Reason) error {
	b := o.b
	o.enter(lifecycle.Archiving)
	err := o.point("archiving")
	if err == nil {
		err = m.keepArchive(o)
	}
	if err == nil {
		err = o.point("saved")
	}
	if err == nil {
		if err = m.save(b, func(rec *record) {
			b.reason, rec.Reason = r, r
			rec.Rest = lifecycle.Archived
		}); err != nil {
			b.mu.Lock()
			b.rec.Rest = lifecycle.Stopped
			b.mu.Unlock()
			err = noSpace(fmt.Errorf("record the archive: %w", err))
		}
	}
	o.doing("")
	if err != nil {
		m.tidyArchive(b)
		o.enter(lifecycle.Stopped)
		return err
	}
	o.stage("recorded")
	m.tidyArchive(b)
	o.enter(lifecycle.Archived)
	return nil
}

// keepArchive makes the archive and proves it.
func (m *Manager) keepArchive(o *operation) error {
	if err := m.finishCommit(o.ctx, o.b); err != nil {
		return err
	}
	rec := o.b.record()
	meta, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("describe the sandbox: %w", err)
	}
	top, err := m.openFiles(o, rec)
	if err != nil {
		return err
	}
	defer m.closeDisk(rec.ID)
	defer func() { _ = top.Close() }()
	tree, err := mount.OpenWithin(top, rootfs.Upper, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("find the sandbox's files: %w", err)
	}
	defer func() { _ = tree.Close() }()
	dir, err := os.Open(m.stateDir(rec.ID))
	if err != nil {
		return fmt.Errorf("find the sandbox's directory: %w", err)
	}
	defer func() { _ = dir.Close() }()
	_, err = m.opt.Archiver.Save(o.ctx, dir, archiveFile, tree, archive.WriteOptions{
		Meta: meta, Progress: func(n int64) { o.doing("archiving: " + config.Size(n&^(1<<20-1)).String()) },
	})
	return noSpace(err)
}

// openFiles opens the directory that holds the own files of a sandbox that does
// not run: its disk, which is for closeDisk to close, or its directory.
func (m *Manager) openFiles(o *operation, rec record) (*os.File, error) {
	if rec.Spec.Resources.Disk == 0 {
		return os.Open(m.stateDir(rec.ID))
	}
	if err := m.openDisk(o, rec); err != nil {
		return nil, err
	}
	top, err := m.opt.Disks.Root(rec.ID)
	if err != nil {
		m.closeDisk(rec.ID)
	}
	return top, err
}

// restore brings the files of an archived sandbox back, whole or not at all; its
// disk stays open for the launch.
func (m *Manager) restore(o *operation) (err error) {
	b := o.b
	o.enter(lifecycle.Restoring)
	defer func() {
		if err == nil {
			return
		}
		o.doing("")
		m.closeDisk(b.id)
		m.tidyArchive(b)
		o.enter(lifecycle.Archived)
	}()
	m.tidyArchive(b)
	if err := o.point("restoring"); err != nil {
		return err
	}
	if err := m.readArchive(o); err != nil {
		if errors.Is(err, archive.ErrDamaged) || errors.Is(err, archive.ErrHostile) {
			return fmt.Errorf("%w: %s is left as it is", err, filepath.Join(m.stateDir(b.id), archiveFile))
		}
		return noSpace(err)
	}
	if err := o.point("restored"); err != nil {
		return err
	}
	if err := m.save(b, func(r *record) { r.Rest = lifecycle.Stopped }); err != nil {
		b.mu.Lock()
		b.rec.Rest = lifecycle.Archived
		b.mu.Unlock()
		return noSpace(fmt.Errorf("record the restore: %w", err))
	}
	o.doing("")
	o.stage("recorded")
	m.tidyArchive(b)
	return nil
}

// readArchive makes the sandbox's files from its archive, on the host's disk when
// it returns.
func (m *Manager) readArchive(o *operation) (err error) {
	rec := o.b.record()
	from, err := os.OpenFile(filepath.Join(m.stateDir(rec.ID), archiveFile), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", archive.ErrDamaged, err)
	}
	defer func() { _ = from.Close() }()
	top, err := m.opt.Disks.Create(o.ctx, rec.ID, m.stateDir(rec.ID), disk.SpecOf(rec.Spec.Resources))
	if err != nil {
		return diskError(err)
	}
	defer func() { err = errors.Join(err, top.Close()) }()
	if err := unix.Mkdirat(int(top.Fd()), rootfs.Upper, 0o755); err != nil {
		return fmt.Errorf("make the sandbox's root: %w", err)
	}
	tree, err := mount.OpenWithin(top, rootfs.Upper, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("make the sandbox's root: %w", err)
	}
	_, err = m.opt.Archiver.Read(o.ctx, from, tree, archive.ReadOptions{
		Progress: func(n int64) { o.doing("restoring: " + config.Size(n&^(1<<20-1)).String()) },
	})
	if err := errors.Join(err, tree.Close()); err != nil {
		return err
	}
	// What is not there yet: the work directories of the overlays.
	if err := rootfs.Create(top, rootfs.Fresh{}); err != nil {
		return fmt.Errorf("make the sandbox's root: %w", err)
	}
	if err := unix.Syncfs(int(top.Fd())); err != nil {
		return fmt.Errorf("write the sandbox's files to the disk: %w", err)
	}
	return nil
}

// tidyArchive takes away what does not count: see above. What cannot be taken
// away is tried again by the next operation and the next daemon.
func (m *Manager) tidyArchive(b *box) {
	dir := m.stateDir(b.id)
	gone := []string{archiveFile, archiveFile + archive.Partial}
	if b.record().Rest == lifecycle.Archived {
		// Where there is no archive, and so no hand of cove's was, nothing goes.
		if _, err := os.Lstat(filepath.Join(dir, archiveFile)); err != nil {
			m.log.Error("an archived sandbox has no archive", "sandbox", b.id, "error", err)
			return
		}
		gone = append([]string{archiveFile + archive.Partial, disk.ImageFile}, rootfs.Dirs()...)
	}
	grave := ""
	for _, name := range gone {
		path := filepath.Join(dir, name)
		st, err := os.Lstat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		switch {
		case err != nil:
		case st.IsDir() && grave == "":
			if grave, err = os.MkdirTemp(m.trashDir(), b.id+"-"); err == nil {
				err = os.Rename(path, filepath.Join(grave, name))
			}
		case st.IsDir():
			err = os.Rename(path, filepath.Join(grave, name))
		default:
			err = os.Remove(path)
		}
		if err != nil {
			m.log.Warn("could not take away what an archive makes superfluous", "sandbox", b.id, "file", name, "error", err)
		}
	}
	if grave != "" {
		m.trash.add(grave)
	}
}
