package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"

	"cove/config"
	"cove/runtime/lifecycle"
	"cove/runtime/store"
)

// What changes the record of a sandbox and not the sandbox itself does not occupy
// it: it is done beside whatever is under way, in the order of the box's file lock.

// Rename gives a sandbox another name; its host name follows at its next start.
// It fails with an *[InvalidError] where it can be no name, with [ErrExists] where
// another has it. The daemon may be killed at any line of it: the record says
// which name is the sandbox's, and the next daemon makes the links agree.
func (m *Manager) Rename(_ context.Context, c Caller, ref, name string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	if err := config.ValidName(name); err != nil {
		return Info{}, &InvalidError{Problems: []config.Problem{{Key: "name", Message: err.Error()}}}
	}
	b.file.Lock()
	defer b.file.Unlock()
	old, err := m.updatable(b)
	if err != nil || old.Name == name {
		return b.snapshot(), err
	}
	if err := m.reserveName(name, b.id); err != nil {
		return b.snapshot(), err
	}
	if err := m.rename(b, old, name); err != nil {
		m.freeNames(b, name)
		return b.snapshot(), err
	}
	b.mu.Lock()
	b.rec.Name = name
	b.mu.Unlock()
	m.freeNames(b, old.Name)
	return m.updated(b), nil
}

// rename makes the new name that of the sandbox on disk. The caller holds b.file.
func (m *Manager) rename(b *box, old record, name string) error {
	if !b.made {
		return nil // its directory is made under the new name
	}
	err := m.links.Rename(old.Name, name, b.id)
	if errors.Is(err, store.ErrExists) {
		return fmt.Errorf("%w: %s", ErrExists, name)
	}
	if err != nil {
		return noSpace(fmt.Errorf("take the name: %w", err))
	}
	m.hook("rename", "linked")
	rec := old
	rec.Name = name
	if err := m.write(b, rec); err != nil {
		return errors.Join(err, m.links.Rename(name, old.Name, b.id))
	}
	m.hook("rename", "recorded")
	return nil
}

// SetLabels adds labels, or replaces their values, and removes those of remove;
// one that is not there is no error. It fails with an *[InvalidError].
func (m *Manager) SetLabels(_ context.Context, c Caller, ref string, set map[string]string, remove []string) (Info, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Info{}, err
	}
	b.file.Lock()
	defer b.file.Unlock()
	rec, err := m.updatable(b)
	if err != nil {
		return b.snapshot(), err
	}
	// Those who got a copy of the record share the map.
	labels := maps.Clone(rec.Spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	var problems []config.Problem
	for _, k := range remove {
		if _, both := set[k]; both {
			problems = append(problems, config.Problem{Key: "labels." + k, Message: "is to be set and to be removed"})
		}
		if err := config.ValidLabelKey(k); err != nil {
			problems = append(problems, config.Problem{Key: "labels", Message: err.Error()})
		}
		delete(labels, k)
	}
	maps.Copy(labels, set)
	rec.Spec.Labels = labels
	if problems = append(problems, rec.Spec.ValidateLabels()...); len(problems) > 0 {
		return b.snapshot(), &InvalidError{Problems: problems}
	}
	if b.made {
		if err := m.write(b, rec); err != nil {
			return b.snapshot(), err
		}
	}
	b.mu.Lock()
	b.rec.Spec.Labels = labels
	b.mu.Unlock()
	return m.updated(b), nil
}

// updatable gives the record of a sandbox that may be changed. The caller holds
// b.file.
func (m *Manager) updatable(b *box) (record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.gone:
		return record{}, ErrNotFound
	case lifecycle.Check(lifecycle.OpUpdate, b.state) != lifecycle.Allowed:
		return record{}, &ConflictError{Name: b.rec.Name, State: b.state, Why: lifecycle.Why(lifecycle.OpUpdate, b.state)}
	case b.rec.Created.IsZero():
		// What could not be read must not be written over.
		return record{}, &ConflictError{Name: b.rec.Name, State: b.state, Why: "its record cannot be read, so it cannot be changed"}
	}
	return b.rec, nil
}

// write puts a record in place of the one on disk. The caller holds b.file.
func (m *Manager) write(b *box, rec record) error {
	err := writeRecord(m.stateDir(b.id), rec, true)
	if errors.Is(err, os.ErrNotExist) {
		return ErrNotFound // it is being deleted
	}
	if err != nil {
		return noSpace(fmt.Errorf("record the change: %w", err))
	}
	return nil
}

// updated tells everybody what changed.
func (m *Manager) updated(b *box) Info {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.publish(b)
	return b.info()
}

// reserveName makes name one that nobody else can take.
func (m *Manager) reserveName(name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.names[name]; taken {
		return fmt.Errorf("%w: %s", ErrExists, name)
	}
	m.names[name] = id
	return nil
}

// freeNames lets others take a name that is no longer the sandbox's.
func (m *Manager) freeNames(b *box, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] == b.id {
		delete(m.names, name)
	}
}

// hook is where tests kill the daemon in what is no operation of its own.
func (m *Manager) hook(op, stage string) {
	if m.opt.OnStage != nil {
		m.opt.OnStage(op, stage)
	}
}
