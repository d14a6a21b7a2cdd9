package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"cove/config"
	"cove/runtime/image"
	"cove/runtime/lifecycle"
	"cove/runtime/store"
	"cove/runtime/volume"
)

// CreateRequest is what a new sandbox is made from.
type CreateRequest struct {
	// ID is twelve hex digits that the caller chose, so that it can follow and
	// cancel what it asked for; one is made up for an empty one.
	ID string
	// Name is made up when it is empty.
	Name string
	Spec config.Spec
	// Secrets are the values of the spec's variables that come from the
	// caller. They are kept in no file.
	Secrets map[string]string
	// Dirs are the directories of the Spec's mounts, in that order, which the
	// caller opened for reading. They may be closed when Create returns.
	Dirs []*os.File
	// ImageID is the id of the image, where Spec.Image is a file of the caller's.
	ImageID string
	// Auth is what the caller has for the registry of the image. It is kept in no
	// file.
	Auth *image.Auth

	// from is what it is made of, where that is known: of a fork. setup is the record
	// of which it has what setup steps have done.
	from  *origin
	setup record
}

// Create makes a sandbox and starts it. It fails with an *[InvalidError], with
// [ErrExists] when the name or id is taken, with [ErrCanceled] when a delete
// came in between; nothing of it is left then. When a setup step fails the
// sandbox stays, in the state error.
func (m *Manager) Create(ctx context.Context, c Caller, r CreateRequest) (Info, error) {
	if err := m.validate(r); err != nil {
		return Info{}, err
	}
	if err := checkSecrets(r.Spec, r.Secrets); err != nil {
		return Info{}, err
	}
	if err := m.guard.admit(); err != nil {
		return Info{}, err
	}
	set, err := m.opt.Volumes.Admit(ctx, c.UID, r.Spec.Mounts, r.Dirs)
	if err != nil {
		return Info{}, asInvalid(err)
	}
	b, err := m.reserve(c, r, set)
	if err != nil {
		return Info{}, errors.Join(err, set.Close())
	}
	o := b.op
	m.wg.Go(func() {
		defer func() { _ = set.Close() }()
		o.run(func(o *operation) error { return m.create(o, r, set) })
	})
	select {
	case <-o.done:
		return b.snapshot(), o.err
	case <-ctx.Done():
		return b.snapshot(), context.Cause(ctx)
	}
}

func (m *Manager) validate(r CreateRequest) error {
	if r.ID != "" && !validID(r.ID) {
		return &InvalidError{Problems: []config.Problem{{Key: "id", Message: "an id is twelve hex digits"}}}
	}
	if r.Name != "" {
		if err := config.ValidName(r.Name); err != nil {
			return &InvalidError{Problems: []config.Problem{{Key: "name", Message: err.Error()}}}
		}
	}
	if p := r.Spec.Validate(); len(p) > 0 {
		return &InvalidError{Problems: p}
	}
	if p := config.Unenforced(r.Spec); len(p) > 0 {
		return &InvalidError{Problems: p, Unsupported: true}
	}
	return nil
}

// asInvalid makes what is wrong with a mount a fault of the request.
func asInvalid(err error) error {
	bad, ok := errors.AsType[*volume.Error](err)
	if !ok {
		return err
	}
	list := "mounts"
	if bad.Volume {
		list = "volumes"
	}
	return &InvalidError{
		Problems:    []config.Problem{{Key: fmt.Sprintf("%s[%d]", list, bad.Index), Message: bad.Reason(), Hint: bad.Hint}},
		Unsupported: bad.Unsupported,
	}
}

// asMount makes what is wrong with a mount a fault of the host's directory.
func asMount(err error) error {
	bad, ok := errors.AsType[*volume.Error](err)
	if !ok {
		return err
	}
	return &MountError{Message: bad.Reason(), Hint: bad.Hint, Err: bad}
}

// maxVariable is what the kernel passes to a program as one string, its end
// included (MAX_ARG_STRLEN, execve(2)).
const maxVariable = 128 << 10

// checkSecrets names what the caller must bring along and did not, and refuses
// what the spec does not ask for.
func checkSecrets(spec config.Spec, secrets map[string]string) error {
	var problems []config.Problem
	for k, v := range spec.Env {
		if _, ok := secrets[k]; v.From == config.FromEnv && !v.Optional && !ok {
			problems = append(problems, config.Problem{Key: "env." + k, Message: "is to come from your environment, and is not set there", Hint: "export " + k + " and try again"})
		}
	}
	for k, v := range secrets {
		switch {
		case spec.Env[k].From != config.FromEnv:
			problems = append(problems, config.Problem{Key: "env." + k, Message: "was sent, but the sandbox's profile does not take it from the environment"})
		case strings.IndexByte(v, 0) >= 0:
			problems = append(problems, config.Problem{Key: "env." + k, Message: "has a NUL byte in its value, which no program can be given"})
		case len(k)+len("=")+len(v) >= maxVariable:
			problems = append(problems, config.Problem{Key: "env." + k, Message: fmt.Sprintf("is %d bytes long: no program can be given more than %d", len(v), maxVariable)})
		}
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b config.Problem) int { return strings.Compare(a.Key, b.Key) })
		return &InvalidError{Problems: problems}
	}
	return nil
}

// reserve puts a new sandbox into the index, under an id and a name that no
// other has, with create under way.
func (m *Manager) reserve(c Caller, r CreateRequest, set *volume.Set) (*box, error) {
	id, name := r.ID, r.Name
	if id == "" {
		var raw [6]byte
		if _, err := rand.Read(raw[:]); err != nil {
			return nil, fmt.Errorf("make an id: %w", err)
		}
		id = hex.EncodeToString(raw[:])
	}
	b := m.timedBox(&box{id: id, state: lifecycle.Creating})
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return nil, ErrUnavailable
	}
	if err := m.crowded(c); err != nil {
		return nil, err
	}
	if name == "" {
		name = m.freeName()
	}
	if _, taken := m.names[name]; taken {
		return nil, fmt.Errorf("%w: %s", ErrExists, name)
	}
	if _, taken := m.boxes[id]; taken || r.ID != "" && m.remains(id) {
		return nil, fmt.Errorf("%w: id %s", ErrExists, id)
	}
	b.rec = record{
		Version: recordVersion, ID: id, Name: name, Owner: c.UID, Spec: r.Spec,
		Desired: lifecycle.Started, Rest: lifecycle.Creating, Created: m.now().UTC(), Dirs: set.Identities(),
	}
	b.op = m.newOperation(b, lifecycle.OpCreate)
	m.boxes[id], m.names[name] = b, id
	return b, nil
}

// remains tells whether something is still there of a sandbox of that id.
func (m *Manager) remains(id string) bool {
	for _, dir := range []string{m.stateDir(id), filepath.Join(m.trashDir(), id), m.runDir(id)} {
		if _, err := os.Lstat(dir); err == nil {
			return true
		}
	}
	return false
}

const (
	// maxOwned and maxCreating are how many sandboxes a user other than root
	// may have, and may have made at once: nobody can use up the machine's
	// ranges of uids, or keep the others waiting.
	maxOwned    = 1000
	maxCreating = 64
)

// crowded refuses a user who has, or makes, too many. The caller holds m.mu.
func (m *Manager) crowded(c Caller) error {
	if c.UID == 0 {
		return nil
	}
	owned, creating := 0, 0
	for _, b := range m.boxes {
		i := b.snapshot()
		if i.Owner != c.UID {
			continue
		}
		owned++
		if i.Op == lifecycle.OpCreate {
			creating++
		}
	}
	switch {
	case owned >= maxOwned:
		return fmt.Errorf("%w: you have %d sandboxes, the most one user may have; delete some", ErrTooMany, owned)
	case creating >= maxCreating:
		return fmt.Errorf("%w: %d of yours are being made, the most at once; try again when one is done", ErrTooMany, creating)
	}
	return nil
}

// create is the body of the operation.
func (m *Manager) create(o *operation, r CreateRequest, set *volume.Set) (err error) {
	b := o.b
	defer func() {
		if err != nil && !m.keepFailed(b) {
			if b.snapshot().Pid != 0 {
				m.stopNow(b) // broken off behind the launch
			}
			m.closeDisk(b.id)
			err = errors.Join(err, m.discard(b))
		}
	}()
	o.enter(lifecycle.Creating)
	from, err := m.originOf(o, r)
	if err != nil {
		return err
	}
	defer from.release()
	b.mu.Lock()
	b.rec.Base, b.rec.Config, b.rec.ImageID, b.rec.Snapshot = from.base, from.config, from.image, from.snapshot
	b.rec.Hostname = from.hostname
	b.rec.SetupDone, b.rec.SetupSteps = r.setup.SetupDone, r.setup.SetupSteps
	b.mu.Unlock()
	if err := m.ensureVolumes(o.ctx, b); err != nil {
		return err
	}
	keep, err := m.setupLayers(o, r.Secrets)
	defer keep()
	if err == nil && !b.made {
		err = m.materialize(o)
	}
	if err != nil {
		return err
	}
	if err := m.launchNew(o, r.Secrets, set); err != nil {
		return asAbsent(asInvalid(err))
	}
	if err := m.setup(o, r.Secrets); err != nil {
		return err
	}
	return m.started(o)
}

// launchNew is launch of a sandbox that is new, whose directories of the host are
// listed beside it.
func (m *Manager) launchNew(o *operation, secrets map[string]string, set *volume.Set) error {
	since := time.Now()
	listed, ctx := errgroup.WithContext(o.ctx)
	listed.Go(func() error { return m.takeManifests(ctx, o, set, since) })
	err := m.launch(o, secrets, set)
	if err != nil {
		listed.Go(func() error { return err }) // it need not go on
	}
	if e := listed.Wait(); err == nil {
		err = e
	}
	return err
}

// materialize makes the sandbox's directory. The name's link comes first, made
// exclusively: when the daemon dies in between, a link to nothing is free
// again. The directory appears whole, by rename.
func (m *Manager) materialize(o *operation) error {
	b := o.b
	// One that is renamed meanwhile is so before or after.
	b.file.Lock()
	defer b.file.Unlock()
	b.mu.Lock()
	if b.rec.Hostname == "" {
		b.rec.Hostname = b.rec.Name
	}
	rec := b.rec
	b.mu.Unlock()
	if err := m.links.Take(rec.Name, b.id); err != nil {
		if errors.Is(err, store.ErrExists) {
			return fmt.Errorf("%w: %s", ErrExists, rec.Name)
		}
		return noSpace(fmt.Errorf("take the name: %w", err))
	}
	o.stage("named")
	fresh := filepath.Join(m.sandboxesDir(), newPrefix+b.id)
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return noSpace(fmt.Errorf("make the sandbox's directory: %w", err))
	}
	if err := m.makeFiles(o.ctx, rec, fresh); err != nil {
		return err
	}
	o.stage("formatted")
	if err := writeRecord(fresh, rec, true); err != nil {
		return noSpace(err)
	}
	if err := os.Rename(fresh, m.stateDir(b.id)); err != nil {
		return noSpace(fmt.Errorf("put the sandbox's directory in place: %w", err))
	}
	if err := store.SyncDir(m.sandboxesDir()); err != nil {
		return noSpace(err)
	}
	b.made = true
	return o.point("made")
}

// newPrefix marks a sandbox's directory that is still being made.
const newPrefix = ".new-"

// started makes the end of create and start known: the sandbox runs.
func (m *Manager) started(o *operation) error {
	b := o.b
	err := m.save(b, func(r *record) {
		r.Desired, r.Rest = lifecycle.Started, lifecycle.Stopped
		r.Reason, b.reason = lifecycle.Reason{}, lifecycle.Reason{}
		r.Started = m.now().UTC()
		if len(b.run.GPUs) > 0 {
			r.GPUs = lastGPUs(b.run.GPUs)
		}
	})
	if err != nil {
		m.stopNow(b)
		return noSpace(fmt.Errorf("record the start: %w", err))
	}
	b.mu.Lock()
	b.grace, b.trying = 0, tries{} // whoever starts it knows of it
	b.mu.Unlock()
	o.enter(lifecycle.Started)
	return nil
}

// failed leaves the sandbox, stopped, in the state error with its reason.
func (m *Manager) failed(o *operation, cause error) {
	b := o.b
	m.stopNow(b)
	err := m.save(b, func(r *record) {
		b.reason = lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: cause.Error()}
		r.Rest, r.Reason, r.Stopped = lifecycle.Error, b.reason, m.now().UTC()
	})
	if err != nil {
		m.log.Warn("could not record a failure", "sandbox", b.id, "error", err)
	}
	o.enter(lifecycle.Error)
}

func (m *Manager) keepFailed(b *box) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state == lifecycle.Error || b.state == lifecycle.BuildFailed
}

// stopNow ends all processes of the sandbox and gives back what they used.
func (m *Manager) stopNow(b *box) {
	b.mu.Lock()
	var base uint32
	if b.run != nil {
		base = b.run.UIDBase
	}
	b.mu.Unlock()
	m.release(b, base)
}
