package tuitest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// Fake is a daemon in memory: it has everything that the TUI's backend needs,
// follows the lifecycle table, and gives every sandbox an echoing shell (see
// [Shell]). It is safe for concurrent use.
type Fake struct {
	// Now is the clock; set it before use.
	Now func() time.Time
	// RefuseAttach, when it is set, is what Attach answers.
	RefuseAttach error
	// RefuseResize, when it is set, says what Resize answers.
	RefuseResize func(r api.ResizeRequest) error
	// RefuseCreate, when it is set, says what Create answers for a name.
	RefuseCreate func(name string) error
	// Load says what sandboxes use, [Steady] when it is nil; set it before use.
	Load Load
	// More changes what a sandbox's samples say; set it before use.
	More func(s *api.Stats)
	// Past is how many samples of the statistics come at once at first, as if
	// they had been waited for; set it before use.
	Past int
	// Delay is how long an operation stays in its passing state.
	Delay time.Duration

	mu     sync.Mutex
	boxes  map[string]api.Sandbox
	rounds map[string]int // attaches so far, by id
	seq    uint64
	made   int
	subs   map[chan api.Event]struct{}
	down   bool
	log    []string
	specs  map[string]config.Spec // of what was made, by name
	host   Host
	sizes  map[string]config.Resources  // of those that were resized, by id
	autos  map[string]config.Automation // of those whose automation was changed
	// deleted can be brought back, the last one first.
	deleted []api.Sandbox
	stores  Stores
}

// NewFake returns a daemon with the sandboxes.
func NewFake(now func() time.Time, boxes ...api.Sandbox) *Fake {
	f := &Fake{Now: now, boxes: make(map[string]api.Sandbox), rounds: make(map[string]int), subs: make(map[chan api.Event]struct{}), specs: make(map[string]config.Spec),
		sizes: make(map[string]config.Resources), autos: make(map[string]config.Automation)}
	for _, b := range boxes {
		f.boxes[b.ID] = b
	}
	return f
}

// Calls returns the operations asked for so far, as "stop id".
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

// Spec is what the sandbox of the name was to be made of.
func (f *Fake) Spec(name string) config.Spec {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.specs[name]
}

// SetDown ends all subscriptions and refuses new ones, or stops refusing.
func (f *Fake) SetDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	if down {
		for c := range f.subs {
			close(c)
			delete(f.subs, c)
		}
	}
}

// Put adds or replaces a sandbox and tells everybody.
func (f *Fake) Put(b api.Sandbox) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boxes[b.ID] = b
	f.tell(api.EventSandbox, b)
}

// Remove removes a sandbox and tells everybody.
func (f *Fake) Remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.boxes[id]
	if ok {
		delete(f.boxes, id)
		f.tell(api.EventRemoved, b)
	}
}

func (f *Fake) tell(t api.EventType, b api.Sandbox) {
	f.seq++
	for c := range f.subs {
		select {
		case c <- api.Event{Type: t, Cursor: api.Cursor{Epoch: "fake", Seq: f.seq}, Time: f.Now(), Sandbox: &b}:
		default: // too slow: it loses its connection, as with the real one
			close(c)
			delete(f.subs, c)
		}
	}
}

// Watch implements the TUI's backend: it always begins with a snapshot.
func (f *Fake) Watch(ctx context.Context, _ api.Cursor, each func(api.Event) error) error {
	f.mu.Lock()
	if f.down {
		f.mu.Unlock()
		return &api.Error{Code: api.CodeUnavailable, Message: "the daemon does not run", Hint: "cove daemon start"}
	}
	c := make(chan api.Event, 4096)
	f.subs[c] = struct{}{}
	first := api.Event{Type: api.EventSnapshot, Cursor: api.Cursor{Epoch: "fake", Seq: f.seq},
		Time: f.Now(), Sandboxes: slices.Collect(maps.Values(f.boxes))}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.subs, c)
		f.mu.Unlock()
	}()
	if err := each(first); err != nil {
		return err
	}
	ping := time.NewTicker(api.PingInterval)
	defer ping.Stop()
	for {
		select {
		case <-ping.C:
			if err := each(api.Event{Type: api.EventPing, Time: f.Now()}); err != nil {
				return err
			}
		case e, ok := <-c:
			if !ok {
				return io.ErrUnexpectedEOF
			}
			if err := each(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Create implements the TUI's backend.
func (f *Fake) Create(ctx context.Context, id, name string, spec config.Spec) (api.Sandbox, error) {
	f.mu.Lock()
	f.log = append(f.log, "create "+name+" "+spec.Profile)
	f.made++
	if name == "" {
		name = fmt.Sprintf("quiet-otter-%d", f.made)
	}
	for _, b := range f.boxes {
		if b.Name == name {
			f.mu.Unlock()
			return api.Sandbox{}, &api.Error{Code: api.CodeExists, Message: "the name " + name + " is taken"}
		}
	}
	f.specs[name] = spec
	refuse := f.RefuseCreate
	f.mu.Unlock()
	if refuse != nil {
		if err := refuse(name); err != nil {
			return api.Sandbox{}, err
		}
	}
	f.Put(api.Sandbox{ID: id, Name: name, State: lifecycle.Creating, Desired: lifecycle.Started,
		Profile: spec.Profile, Image: spec.Image, Created: f.Now()})
	if err := f.pass(ctx, id, lifecycle.Started, nil); err != nil {
		return api.Sandbox{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.boxes[id], nil
}

// Start implements the TUI's backend.
func (f *Fake) Start(ctx context.Context, id string) error {
	return f.operate(ctx, id, lifecycle.OpStart, lifecycle.Started, nil)
}

// Stop implements the TUI's backend.
func (f *Fake) Stop(ctx context.Context, id string) error {
	return f.operate(ctx, id, lifecycle.OpStop, lifecycle.Stopped, &lifecycle.Reason{Kind: lifecycle.ReasonUser})
}

// Restart implements the TUI's backend.
func (f *Fake) Restart(ctx context.Context, id string) error {
	return f.operate(ctx, id, lifecycle.OpRestart, lifecycle.Started, nil)
}

// Delete implements the TUI's backend.
func (f *Fake) Delete(ctx context.Context, id string) error {
	if err := f.operate(ctx, id, lifecycle.OpDelete, lifecycle.Destroyed, nil); err != nil {
		return err
	}
	f.mu.Lock()
	f.deleted = append(f.deleted, f.boxes[id])
	f.mu.Unlock()
	f.Remove(id)
	return nil
}

func (f *Fake) operate(ctx context.Context, id string, op lifecycle.Operation, end lifecycle.State, why *lifecycle.Reason) error {
	f.mu.Lock()
	f.log = append(f.log, string(op)+" "+id)
	b, ok := f.boxes[id]
	f.mu.Unlock()
	if !ok {
		return &api.Error{Code: api.CodeNotFound, Message: "there is no sandbox " + id}
	}
	if reason := lifecycle.Why(op, b.State); reason != "" {
		return &api.Error{Code: api.CodeConflict, Message: reason, State: b.State}
	}
	rule, _ := lifecycle.RuleOf(op)
	if len(rule.Via) > 0 {
		b.State = rule.Via[0]
		f.Put(b)
	}
	return f.pass(ctx, id, end, why)
}

// pass brings a sandbox out of its passing state.
func (f *Fake) pass(ctx context.Context, id string, end lifecycle.State, why *lifecycle.Reason) error {
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	b, ok := f.boxes[id]
	f.mu.Unlock()
	if !ok {
		return &api.Error{Code: api.CodeCanceled, Message: "it was deleted meanwhile"}
	}
	now := f.Now()
	b.State, b.Reason = end, why
	b.Started, b.Stopped = nil, &now
	if end == lifecycle.Started {
		b.Started, b.Stopped = &now, nil
	}
	f.Put(b)
	return nil
}

// Attach implements the TUI's backend.
func (f *Fake) Attach(_ context.Context, id string, r api.AttachRequest) (io.ReadWriteCloser, error) {
	f.mu.Lock()
	f.log = append(f.log, strings.TrimSpace("attach "+id+" "+r.Session))
	b, ok := f.boxes[id]
	refuse := f.RefuseAttach
	f.rounds[id]++
	round := f.rounds[id]
	f.mu.Unlock()
	switch {
	case refuse != nil:
		return nil, refuse
	case !ok:
		return nil, &api.Error{Code: api.CodeNotFound, Message: "there is no sandbox " + id}
	}
	return Shell(b.Name, round, r.Cols, r.Rows), nil
}
