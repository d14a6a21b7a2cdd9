package sandbox

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// MaxForks is how many sandboxes one fork makes.
const MaxForks = 64

// ForkRequest is what is made of a sandbox's present state.
type ForkRequest struct {
	// Name is the fork's; of several, what theirs begin with. It is made up of the
	// sandbox's when empty.
	Name string
	// Count is how many; 0 is one.
	Count   int
	Secrets map[string]string
	// Dirs are the directories of the sandbox's mounts, in their order, opened by the
	// caller.
	Dirs []*os.File
}

// Forks is what became of a fork: of each sandbox that was to be, it or an error.
type Forks struct {
	Names     []string
	Sandboxes []Info
	Errors    []error
	// Frozen and Copied are as in [Snapshot].
	Frozen time.Duration
	Copied int64
}

// Fork makes sandboxes of the present state of one, which goes on as before. They
// have its Spec, and belong to the caller. Errors are those of a snapshot; what is
// wrong with one fork is in its place.
func (m *Manager) Fork(ctx context.Context, c Caller, ref string, r ForkRequest) (Forks, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return Forks{}, err
	}
	if r.Count == 0 {
		r.Count = 1
	}
	if r.Count < 1 || r.Count > MaxForks {
		return Forks{}, &InvalidError{Problems: []config.Problem{{Key: "count", Message: fmt.Sprintf("%d sandboxes at once cannot be made: 1 to %d", r.Count, MaxForks)}}}
	}
	if r.Name != "" {
		if err := config.ValidName(r.Name); err != nil {
			return Forks{}, &InvalidError{Problems: []config.Problem{{Key: "name", Message: err.Error()}}}
		}
	}
	rec := b.record()
	if err := checkSecrets(rec.Spec, r.Secrets); err != nil {
		return Forks{}, err
	}
	state, err := m.forkState(ctx, b)
	if err != nil {
		return Forks{}, err
	}
	defer state.release()
	m.merge()
	rec = b.record()
	names := m.forkNames(rec.Name, r.Name, r.Count)
	out := Forks{Names: names, Sandboxes: make([]Info, r.Count), Errors: make([]error, r.Count), Frozen: state.frozen, Copied: state.copied}
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			from := origin{base: state.base, config: rec.Config, image: rec.ImageID, snapshot: rec.Snapshot, hostname: rec.Hostname}
			out.Sandboxes[i], out.Errors[i] = m.Create(ctx, c, CreateRequest{
				Name: name, Spec: rec.Spec, Secrets: r.Secrets, Dirs: r.Dirs, ImageID: rec.ImageID, from: &from, setup: rec,
			})
		})
	}
	wg.Wait()
	return out, nil
}

// forkState takes the state that is forked, as an operation on the sandbox.
func (m *Manager) forkState(ctx context.Context, b *box) (keptState, error) {
	var mu sync.Mutex
	var state *keptState
	gone := false
	_, err := m.perform(ctx, b, lifecycle.OpFork, func(o *operation) error {
		o.enter(lifecycle.Forking)
		s, err := m.keepState(o)
		o.doing("")
		if m.stillThere(o) {
			o.enter(o.from)
		}
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if gone {
			s.release()
			return nil
		}
		state = &s
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	gone = true
	if state == nil {
		if err == nil {
			err = context.Cause(ctx)
		}
		return keptState{}, err
	}
	if err != nil {
		state.release()
		return keptState{}, err
	}
	return *state, nil
}

// forkNames makes up names that are free now: somebody else may still be faster.
func (m *Manager) forkNames(parent, name string, count int) []string {
	if name != "" && count == 1 {
		return []string{name}
	}
	if name == "" {
		name = parent + "-fork"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, count)
	for i := 1; len(names) < count; i++ {
		next := fmt.Sprintf("%s-%d", name, i)
		if _, taken := m.names[next]; !taken {
			names = append(names, next)
		}
	}
	return names
}
