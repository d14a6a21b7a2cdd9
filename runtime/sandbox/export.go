package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/archive"
	"cove/runtime/lifecycle"
	"cove/runtime/rootfs"
	"cove/runtime/volume"
)

// A sandbox is moved to another machine as one archive of all its files, those of
// what it is made of among them, with what it is beside them. Where it comes in, the
// files are a layer, and nothing in the archive is believed but by its checksum.

const (
	// exportVersion is of what is beside the files.
	exportVersion = 1
	// importedLayer begins the names of layers that came with an archive.
	importedLayer = "import-"
	maxImported   = 256 << 30
	maxImportedN  = 10_000_000
)

// moved is what is kept of a sandbox beside its files.
type moved struct {
	Version   int                `json:"version"`
	Name      string             `json:"name"`
	Spec      config.Spec        `json:"spec"`
	Config    config.ImageConfig `json:"config"`
	SetupDone bool               `json:"setup_done,omitempty"`
	Steps     int                `json:"setup_steps,omitempty"`
}

// Export writes all that a stopped sandbox is to w, for [Manager.Import]. Nothing
// secret is in it but what is in its files.
func (m *Manager) Export(ctx context.Context, c Caller, ref string, w io.Writer) error {
	b, err := m.find(c, ref)
	if err != nil {
		return err
	}
	if i := b.snapshot(); i.State == lifecycle.Started || i.State == lifecycle.Paused {
		return &ConflictError{Name: i.Name, State: i.State, Why: "it has to be stopped for that"}
	}
	// With its caller it ends.
	ended := make(chan struct{})
	defer close(ended)
	_, err = m.perform(context.WithoutCancel(ctx), b, lifecycle.OpSnapshot, func(o *operation) error {
		go func() {
			select {
			case <-ctx.Done():
				o.cancel(context.Cause(ctx))
			case <-ended:
			}
		}()
		o.enter(lifecycle.Snapshotting)
		err := m.export(o, w)
		o.doing("")
		o.enter(o.from)
		return err
	})
	return err
}

func (m *Manager) export(o *operation, w io.Writer) (err error) {
	if err := m.finishCommit(o.ctx, o.b); err != nil {
		return err
	}
	rec := o.b.record()
	meta, err := json.Marshal(moved{
		Version: exportVersion, Name: rec.Name, Spec: rec.Spec, Config: configOf(rec), SetupDone: rec.SetupDone, Steps: rec.SetupSteps,
	})
	if err != nil {
		return fmt.Errorf("describe the sandbox: %w", err)
	}
	if err := o.point("exporting"); err != nil {
		return err
	}
	if err := m.openDisk(o, rec); err != nil {
		return err
	}
	target := m.target(rec.ID)
	defer func() { err = errors.Join(err, m.opt.Rootfs.Unmount(m.stateDir(rec.ID), target)) }()
	if err := m.opt.Rootfs.View(o.ctx, m.stateDir(rec.ID), target, rec.base()); err != nil {
		return noSpace(err)
	}
	tree, err := os.OpenFile(target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("read the sandbox's files: %w", err)
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	opt := archive.WriteOptions{Meta: meta, Progress: func(n int64) { o.doing("archiving: " + config.Size(n&^(1<<20-1)).String()) }}
	if rec.base().Host {
		usr, err := os.OpenFile(filepath.Join(target, "usr"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return fmt.Errorf("read the sandbox's files: %w", err)
		}
		defer func() { err = errors.Join(err, usr.Close()) }()
		opt.Mounted = map[string]*os.File{"usr": usr}
	}
	_, err = m.opt.Archiver.Send(o.ctx, w, tree, opt)
	return err
}

// Import makes a sandbox of an archive that [Manager.Export] wrote, anywhere; it is
// stopped. It has the name that it had, or name. What it had of the other machine,
// its mounts and its volumes, it has not: what was left out is told. Errors:
// archive.ErrDamaged, archive.ErrHostile, archive.ErrTooLarge, archive.ErrVersion;
// *[InvalidError]; [ErrExists].
func (m *Manager) Import(ctx context.Context, c Caller, name string, r io.Reader) (i Info, left []string, err error) {
	if name != "" {
		if err := config.ValidName(name); err != nil {
			return Info{}, nil, &InvalidError{Problems: []config.Problem{{Key: "name", Message: err.Error()}}}
		}
	}
	if err := m.guard.admit(); err != nil {
		return Info{}, nil, err
	}
	id, err := newID()
	if err != nil {
		return Info{}, nil, err
	}
	layer := importedLayer + id
	var meta json.RawMessage
	var full error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	release, err := m.opt.Layers.Make(ctx, layer, func(ctx context.Context, root *os.File) (err error) {
		meta, _, err = m.opt.Archiver.ReadMeta(ctx, r, root, archive.ReadOptions{MaxBytes: maxImported, MaxEntries: maxImportedN, Progress: func(int64) {
			if full = m.guard.admit(); full != nil {
				cancel()
			}
		}})
		return err
	})
	if full != nil {
		err = full
	}
	if err != nil {
		return Info{}, nil, noSpace(err)
	}
	defer release()
	defer m.sweep() // where it comes to nothing
	var was moved
	if err := json.Unmarshal(meta, &was); err != nil || was.Version < 1 || was.Name == "" {
		return Info{}, nil, fmt.Errorf("%w: it is no sandbox with all that it is made of", archive.ErrHostile)
	}
	if was.Version > exportVersion {
		return Info{}, nil, archive.ErrVersion
	}
	for _, mt := range was.Spec.Mounts {
		left = append(left, fmt.Sprintf("the mount of %s at %s", mt.Source, mt.Target))
	}
	for _, v := range was.Spec.Volumes {
		left = append(left, fmt.Sprintf("the volume %s at %s", v.Name, v.Target))
	}
	was.Spec.Mounts, was.Spec.Volumes = nil, nil
	if was.Spec.Image == config.HostImage {
		was.Spec.Image = "imported" // it is that machine's system
	}
	create := CreateRequest{Name: was.Name, Spec: was.Spec}
	if name != "" {
		create.Name = name
	}
	if err := m.validate(create); err != nil {
		return Info{}, nil, err
	}
	b, err := m.reserve(c, create, &volume.Set{})
	if err != nil {
		return Info{}, nil, err
	}
	o := b.op
	b.mu.Lock()
	b.rec.Base, b.rec.Config = rootfs.Base{Layers: []string{layer}}, was.Config
	b.rec.SetupDone, b.rec.SetupSteps = was.SetupDone, was.Steps
	b.mu.Unlock()
	m.wg.Go(func() { o.run(m.bringIn) })
	<-o.done
	return b.snapshot(), left, o.err
}

// bringIn is the body of the operation: the sandbox is there, and was never started.
func (m *Manager) bringIn(o *operation) (err error) {
	b := o.b
	defer func() {
		if err != nil {
			err = errors.Join(err, m.discard(b))
		}
	}()
	o.enter(lifecycle.Creating)
	if err := m.materialize(o); err != nil {
		return err
	}
	m.closeDisk(b.id)
	err = m.save(b, func(r *record) {
		r.Desired, r.Rest, r.Stopped = lifecycle.Stopped, lifecycle.Stopped, m.now().UTC()
		b.reason = lifecycle.Reason{Kind: lifecycle.ReasonUser}
		r.Reason = b.reason
	})
	if err != nil {
		return noSpace(fmt.Errorf("record the sandbox: %w", err))
	}
	o.enter(lifecycle.Stopped)
	return nil
}
