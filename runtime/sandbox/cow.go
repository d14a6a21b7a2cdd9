package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/cow"
	"cove/runtime/delta"
	"cove/runtime/lifecycle"
	"cove/runtime/mount"
	"cove/runtime/rootfs"
	"cove/runtime/store"
	"cove/runtime/volume"
)

// cowKey names a copy-on-write mount among the sandbox's own files: its place in the
// Spec, which never changes.
func cowKey(index int) string { return strconv.Itoa(index) }

// What is kept of such a mount in the sandbox's directory.
func manifestFile(index int) string { return "cow-" + cowKey(index) + ".manifest" }
func appliedFile(index int) string  { return "cow-" + cowKey(index) + ".applied" }

// takeManifests writes down what the directories of copy-on-write mounts hold. The
// launch may go on meanwhile: what changes after since is marked as of an unknown
// time.
func (m *Manager) takeManifests(ctx context.Context, o *operation, set *volume.Set, since time.Time) error {
	for i, mt := range o.b.record().Spec.Mounts {
		if mt.Mode != config.MountCOW {
			continue
		}
		if err := m.takeManifest(ctx, o, i, mt, set.Dir(i), since); err != nil {
			return noSpace(fmt.Errorf("list what %s holds: %w", mt.Source, err))
		}
	}
	return nil
}

func (m *Manager) takeManifest(ctx context.Context, o *operation, index int, mt config.Mount, dir *os.File, since time.Time) (err error) {
	path := filepath.Join(m.stateDir(o.b.id), manifestFile(index))
	f, err := os.OpenFile(path+".partial", unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	begin := time.Now()
	n, err := cow.Take(ctx, dir, f, since, func(files int) {
		o.doing(fmt.Sprintf("looking through %s: %d files", mt.Source, files))
	})
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n >= 1<<14 {
		o.doing("")
	}
	m.log.Debug("listed a directory", "sandbox", o.b.id, "mount", index, "files", n, "took", time.Since(begin))
	if err := os.Rename(path+".partial", path); err != nil {
		return err
	}
	return store.SyncDir(filepath.Dir(path))
}

// ChangesRequest asks what a sandbox has changed in a copy-on-write mount.
type ChangesRequest struct {
	// Target is the mount's; with Root it is "/" or "/usr", of the sandbox's own
	// root, which the host image has in two parts.
	Target string
	Root   bool
	// Paths are those to tell of; none are all.
	Paths []string
	// List leaves out the content of files.
	List bool
}

// cowMount finds the copy-on-write mount at target.
func cowMount(rec record, target string) (int, error) {
	i := slices.IndexFunc(rec.Spec.Mounts, func(mt config.Mount) bool {
		return mt.Mode == config.MountCOW && filepath.Clean(mt.Target) == filepath.Clean(target)
	})
	if i < 0 {
		return 0, &InvalidError{Problems: []config.Problem{{
			Key: "target", Message: fmt.Sprintf("%s has no copy-on-write mount at %q", rec.Name, target),
		}}}
	}
	return i, nil
}

// Changes writes what a sandbox has changed to what begin gives, see package delta.
// begin is called once nothing but the reading itself can fail. A stopped one is
// occupied meanwhile. Errors: those of [cow.Write]; *[InvalidError];
// *[ConflictError].
func (m *Manager) Changes(ctx context.Context, c Caller, ref string, r ChangesRequest, begin func() io.Writer) error {
	b, err := m.find(c, ref)
	if err != nil {
		return err
	}
	if err := validPaths(r.Paths); err != nil {
		return err
	}
	switch i := b.snapshot(); i.State {
	case lifecycle.Started, lifecycle.Paused:
		return m.changesOf(ctx, b.record(), r, begin)
	case lifecycle.Archived, lifecycle.Error, lifecycle.BuildFailed, lifecycle.Unknown:
		return &ConflictError{Name: i.Name, State: i.State, Why: fmt.Sprintf("what it changed can be read while it is started, paused or stopped; it is %s", i.State)}
	default: // what is under way says so below
	}
	o, _, err := m.begin(ctx, b, lifecycle.OpCopy)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { o.cancel(context.Cause(ctx)) })
	defer stop()
	o.run(func(o *operation) error {
		o.enter(o.from)
		if o.from == lifecycle.Started {
			return m.changesOf(o.ctx, b.record(), r, begin)
		}
		top, err := m.openFiles(o, b.record())
		if err != nil {
			return err
		}
		defer m.closeDisk(b.id)
		defer func() { _ = top.Close() }()
		return m.writeChanges(o.ctx, b.record(), top, r, begin)
	})
	return o.err
}

func validPaths(paths []string) error {
	for _, p := range paths {
		if !delta.ValidPath(p) {
			return &InvalidError{Problems: []config.Problem{{Key: "path", Message: fmt.Sprintf("%.200q is no path below a directory", p)}}}
		}
	}
	return nil
}

// changesOf reads the files of one that runs.
func (m *Manager) changesOf(ctx context.Context, rec record, r ChangesRequest, begin func() io.Writer) error {
	top, err := m.liveFiles(rec)
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }()
	return m.writeChanges(ctx, rec, top, r, begin)
}

func (m *Manager) liveFiles(rec record) (*os.File, error) {
	if rec.Spec.Resources.Disk == 0 {
		return os.Open(m.stateDir(rec.ID))
	}
	return m.opt.Disks.Root(rec.ID)
}

func (m *Manager) writeChanges(ctx context.Context, rec record, top *os.File, r ChangesRequest, begin func() io.Writer) error {
	src := cow.Source{Paths: r.Paths, List: r.List}
	var upper string
	switch {
	case r.Root && r.Target == "/":
		upper = rootfs.UpperRoot
	case r.Root && r.Target == "/usr" && rec.base().Host:
		upper = rootfs.UpperUsr
	case r.Root:
		return &InvalidError{Problems: []config.Problem{{Key: "target", Message: fmt.Sprintf("the root has no part at %q", r.Target)}}}
	default:
		index, err := cowMount(rec, r.Target)
		if err != nil {
			return err
		}
		upper = rootfs.Cow(cowKey(index))
		f, manifest, err := m.manifest(rec.ID, index)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		src.Manifest = manifest
		if index < len(rec.Dirs) {
			src.Top = &delta.Base{Kind: delta.Dir, Ino: rec.Dirs[index].Ino, Dev: rec.Dirs[index].Dev}
		}
		if src.Applied, err = cow.ReadApplied(m.stateDir(rec.ID), appliedFile(index)); err != nil {
			return err
		}
	}
	dir, err := mount.OpenWithin(top, upper, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("find what it has changed: %w", err)
	}
	defer func() { _ = dir.Close() }()
	src.Upper = dir
	return cow.Write(ctx, begin(), src)
}

func (m *Manager) manifest(id string, index int) (io.Closer, *cow.Manifest, error) {
	f, err := os.OpenFile(filepath.Join(m.stateDir(id), manifestFile(index)), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", cow.ErrDamaged, err)
	}
	manifest, err := cow.Read(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, manifest, nil
}

// Applied writes down that these changes have been made to the host's directory, or
// taken back: what the sandbox has and what the host has there is the same now.
// Errors: [cow.ErrTooMany]; *[InvalidError].
func (m *Manager) Applied(c Caller, ref, target string, changes []delta.Change) error {
	b, err := m.find(c, ref)
	if err != nil {
		return err
	}
	index, err := cowMount(b.record(), target)
	if err != nil {
		return err
	}
	for _, ch := range changes {
		if err := validPaths([]string{string(ch.Path)}); err != nil {
			return err
		}
		if len(ch.Sum) > 64 || ch.Base != nil && len(ch.Base.Link) > delta.MaxPath {
			return &InvalidError{Problems: []config.Problem{{Key: "changes", Message: "a change is longer than any"}}}
		}
	}
	b.file.Lock()
	defer b.file.Unlock()
	all, err := cow.ReadApplied(m.stateDir(b.id), appliedFile(index))
	if err != nil {
		return err
	}
	return noSpace(all.Add(m.stateDir(b.id), appliedFile(index), changes, m.now()))
}

// Discard takes back what a stopped sandbox has changed at paths of a copy-on-write
// mount, with all below them. Of a started one nobody but itself may change the
// files (the kernel does not say what happens else), so that fails with a
// *[ConflictError]. Errors: [cow.ErrHidden]; *[InvalidError].
func (m *Manager) Discard(ctx context.Context, c Caller, ref, target string, paths []string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	if err := validPaths(paths); err != nil {
		return Info{}, err
	}
	index, err := cowMount(b.record(), target)
	if err != nil {
		return Info{}, err
	}
	if i := b.snapshot(); i.State == lifecycle.Started {
		return i, &ConflictError{Name: i.Name, State: i.State, Why: "it is started: cove discard has it take its changes back itself"}
	}
	return m.perform(ctx, b, lifecycle.OpVolume, func(o *operation) error {
		o.enter(o.from)
		if o.from != lifecycle.Stopped {
			return &ConflictError{Name: b.record().Name, State: o.from, Why: "it was started meanwhile"}
		}
		return m.discardChanges(o, index, paths)
	})
}

func (m *Manager) discardChanges(o *operation, index int, paths []string) error {
	rec := o.b.record()
	held, err := m.held(rec.ID, index, paths)
	if err != nil {
		return err
	}
	top, err := m.openFiles(o, rec)
	if err != nil {
		return err
	}
	defer m.closeDisk(rec.ID)
	defer func() { _ = top.Close() }()
	dir, err := mount.OpenWithin(top, rootfs.Cow(cowKey(index)), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("find what it has changed: %w", err)
	}
	defer func() { _ = dir.Close() }()
	for _, p := range paths {
		if err := cow.Discard(o.ctx, dir, p, held[p]); err != nil {
			return err
		}
	}
	return unix.Syncfs(int(top.Fd()))
}

// held tells which of the paths the host's directory held.
func (m *Manager) held(id string, index int, paths []string) (map[string]bool, error) {
	f, manifest, err := m.manifest(id, index)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all, err := cow.ReadApplied(m.stateDir(id), appliedFile(index))
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for {
		p, _, err := manifest.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		held[p] = slices.Contains(paths, p)
		if !held[p] {
			delete(held, p)
		}
	}
	for p, mark := range all {
		if slices.Contains(paths, p) {
			held[p] = mark.Base != nil
		}
	}
	return held, nil
}
