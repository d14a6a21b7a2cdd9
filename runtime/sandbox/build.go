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
	"cove/runtime/dockerfile"
	"cove/runtime/image"
	"cove/runtime/lifecycle"
	"cove/runtime/store"
	"cove/runtime/volume"
)

// A build is a sandbox that never gets to be started: its steps run in it one after
// the other, each on what those before it made, and what each has changed becomes a
// layer. When they are done there is a snapshot, and the sandbox is gone; when one
// fails the sandbox stays, with what was printed, to be built again.

const (
	// maxBuilding is how many builds run at once; others wait for their turn.
	maxBuilding = 2
	// maxContext is how many bytes of files a build is sent.
	maxContext = 16 << 30

	buildFile   = "build.json"
	contextFile = "context.tar"
)

// BuildRequest is what a snapshot is built from.
type BuildRequest struct {
	// ID is as in [CreateRequest].
	ID string
	// Name is the snapshot's; one is made up for an empty one.
	Name string
	// Spec has the limits and the network that its steps have. Its image, mounts,
	// volumes, variables and setup steps count for nothing.
	Spec       config.Spec
	Dockerfile []byte
	// Args are the values of arguments, Target the stage that is meant; empty is the
	// last.
	Args   map[string]string
	Target string
	// NoCache takes every step anew.
	NoCache bool
	// Context is a tar of the files that may be copied.
	Context io.Reader
	// Auth is what the caller has for registries, by their names.
	Auth map[string]*image.Auth
	// Log gets what is printed; it may be nil.
	Log io.Writer
}

// recipe is what of a build is kept, to do it again.
type recipe struct {
	Name       string            `json:"name"`
	Dockerfile []byte            `json:"dockerfile"`
	Args       map[string]string `json:"args,omitempty"`
	Target     string            `json:"target,omitempty"`
	NoCache    bool              `json:"no_cache,omitempty"`
}

// BuildError is a step that failed. The sandbox of the build is there, in the state
// build_failed: its log has all that was printed.
type BuildError struct {
	Name string // the sandbox's
	Step string
	Why  string
}

func (e *BuildError) Error() string { return fmt.Sprintf("%s: %s failed: %s", e.Name, e.Step, e.Why) }

// asDockerfile makes what is wrong with a Dockerfile a fault of the request.
func asDockerfile(err error) error {
	var bad *dockerfile.Error
	if errors.As(err, &bad) {
		return &InvalidError{Problems: []config.Problem{{Message: bad.Error()}}}
	}
	return err
}

// Build builds a snapshot. Errors: *[InvalidError], *[BuildError], *[ImageError],
// [ErrExists] (the name), [ErrCanceled]. When ctx ends the build does.
func (m *Manager) Build(ctx context.Context, c Caller, r BuildRequest) (SnapshotInfo, error) {
	p := recipe{Name: r.Name, Dockerfile: r.Dockerfile, Args: r.Args, Target: r.Target, NoCache: r.NoCache}
	if _, err := p.stages(); err != nil {
		return SnapshotInfo{}, asDockerfile(err)
	}
	if r.Name != "" {
		if err := config.ValidName(r.Name); err != nil {
			return SnapshotInfo{}, &InvalidError{Problems: []config.Problem{{Key: "name", Message: err.Error()}}}
		}
	}
	spec := buildSpec(r.Spec)
	create := CreateRequest{ID: r.ID, Spec: spec}
	if err := m.validate(create); err != nil {
		return SnapshotInfo{}, err
	}
	if err := m.guard.admit(); err != nil {
		return SnapshotInfo{}, err
	}
	name, done, err := m.snapshots.reserve(c.UID, r.Name, "build")
	if err != nil {
		return SnapshotInfo{}, err
	}
	defer done()
	p.Name = name
	create.Name = m.buildName(name)
	b, err := m.reserve(c, create, &volume.Set{})
	if err != nil {
		return SnapshotInfo{}, err
	}
	o := b.op
	stop := context.AfterFunc(ctx, func() { o.cancel(context.Cause(ctx)) })
	defer stop()
	var made Snapshot
	m.wg.Go(func() {
		o.run(func(o *operation) (err error) {
			made, err = m.buildNew(o, p, r)
			return err
		})
	})
	<-o.done // it ends with ctx
	if o.err != nil {
		return SnapshotInfo{}, o.err
	}
	return m.snapshotInfo(context.WithoutCancel(ctx), made)
}

// stages reads the Dockerfile anew: to go through it changes it.
func (p recipe) stages() ([]dockerfile.Stage, error) {
	f, err := dockerfile.Parse(p.Dockerfile)
	if err != nil {
		return nil, err
	}
	return f.Plan(p.Target, p.Args)
}

// buildSpec is what steps run in.
func buildSpec(s config.Spec) config.Spec {
	s.Image, s.User, s.Workdir, s.Shell, s.Command, s.Setup = config.HostImage, "", "/", nil, nil, nil
	s.Env, s.Labels, s.Mounts, s.Volumes, s.Ports, s.Git = nil, nil, nil, nil, nil, config.Git{}
	s.Resources.Disk, s.Resources.DiskReserve, s.Resources.GPU, s.Resources.GPUShared = 0, false, config.GPURequest{}, false
	s.NoNewPrivileges = false
	s.Automation = config.Automation{StopTimeout: s.Automation.StopTimeout, AutoArchive: config.Never, AutoDelete: config.Never, TTL: config.Never}
	return s
}

// buildName is a name for the sandbox of a build.
func (m *Manager) buildName(snapshot string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := "build-" + snapshot
	for i := 2; ; i++ {
		if _, taken := m.names[name]; !taken && config.ValidName(name) == nil {
			return name
		}
		if config.ValidName(name) != nil {
			snapshot = "of"
		}
		name = fmt.Sprintf("build-%s-%d", snapshot, i)
	}
}

// buildNew is the body of the operation of a new build.
func (m *Manager) buildNew(o *operation, p recipe, r BuildRequest) (made Snapshot, err error) {
	b := o.b
	defer func() {
		if err != nil && !m.keepFailed(b) {
			err = errors.Join(err, m.discard(b))
		}
	}()
	b.mu.Lock()
	b.rec.Build = true
	b.mu.Unlock()
	o.enter(lifecycle.PendingBuild)
	if err := m.materialize(o); err != nil {
		return Snapshot{}, err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return Snapshot{}, fmt.Errorf("record the build: %w", err)
	}
	if err := store.Replace(m.stateDir(b.id), buildFile, data, false); err != nil {
		return Snapshot{}, noSpace(fmt.Errorf("record the build: %w", err))
	}
	if err := m.keepContext(o, r.Context); err != nil {
		return Snapshot{}, err
	}
	return m.build(o, p, r.Auth, r.Log)
}

// keepContext keeps the files that the build is sent.
func (m *Manager) keepContext(o *operation, from io.Reader) error {
	f, err := os.OpenFile(filepath.Join(m.stateDir(o.b.id), contextFile), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return noSpace(fmt.Errorf("keep the build's files: %w", err))
	}
	defer func() { _ = f.Close() }()
	if from == nil {
		return nil
	}
	var n int64
	for {
		k, err := io.CopyN(f, from, 8<<20)
		n += k
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return noSpace(fmt.Errorf("keep the build's files: %w", err))
		case n > maxContext:
			return &InvalidError{Problems: []config.Problem{{Message: fmt.Sprintf("the build's files are more than %s", sizeText(maxContext)), Hint: "leave some out with a .dockerignore"}}}
		case o.ctx.Err() != nil:
			return context.Cause(o.ctx)
		}
		if err := m.guard.admit(); err != nil {
			return err
		}
	}
}

// build waits for its turn and goes through the steps. Afterwards there is a
// snapshot and the sandbox is gone, or it is in the state build_failed.
func (m *Manager) build(o *operation, p recipe, auth map[string]*image.Auth, to io.Writer) (Snapshot, error) {
	b := o.b
	o.enter(lifecycle.PendingBuild)
	if err := o.point("pending"); err != nil {
		return Snapshot{}, err
	}
	select {
	case m.building <- struct{}{}:
		defer func() { <-m.building }()
	case <-o.ctx.Done():
		return Snapshot{}, context.Cause(o.ctx)
	}
	o.enter(lifecycle.BuildingSnapshot)
	log, err := createSetupLog(filepath.Join(m.stateDir(b.id), setupFile), nil)
	if err != nil {
		return Snapshot{}, noSpace(fmt.Errorf("keep what the build prints: %w", err))
	}
	defer func() { _ = log.close() }()
	x := &building{m: m, o: o, plan: p, auth: auth, log: log, to: to}
	defer x.release()
	result, err := x.run()
	o.doing("")
	if err != nil {
		return Snapshot{}, m.buildFailed(o, x, err)
	}
	id, err := newID()
	if err != nil {
		return Snapshot{}, err
	}
	snap := Snapshot{
		Version: recordVersion, ID: id, Name: p.Name, Owner: b.record().Owner, Image: result.image, Parent: result.snapshot,
		Created: m.now().UTC(), Base: result.base, Config: result.config,
	}
	if err := m.snapshots.add(snap); err != nil {
		return Snapshot{}, err
	}
	o.stage("kept")
	m.merge()
	o.enter(lifecycle.Destroying)
	return snap, m.discard(b)
}

// buildFailed keeps a build of which a step failed. What is no step's fault, such as
// the end of the daemon, is no reason to.
func (m *Manager) buildFailed(o *operation, x *building, cause error) error {
	var step *BuildError
	if o.ctx.Err() != nil || !errors.As(cause, &step) {
		if o.ctx.Err() != nil {
			return context.Cause(o.ctx)
		}
		return asDockerfile(cause)
	}
	x.note("%s", step.Why)
	b := o.b
	err := m.save(b, func(r *record) {
		b.reason = lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: fmt.Sprintf("%s failed: %s", step.Step, step.Why)}
		r.Desired, r.Rest, r.Reason, r.Stopped = lifecycle.Stopped, lifecycle.BuildFailed, b.reason, m.now().UTC()
	})
	if err != nil {
		return errors.Join(cause, noSpace(err))
	}
	o.enter(lifecycle.BuildFailed)
	return cause
}

// Rebuild does a failed build again, from the step that failed; its files are those
// that were sent with it. Errors as Build.
func (m *Manager) Rebuild(ctx context.Context, c Caller, ref string, log io.Writer) (SnapshotInfo, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return SnapshotInfo{}, err
	}
	var made Snapshot
	_, err = m.perform(ctx, b, lifecycle.OpRebuild, func(o *operation) (err error) {
		var p recipe
		if err := store.ReadJSON(filepath.Join(m.stateDir(b.id), buildFile), dockerfile.MaxSize*2, &p); err != nil {
			return fmt.Errorf("read the build: %w", err)
		}
		rec := b.record()
		name, done, err := m.snapshots.reserve(rec.Owner, p.Name, "")
		if err != nil {
			return err
		}
		defer done()
		p.Name = name
		if made, err = m.build(o, p, nil, log); err != nil && !errors.Is(err, ErrCanceled) && b.snapshot().State != lifecycle.BuildFailed {
			o.enter(lifecycle.BuildFailed)
		}
		return err
	})
	if err != nil {
		return SnapshotInfo{}, err
	}
	return m.snapshotInfo(ctx, made)
}
