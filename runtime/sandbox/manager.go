package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/cgroup"
	"cove/runtime/disk"
	"cove/runtime/doctor"
	"cove/runtime/lifecycle"
	"cove/runtime/store"
)

// Options are what a Manager is made of.
type Options struct {
	// StateDir and RunDir are absolute and exist; the caller holds the
	// state directory's lock for as long as the Manager lives.
	StateDir, RunDir string
	// Inst is the instance's six hex digits.
	Inst string
	// BootID tells one boot of the machine from the next.
	BootID string
	// Log gets what no caller is told. Nil discards it.
	Log *slog.Logger

	Rootfs  Rootfs
	Layers  Layers
	Images  Images
	Disks   Disks
	Runner  Runner
	Cgroups Cgroups
	Limiter Limiter
	Leases  Leases
	Network Network
	Bundler Bundler
	Volumes Volumes
	// NamedVolumes are those that users keep files in. It may be nil where no
	// sandbox has any.
	NamedVolumes NamedVolumes
	// GPUs may be nil: the machine has none then.
	GPUs GPUs
	// Processors is nil where sandboxes run on all of them.
	Processors Processors
	// IODevice finds the block device on which the state directory is; it is
	// asked for sandboxes whose disk is no device of their own.
	IODevice func() (cgroup.Device, error)
	// Meters and NetworkCounter are for statistics; without them those lack
	// what these tell.
	Meters         Meters
	NetworkCounter NetworkCounter
	// CPUTimer tells automation who is in use, without it nobody is by the
	// processor time; and the guard who does anything, without it everybody may.
	CPUTimer CPUTimer
	// Archiver makes archives.
	Archiver Archiver

	// Space measures the file system of the state directory; nil asks the kernel.
	Space func() (disk.Space, error)
	// Unwritten tells what of files is in memory alone, and takes its place on
	// that file system later; without it, as much as of the whole machine's may be.
	Unwritten Unwritten
	// DiskReserve is how many bytes of it sandboxes leave free, at most half of
	// it; 0 is [Reserve].
	DiskReserve int64
	// Warnings are what this host lacks, in words, for the daemon's status.
	Warnings []string

	// Probe tries what this machine can do; nil tries nothing.
	Probe func(ctx context.Context) []doctor.Check

	// OnStage, when set, is called at every stage of every operation, after
	// it was recorded: tests kill the daemon there.
	OnStage func(op, stage string)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Clock is what automation goes by; nil is the machine's.
	Clock func() Moment
}

// Manager carries out operations on sandboxes. All its methods may be called
// at any time by any goroutine until Close.
type Manager struct {
	opt    Options
	log    *slog.Logger
	now    func() time.Time
	clock  func() Moment
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	boxes map[string]*box   // by id
	names map[string]string // name to id; reserved before the link is made

	links    *store.Names
	bus      *bus
	trash    *trash
	kept     *kept
	sampler  *sampler
	recorder *recorder
	changes  *changes

	automation *automation

	volumes sync.Mutex // held while volumes are made, removed, or their users change

	gpus  gpuClaims
	guard *guard

	sweeps    chan struct{} // layers may have become unused
	merges    chan struct{} // roots may lie on many layers
	snapshots *snapshots
	builds    *builds
	building  chan struct{} // a value for each build that runs
}

// Open finds out what became of every sandbox in the state directory and
// returns the Manager of them. What it cannot understand it shows as unknown;
// it fails only when the directories themselves cannot be used.
func Open(ctx context.Context, opt Options) (*Manager, error) {
	m := &Manager{opt: opt, log: opt.Log, now: opt.Now, boxes: map[string]*box{}, names: map[string]string{}, sweeps: make(chan struct{}, 1), merges: make(chan struct{}, 1)}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.clock = opt.Clock; m.clock == nil {
		m.clock = systemClock(m.now)
	}
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{
		{m.sandboxesDir(), 0o700}, {m.trashDir(), 0o700}, {filepath.Join(opt.StateDir, "names"), 0o700},
		{filepath.Join(opt.RunDir, "sandboxes"), 0o711}, {filepath.Join(opt.RunDir, "runc"), 0o700},
	} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return nil, noSpace(fmt.Errorf("make %s: %w", d.path, err))
		}
		if err := os.Chmod(d.path, d.mode); err != nil {
			return nil, fmt.Errorf("make %s: %w", d.path, err)
		}
	}
	var err error
	if m.links, err = store.OpenNames(filepath.Join(opt.StateDir, "names")); err != nil {
		return nil, fmt.Errorf("open the names: %w", err)
	}
	snaps, err := openSnapshots(m.snapshotsDir(), m.log.Error)
	if err != nil {
		return nil, errors.Join(err, m.links.Close())
	}
	steps, err := openBuilds(filepath.Join(opt.StateDir, "builds"), m.now)
	if err != nil {
		return nil, errors.Join(err, m.links.Close())
	}
	journal, err := store.OpenJournal(opt.StateDir, opt.BootID)
	if err != nil {
		return nil, errors.Join(noSpace(fmt.Errorf("open the journal: %w", err)), m.links.Close())
	}
	m.bus = newBus(journal)
	m.ctx, m.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	m.trash = newTrash(m)
	m.snapshots, m.builds, m.building = snaps, steps, make(chan struct{}, maxBuilding)
	m.kept = newKept(m)
	m.sampler, m.recorder, m.changes = newSampler(m), newRecorder(m), newChanges(m)
	m.automation = newAutomation(m)
	m.guard = newGuard(m)
	m.wg.Go(m.changes.run)
	m.wg.Go(m.recorder.run)
	err = m.reconcile(ctx)
	m.automation.open()
	if err != nil {
		return nil, errors.Join(err, m.Close(ctx))
	}
	// What an earlier daemon held is known by now.
	m.guard.adopt()
	m.wg.Go(m.guard.run)
	m.wg.Go(m.sweepLayers)
	m.wg.Go(m.mergeLayers)
	m.merge()
	m.sweep()
	return m, nil
}

// Close ends the Manager and leaves every sandbox running. Operations under
// way are given until ctx ends; what is not finished then the next Manager
// finishes or rolls back.
func (m *Manager) Close(ctx context.Context) error {
	m.automation.close()
	for _, o := range m.underWay() {
		select {
		case <-o.done:
		case <-ctx.Done():
		}
	}
	m.cancel(ErrUnavailable)
	m.kept.close()
	m.sampler.close()
	for _, o := range m.underWay() {
		<-o.done // they see the end of the Manager's context, and clean up in bounded time
	}
	m.mu.Lock()
	boxes := slices.Collect(maps.Values(m.boxes))
	m.mu.Unlock()
	for _, b := range boxes {
		b.mu.Lock()
		if b.watch != nil {
			b.watch.cancel()
		}
		b.mu.Unlock()
	}
	m.wg.Wait()
	m.changes.flush()
	m.recorder.flush()
	for _, b := range boxes {
		b.mu.Lock()
		if b.proc != nil {
			_ = b.proc.Close()
			b.proc = nil
		}
		b.mu.Unlock()
	}
	return errors.Join(m.bus.close(), m.links.Close())
}

func (m *Manager) underWay() []*operation {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ops []*operation
	for _, b := range m.boxes {
		b.mu.Lock()
		if b.op != nil {
			ops = append(ops, b.op)
		}
		b.mu.Unlock()
	}
	return ops
}

// List returns the sandboxes that the caller may see, by name.
func (m *Manager) List(c Caller) []Info {
	m.mu.Lock()
	boxes := slices.Collect(maps.Values(m.boxes))
	m.mu.Unlock()
	infos := make([]Info, 0, len(boxes))
	for _, b := range boxes {
		if i := b.snapshot(); c.Sees(i.Owner) {
			infos = append(infos, i)
		}
	}
	sortInfos(infos)
	return infos
}

func sortInfos(infos []Info) {
	slices.SortFunc(infos, func(a, b Info) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
}

// Get returns one sandbox by name, id, or a beginning of its id of at least
// four digits that no other has. It fails with [ErrNotFound], for foreign
// sandboxes too.
func (m *Manager) Get(c Caller, ref string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	return b.snapshot(), nil
}

// Warnings are what this host lacks or does not enforce, in words.
func (m *Manager) Warnings() []string {
	return append(slices.Clone(m.opt.Warnings), m.guard.warnings()...)
}

// Len is the number of sandboxes of all owners.
func (m *Manager) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.boxes)
}

const minIDPrefix = 4

func (m *Manager) find(c Caller, ref string) (*box, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// The id first: a name must never stand before another's id.
	if b := m.boxes[ref]; b != nil && c.Sees(b.record().Owner) {
		return b, nil
	}
	if id, ok := m.names[ref]; ok {
		if b := m.boxes[id]; b != nil && c.Sees(b.record().Owner) {
			return b, nil
		}
	}
	var found *box
	if len(ref) >= minIDPrefix {
		for id, b := range m.boxes {
			if !strings.HasPrefix(id, ref) || !c.Sees(b.record().Owner) {
				continue
			}
			if found != nil {
				return nil, fmt.Errorf("%w: %q begins several ids", ErrNotFound, ref)
			}
			found = b
		}
	}
	if found == nil {
		return nil, ErrNotFound
	}
	return found, nil
}

func (m *Manager) sandboxesDir() string       { return filepath.Join(m.opt.StateDir, "sandboxes") }
func (m *Manager) trashDir() string           { return filepath.Join(m.opt.StateDir, "trash") }
func (m *Manager) stateDir(id string) string  { return filepath.Join(m.sandboxesDir(), id) }
func (m *Manager) runDir(id string) string    { return filepath.Join(m.opt.RunDir, "sandboxes", id) }
func (m *Manager) target(id string) string    { return filepath.Join(m.runDir(id), "rootfs") }
func (m *Manager) bundleDir(id string) string { return filepath.Join(m.runDir(id), "bundle") }

// noSpace makes a full disk recognisable as [ErrNoSpace].
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// forget takes the sandbox out of the index: it is gone.
func (m *Manager) forget(b *box) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.boxes, b.id)
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.names[b.rec.Name] == b.id {
		delete(m.names, b.rec.Name)
	}
	b.gone = true
	b.state = lifecycle.Destroyed
	m.bus.remove(b.info())
	m.changes.forget(b.id)
	m.recorder.forget(b.id)
}
