package sandbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cove/config"
	"cove/runtime/rootfs"
	"cove/runtime/store"
)

// Snapshot is a state of a sandbox that was kept, or that a build made.
type Snapshot struct {
	Version int    `json:"version"`
	ID      string `json:"id"` // twelve hex digits
	Name    string `json:"name"`
	Owner   int    `json:"owner"` // uid
	// Sandbox is the name of the one that it was taken of, empty of a build.
	Sandbox string `json:"sandbox,omitempty"`
	// Image is what lies lowest, as the sandbox's Spec says it.
	Image string `json:"image"`
	// Parent is the id of the snapshot that it lies on, which may be gone.
	Parent  string             `json:"parent,omitempty"`
	Created time.Time          `json:"created"`
	Base    rootfs.Base        `json:"base"`
	Config  config.ImageConfig `json:"config"`
	// Hostname is the one that its files have, empty of a build.
	Hostname string `json:"hostname,omitempty"`
	// Frozen is for how long the sandbox stood still for it, Copied how many bytes
	// were copied; 0 of one that was stopped.
	Frozen time.Duration `json:"frozen,omitempty"`
	Copied int64         `json:"copied,omitempty"`
}

// SnapshotInfo is a snapshot with what is known of it now.
type SnapshotInfo struct {
	Snapshot
	// Size is what it alone occupies, in bytes, -1 while that is being counted.
	Size int64
	// Used are the names of its owner's sandboxes that were made of it.
	Used []string
}

// ErrNoSnapshot: no such snapshot, or none that the caller may see.
var ErrNoSnapshot = errors.New("no such snapshot")

// snapshots are the records of snapshots, in memory and in the state directory.
type snapshots struct {
	dir string
	log func(msg string, args ...any)

	mu   sync.Mutex
	byID map[string]Snapshot
	// taken are names that are about to be given.
	taken map[snapshotName]bool
}

type snapshotName struct {
	owner int
	name  string
}

func openSnapshots(dir string, log func(string, ...any)) (*snapshots, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, noSpace(fmt.Errorf("open the snapshots: %w", err))
	}
	s := &snapshots{dir: dir, log: log, byID: map[string]Snapshot{}, taken: map[snapshotName]bool{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !validID(id) {
			continue
		}
		var snap Snapshot
		err := store.ReadJSON(filepath.Join(dir, e.Name()), maxRecord, &snap)
		if err == nil && (snap.Version != recordVersion || snap.ID != id || snap.Base.Validate() != nil) {
			err = errors.New("it is not understood")
		}
		if err != nil {
			log("a snapshot cannot be read; it is left alone", "file", e.Name(), "error", err)
			s.byID[id] = Snapshot{ID: id} // so that nothing is collected
			continue
		}
		s.byID[id] = snap
	}
	return s, nil
}

// reserve takes a name for a snapshot that is being made; done gives it free again,
// or leaves it to the snapshot.
func (s *snapshots) reserve(owner int, name, proposal string) (_ string, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := func(name string) bool {
		if s.taken[snapshotName{owner, name}] {
			return true
		}
		for _, snap := range s.byID {
			if snap.Owner == owner && snap.Name == name {
				return true
			}
		}
		return false
	}
	if name == "" {
		for i := 1; name == "" || used(name); i++ {
			name = fmt.Sprintf("%s-%d", proposal, i)
		}
	}
	if used(name) {
		return "", nil, fmt.Errorf("%w: snapshot %s", ErrExists, name)
	}
	key := snapshotName{owner, name}
	s.taken[key] = true
	return name, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.taken, key)
	}, nil
}

// add keeps a snapshot, where it outlives a power cut.
func (s *snapshots) add(snap Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(snap)
}

// write is add. The caller holds s.mu.
func (s *snapshots) write(snap Snapshot) error {
	data, err := json.MarshalIndent(snap, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the snapshot: %w", err)
	}
	if err := store.Replace(s.dir, snap.ID+".json", append(data, '\n'), true); err != nil {
		return noSpace(fmt.Errorf("keep the snapshot: %w", err))
	}
	s.byID[snap.ID] = snap
	return nil
}

func (s *snapshots) remove(snap Snapshot) error {
	if err := os.Remove(filepath.Join(s.dir, snap.ID+".json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the snapshot: %w", err)
	}
	s.mu.Lock()
	delete(s.byID, snap.ID)
	s.mu.Unlock()
	return store.SyncDir(s.dir)
}

// find gives the snapshot that ref names: its name, its id or the beginning of it.
// Of several by one name root means its own.
func (s *snapshots) find(c Caller, ref string) (Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Snapshot
	for _, snap := range s.byID {
		if snap.Name == "" || !c.Sees(snap.Owner) {
			continue
		}
		switch {
		case snap.ID == ref, snap.Name == ref && snap.Owner == c.UID:
			return snap, nil
		case snap.Name == ref, len(ref) >= 4 && strings.HasPrefix(snap.ID, ref):
			found = append(found, snap)
		}
	}
	if len(found) != 1 {
		return Snapshot{}, fmt.Errorf("%w: %s", ErrNoSnapshot, ref)
	}
	return found[0], nil
}

func (s *snapshots) list(c Caller) []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Snapshot
	for _, snap := range s.byID {
		if snap.Name != "" && c.Sees(snap.Owner) {
			list = append(list, snap)
		}
	}
	slices.SortFunc(list, func(a, b Snapshot) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return list
}

// layers are those of all snapshots; an error where some cannot be told.
func (s *snapshots) layers(use func([]string)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, snap := range s.byID {
		if snap.Name == "" {
			return fmt.Errorf("%w: snapshot %s", errUnknownSandbox, snap.ID)
		}
		use(snap.Base.Layers)
	}
	return nil
}

// rebase changes what snapshots lie on.
func (s *snapshots) rebase(change func(*rootfs.Base) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, snap := range s.byID {
		if snap.Name != "" && change(&snap.Base) {
			errs = append(errs, s.write(snap))
		}
	}
	return errors.Join(errs...)
}

// newID makes up twelve hex digits.
func newID() (string, error) {
	var raw [6]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return hex.EncodeToString(raw[:]), nil
}

// Snapshots lists the caller's snapshots, the oldest first; root's are everybody's.
func (m *Manager) Snapshots(ctx context.Context, c Caller) ([]SnapshotInfo, error) {
	list := []SnapshotInfo{}
	for _, snap := range m.snapshots.list(c) {
		i, err := m.snapshotInfo(ctx, snap)
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

func (m *Manager) snapshotInfo(ctx context.Context, snap Snapshot) (SnapshotInfo, error) {
	i := SnapshotInfo{Snapshot: snap}
	below := map[string]bool{}
	if p, err := m.snapshots.find(Caller{UID: 0}, snap.Parent); err == nil && snap.Parent != "" {
		for _, name := range p.Base.Layers {
			below[name] = true
		}
	}
	for _, name := range snap.Base.Layers {
		if below[name] || !strings.HasPrefix(name, snapshotLayer) {
			continue
		}
		n, err := m.opt.Layers.Size(ctx, name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return i, fmt.Errorf("measure the snapshot %s: %w", snap.Name, err)
		}
		i.Size += n
	}
	for _, b := range m.all() {
		if rec := b.record(); rec.Snapshot == snap.ID && rec.Owner == snap.Owner {
			i.Used = append(i.Used, rec.Name)
		}
	}
	slices.Sort(i.Used)
	return i, nil
}

// RemoveSnapshot removes a snapshot. Sandboxes that were made of it keep what they
// are made of. [ErrNoSnapshot].
func (m *Manager) RemoveSnapshot(ctx context.Context, c Caller, ref string) (SnapshotInfo, error) {
	snap, err := m.snapshots.find(c, ref)
	if err != nil {
		return SnapshotInfo{}, err
	}
	i, err := m.snapshotInfo(ctx, snap)
	if err != nil {
		return i, err
	}
	if err := m.snapshots.remove(snap); err != nil {
		return i, err
	}
	m.sweep()
	return i, nil
}
