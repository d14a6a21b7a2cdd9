package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"cove/config"
	"cove/runtime/lifecycle"
	"cove/runtime/mount"
	"cove/runtime/volume"
)

// ErrNoVolume: no such volume, or none that the caller may see.
var ErrNoVolume = errors.New("no such volume")

// VolumeInfo is a named volume with what is known of it now.
type VolumeInfo struct {
	volume.Volume
	// Used is what it occupies, in bytes, -1 while that is not known.
	Used int64
	// Sandboxes are the names of those that have it, running or not.
	Sandboxes []string
}

// has tells whether the sandbox of the record has the volume.
func (r record) has(v volume.Volume) bool {
	return r.Owner == v.Owner && slices.ContainsFunc(r.Spec.Volumes, func(e config.Volume) bool { return e.Name == v.Name })
}

func (m *Manager) volumeInfo(v volume.Volume) VolumeInfo {
	i := VolumeInfo{Volume: v, Used: m.opt.NamedVolumes.Used(v)}
	for _, b := range m.all() {
		if rec := b.record(); rec.has(v) {
			i.Sandboxes = append(i.Sandboxes, rec.Name)
		}
	}
	slices.Sort(i.Sandboxes)
	return i
}

// ListVolumes gives the caller's volumes, by name; root's are everybody's.
func (m *Manager) ListVolumes(c Caller) []VolumeInfo {
	list := []VolumeInfo{}
	for _, v := range m.opt.NamedVolumes.List() {
		if c.Sees(v.Owner) {
			list = append(list, m.volumeInfo(v))
		}
	}
	return list
}

// CreateVolume makes a volume of the caller's. It fails with an *[InvalidError],
// with [ErrExists], [ErrTooMany] and [ErrNoSpace].
func (m *Manager) CreateVolume(ctx context.Context, c Caller, name string, quota config.Size) (VolumeInfo, error) {
	if err := config.ValidName(name); err != nil {
		return VolumeInfo{}, &InvalidError{Problems: []config.Problem{{Key: "name", Message: err.Error()}}}
	}
	m.volumes.Lock()
	defer m.volumes.Unlock()
	v, err := m.makeVolume(ctx, c.UID, name, quota, "quota")
	if err != nil {
		return VolumeInfo{}, err
	}
	return m.volumeInfo(v), nil
}

// maxVolumes is how many volumes a user other than root may have.
const maxVolumes = 1000

func (m *Manager) makeVolume(ctx context.Context, owner int, name string, quota config.Size, key string) (volume.Volume, error) {
	if err := config.ValidQuota(quota); err != nil {
		return volume.Volume{}, &InvalidError{Problems: []config.Problem{{Key: key, Message: err.Error()}}}
	}
	if err := m.guard.admit(); err != nil {
		return volume.Volume{}, err
	}
	owned := 0
	for _, v := range m.opt.NamedVolumes.List() {
		if v.Owner == owner {
			owned++
		}
	}
	if owner != 0 && owned >= maxVolumes {
		return volume.Volume{}, fmt.Errorf("%w: you have %d volumes, the most one user may have; remove some", ErrTooMany, owned)
	}
	v, err := m.opt.NamedVolumes.Create(ctx, owner, name, int64(quota))
	if errors.Is(err, volume.ErrExists) {
		return v, fmt.Errorf("%w: volume %s", ErrExists, name)
	}
	return v, noSpace(err)
}

// RemoveVolume removes a volume of the caller's; its files go in the background. It
// fails with [ErrNoVolume], and with a *[ConflictError] that names them while
// sandboxes have it, whether they run or not. Those in the trash do not count.
func (m *Manager) RemoveVolume(_ context.Context, c Caller, name string) (VolumeInfo, error) {
	// Who gets it is in the index before it is looked for.
	m.volumes.Lock()
	defer m.volumes.Unlock()
	v, err := m.opt.NamedVolumes.Find(c.UID, name)
	if err != nil {
		return VolumeInfo{}, fmt.Errorf("%w: %s", ErrNoVolume, name)
	}
	i := m.volumeInfo(v)
	if len(i.Sandboxes) > 0 {
		return i, &ConflictError{Name: "volume " + name, Why: fmt.Sprintf("%s using it: detach it there first, or delete %s", isAre(i.Sandboxes), itThem(i.Sandboxes))}
	}
	grave := filepath.Join(m.trashDir(), v.ID)
	if err := m.opt.NamedVolumes.Remove(v, grave); err != nil {
		return i, err
	}
	m.trash.add(grave)
	return i, nil
}

// ensureVolumes makes those volumes of a new sandbox that there are not yet.
func (m *Manager) ensureVolumes(ctx context.Context, b *box) error {
	rec := b.record()
	for i, e := range rec.Spec.Volumes {
		m.volumes.Lock()
		err := m.ensureVolume(ctx, rec.Owner, e, fmt.Sprintf("volumes[%d]", i))
		m.volumes.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) ensureVolume(ctx context.Context, owner int, e config.Volume, key string) error {
	v, err := m.opt.NamedVolumes.Find(owner, e.Name)
	if errors.Is(err, volume.ErrNoVolume) {
		_, err = m.makeVolume(ctx, owner, e.Name, e.Quota, key+".quota")
		return err
	}
	if err == nil && e.Quota != 0 && int64(e.Quota) != v.Quota {
		has := "no quota"
		if v.Quota != 0 {
			has = "a quota of " + config.Size(v.Quota).String()
		}
		return &InvalidError{Problems: []config.Problem{{
			Key: key + ".quota", Message: fmt.Sprintf("volume %s is there already, with %s", e.Name, has), Hint: "leave the quota out, or choose another name",
		}}}
	}
	return err
}

// attachVolumes mounts the volumes of a sandbox whose PID 1 waits to be started: what
// is mounted before it has its mount namespace could not be taken away from it
// (mount_namespaces(7), locked mounts).
func (m *Manager) attachVolumes(ctx context.Context, rec record, run running) error {
	if len(rec.Spec.Volumes) == 0 {
		return nil
	}
	ns, err := mount.NamespaceOf(run.Pid)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	all := slices.Clone(rec.Spec.Volumes)
	depth := func(v config.Volume) int { return strings.Count(v.Target, "/") }
	slices.SortStableFunc(all, func(a, b config.Volume) int { return cmp.Compare(depth(a), depth(b)) })
	for _, e := range all {
		err := m.opt.NamedVolumes.Attach(ctx, ns, rec.Owner, e, liveOf(rec, run.UIDBase, e))
		if bad, ok := errors.AsType[*volume.Error](err); ok {
			bad.Index = slices.Index(rec.Spec.Volumes, e)
		}
		if err != nil {
			return noSpace(err)
		}
	}
	return nil
}

// liveOf is what there is to know of a sandbox for a volume of it.
func liveOf(rec record, base uint32, e config.Volume) volume.Live {
	live := volume.Live{Base: base, User: rec.effective().User}
	for _, t := range rec.Spec.Targets() {
		live.Nested = live.Nested || strings.HasPrefix(e.Target, t+"/")
	}
	return live
}

// letGoVolumes closes volumes that only this sandbox, which has ended, had open.
func (m *Manager) letGoVolumes(b *box) {
	rec := b.record()
	for _, e := range rec.Spec.Volumes {
		m.letGoVolume(b, rec.Owner, e.Name)
	}
}

func (m *Manager) letGoVolume(ended *box, owner int, name string) {
	v, err := m.opt.NamedVolumes.Find(owner, name)
	if err != nil {
		return
	}
	m.opt.NamedVolumes.LetGo(v, func() bool {
		return slices.ContainsFunc(m.all(), func(b *box) bool { return b != ended && b.uses(v) })
	})
}

// uses tells whether the sandbox has the volume and runs, or is about to.
func (b *box) uses(v volume.Volume) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.rec.has(v) {
		return false
	}
	if b.run != nil {
		return true
	}
	if b.op == nil {
		return false
	}
	switch b.op.op {
	case lifecycle.OpCreate, lifecycle.OpStart, lifecycle.OpRestart, lifecycle.OpRebuild, lifecycle.OpVolume:
		return true
	default:
		return false
	}
}

// AttachVolume gives a sandbox a volume of its owner's, which is made where there is
// none: at once where it runs, and from then on at each start. It fails with an
// *[InvalidError], a *[ConflictError], and as [Manager.CreateVolume]. What it has
// already, in the same way, is mounted again where it is missing.
func (m *Manager) AttachVolume(ctx context.Context, c Caller, ref string, e config.Volume) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	return m.perform(ctx, b, lifecycle.OpVolume, func(o *operation) error {
		o.enter(o.from)
		rec := b.record()
		again := slices.Contains(rec.Spec.Volumes, e)
		if !again {
			spec := rec.Spec
			spec.Volumes = append(slices.Clone(spec.Volumes), e)
			p := spec.Validate()
			for _, t := range rec.Spec.Targets() {
				if o.from == lifecycle.Started && strings.HasPrefix(t, e.Target+"/") {
					p = append(p, config.Problem{Key: "volume.target", Message: fmt.Sprintf("%s would be hidden by it", t), Hint: "stop the sandbox first"})
				}
			}
			if len(p) > 0 {
				return &InvalidError{Problems: p}
			}
		}
		// First it is its own, so that nobody removes it.
		m.volumes.Lock()
		err := m.ensureVolume(o.ctx, rec.Owner, e, "volume")
		if err == nil && !again {
			err = m.setVolumes(b, func(all []config.Volume) []config.Volume { return append(all, e) })
		}
		m.volumes.Unlock()
		if err != nil {
			return err
		}
		if err := o.point("recorded"); err != nil {
			return err
		}
		if o.from != lifecycle.Started {
			return nil
		}
		if err := m.attachLive(o.ctx, b, rec, e); err != nil {
			if !again {
				err = errors.Join(err, m.forgetVolume(b, rec.Owner, e))
			}
			return asMount(noSpace(err))
		}
		return o.point("mounted")
	})
}

// setVolumes changes the record's list of volumes. Those who got a copy of the record
// share the old one.
func (m *Manager) setVolumes(b *box, change func([]config.Volume) []config.Volume) error {
	b.file.Lock()
	defer b.file.Unlock()
	b.mu.Lock()
	rec := b.rec
	b.mu.Unlock()
	rec.Spec.Volumes = change(slices.Clone(rec.Spec.Volumes))
	if err := writeRecord(m.stateDir(b.id), rec, true); err != nil {
		return noSpace(err)
	}
	b.mu.Lock()
	b.rec.Spec.Volumes = rec.Spec.Volumes
	b.mu.Unlock()
	return nil
}

func (m *Manager) forgetVolume(b *box, owner int, e config.Volume) error {
	err := m.setVolumes(b, func(all []config.Volume) []config.Volume {
		return slices.DeleteFunc(all, func(have config.Volume) bool { return have == e })
	})
	m.letGoVolume(nil, owner, e.Name)
	return err
}

// attachLive mounts the volume in a sandbox that runs, where it is not yet.
func (m *Manager) attachLive(ctx context.Context, b *box, rec record, e config.Volume) error {
	ns, base, err := m.mountsOf(b)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	return m.opt.NamedVolumes.Attach(ctx, ns, rec.Owner, e, liveOf(rec, base, e))
}

// mountsOf opens the mount namespace of a sandbox's PID 1, and gives its first id.
func (m *Manager) mountsOf(b *box) (*mount.Namespace, uint32, error) {
	b.mu.Lock()
	proc, run := b.proc, b.run
	b.mu.Unlock()
	if proc == nil || run == nil {
		return nil, 0, ErrUnavailable
	}
	ns, err := mount.NamespaceOf(run.Pid)
	if err == nil {
		// It is that of the process only if that is still there.
		if err = proc.Signal(0); err == nil {
			return ns, run.UIDBase, nil
		}
		_ = ns.Close()
	}
	return nil, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// DetachVolume takes a volume away from a sandbox, named by its target, or by its name
// where the sandbox has it once. It fails with a *[ConflictError] while something
// inside uses it, and with an *[InvalidError] where the sandbox has none such.
func (m *Manager) DetachVolume(ctx context.Context, c Caller, ref, target string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	return m.perform(ctx, b, lifecycle.OpVolume, func(o *operation) error {
		o.enter(o.from)
		rec := b.record()
		var found []config.Volume
		for _, e := range rec.Spec.Volumes {
			if e.Target == target || e.Name == target {
				found = append(found, e)
			}
		}
		if len(found) != 1 {
			why := fmt.Sprintf("%s has no volume %q", rec.Name, target)
			if len(found) > 1 {
				why = fmt.Sprintf("%s has the volume %s %d times: name the target", rec.Name, target, len(found))
			}
			return &InvalidError{Problems: []config.Problem{{Key: "target", Message: why}}}
		}
		e := found[0]
		if o.from == lifecycle.Started {
			ns, _, err := m.mountsOf(b)
			if err != nil {
				return err
			}
			err = m.opt.NamedVolumes.Detach(o.ctx, ns, rec.Owner, e)
			_ = ns.Close()
			if errors.Is(err, volume.ErrBusy) {
				return &ConflictError{Name: rec.Name, State: o.from, Why: fmt.Sprintf("something inside uses %s: end it, or leave the directory, and try again", e.Target)}
			}
			if err != nil {
				return err
			}
			if err := o.point("unmounted"); err != nil {
				return err
			}
		}
		return m.forgetVolume(b, rec.Owner, e)
	})
}
