package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cove/runtime/lifecycle"
	"cove/runtime/store"
)

const (
	// KeepDeleted is for how long a deleted sandbox can be brought back.
	KeepDeleted = 10 * time.Minute
	// maxDeleted is how many are kept of one user; the oldest go first.
	maxDeleted = 100
)

// Deleted is a sandbox that was deleted and can be brought back until Until, or
// until the host's disk is short of space.
type Deleted struct {
	ID, Name       string
	Owner          int
	Profile, Image string
	Deleted, Until time.Time
}

func deletedOf(r record) Deleted {
	return Deleted{
		ID: r.ID, Name: r.Name, Owner: r.Owner, Profile: r.Spec.Profile, Image: r.Spec.Image,
		Deleted: r.Deleted, Until: r.Deleted.Add(KeepDeleted),
	}
}

// kept are the deleted sandboxes that can be brought back. They lie in the trash
// and are gone from everything else: their names are free.
type kept struct {
	m *Manager

	mu     sync.Mutex
	byID   map[string]Deleted
	timer  *time.Timer // for the next one that goes
	closed bool
}

func newKept(m *Manager) *kept {
	k := &kept{m: m, byID: map[string]Deleted{}}
	k.timer = time.AfterFunc(KeepDeleted, k.expire)
	return k
}

// close ends the timer; what is kept the next Manager finds.
func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.timer.Stop()
}

func (k *kept) grave(id string) string { return filepath.Join(k.m.trashDir(), id) }

// add keeps one that lies in the trash.
func (k *kept) add(d Deleted) {
	k.mu.Lock()
	k.byID[d.ID] = d
	var own []Deleted
	for _, other := range k.byID {
		if other.Owner == d.Owner {
			own = append(own, other)
		}
	}
	if len(own) > maxDeleted {
		k.drop(slices.MinFunc(own, byDeletion).ID)
	}
	k.mu.Unlock()
	k.expire()
}

func byDeletion(a, b Deleted) int {
	return cmp.Or(a.Deleted.Compare(b.Deleted), cmp.Compare(a.ID, b.ID))
}

// drop has one deleted for good. The caller holds k.mu.
func (k *kept) drop(id string) {
	delete(k.byID, id)
	k.m.trash.add(k.grave(id))
}

// expire has those deleted for good whose time is over. One from the future was
// deleted before somebody set the clock back: its time begins now.
func (k *kept) expire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	now := k.m.now()
	next := KeepDeleted
	for id, d := range k.byID {
		left := d.Until.Sub(now)
		if left <= 0 {
			k.drop(id)
			continue
		}
		if left > KeepDeleted {
			d.Until = now.Add(KeepDeleted)
			k.byID[id] = d
		}
		next = min(next, left)
	}
	k.timer.Reset(next)
}

// empty has all deleted for good: their space is needed.
func (k *kept) empty() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.byID {
		k.drop(id)
	}
}

// ids are those of all that are kept, for the audit.
func (k *kept) ids() map[string]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	ids := make(map[string]bool, len(k.byID))
	for id := range k.byID {
		ids[id] = true
	}
	return ids
}

// list are those that the caller may bring back, the last deleted first.
func (k *kept) list(c Caller) []Deleted {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := slices.DeleteFunc(slices.Collect(maps.Values(k.byID)), func(d Deleted) bool { return !c.Sees(d.Owner) })
	slices.SortFunc(list, func(a, b Deleted) int { return byDeletion(b, a) })
	return list
}

// take takes out the one that ref names, as [Manager.Undo] has it.
func (k *kept) take(c Caller, ref string) (Deleted, error) {
	list := k.list(c)
	var found []Deleted
	for _, d := range list {
		switch {
		case ref == "", d.ID == ref, d.Name == ref:
			found = append(found, d)
		case len(ref) >= minIDPrefix && strings.HasPrefix(d.ID, ref):
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return Deleted{}, ErrNotFound
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.byID[found[0].ID]
	if !ok {
		return Deleted{}, ErrNotFound // its time is just over
	}
	delete(k.byID, d.ID)
	return d, nil
}

// Deleted lists the deleted sandboxes that the caller can bring back, the last
// deleted first.
func (m *Manager) Deleted(c Caller) []Deleted { return m.kept.list(c) }

// Undo brings a deleted sandbox back, as it was when it was deleted but for what
// ran in it: that named ref, or the last deleted one where ref is empty; of
// several of a name the last deleted. It fails with [ErrNotFound], and with
// [ErrExists] when its name is another's by now.
func (m *Manager) Undo(ctx context.Context, c Caller, ref string) (Info, error) {
	if m.ctx.Err() != nil {
		return Info{}, ErrUnavailable
	}
	d, err := m.kept.take(c, ref)
	if err != nil {
		return Info{}, err
	}
	o, err := m.beginUndo(d)
	if err != nil {
		m.kept.add(d)
		return Info{}, err
	}
	m.wg.Go(func() { o.run(func(o *operation) error { return m.undo(o, d) }) })
	select {
	case <-o.done:
		return o.b.snapshot(), o.err
	case <-ctx.Done():
		return Info{}, context.Cause(ctx) // it goes on without its caller
	}
}

// beginUndo takes the name and the id of one that is to be brought back.
func (m *Manager) beginUndo(d Deleted) (*operation, error) {
	rec, err := readRecord(m.kept.grave(d.ID), d.ID)
	if err != nil {
		return nil, fmt.Errorf("read what is left of it: %w", err)
	}
	rec.Deleted, rec.Desired = time.Time{}, lifecycle.Stopped
	b := m.timedBox(&box{id: d.ID})
	b.rec, b.state, b.reason = rec, lifecycle.Destroyed, rec.Reason
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.names[rec.Name]; taken {
		return nil, fmt.Errorf("%w: %s", ErrExists, rec.Name)
	}
	o := m.newOperation(b, lifecycle.OpUndo)
	b.op = o
	m.boxes[b.id], m.names[rec.Name] = b, b.id
	return o, nil
}

// undo is the body of the operation. The rename is the moment at which the
// sandbox is back; the record, which still says that it was deleted, says so of
// nothing that lies there.
func (m *Manager) undo(o *operation, d Deleted) (err error) {
	b := o.b
	rec := b.record()
	linked := false
	defer func() {
		if b.made {
			return
		}
		if linked {
			err = errors.Join(err, m.links.Release(rec.Name, b.id))
		}
		m.mu.Lock()
		delete(m.boxes, b.id)
		delete(m.names, rec.Name)
		b.mu.Lock()
		b.gone = true
		b.mu.Unlock()
		m.mu.Unlock()
		m.kept.add(d) // whoever asked may be gone
	}()
	if err := m.links.Take(rec.Name, b.id); err != nil {
		if errors.Is(err, store.ErrExists) {
			return fmt.Errorf("%w: %s", ErrExists, rec.Name)
		}
		return noSpace(fmt.Errorf("take the name: %w", err))
	}
	linked = true
	if err := o.point("named"); err != nil {
		return err
	}
	if err := os.Rename(m.kept.grave(b.id), m.stateDir(b.id)); err != nil {
		return noSpace(fmt.Errorf("put the sandbox's directory in place: %w", err))
	}
	b.mu.Lock()
	b.made = true
	b.grace = b.clock().Awake + clockGrace // whoever brings it back has some time to look at it
	b.mu.Unlock()
	o.stage("moved")
	if err := store.SyncDir(m.sandboxesDir()); err != nil {
		m.log.Warn("could not sync an undo", "sandbox", b.id, "error", err)
	}
	if err := m.save(b, func(*record) {}); err != nil {
		m.log.Warn("could not record an undo", "sandbox", b.id, "error", err)
	}
	o.enter(rec.Rest)
	return nil
}
