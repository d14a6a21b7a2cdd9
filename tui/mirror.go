package tui

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/text"
)

// Link is the state of the connection to the daemon.
type Link int

// The states of the connection.
const (
	Connecting Link = iota // for the first time; nothing is known yet
	Live                   // what is shown is true
	Down                   // what is shown may be stale; it is tried again
)

// Snapshot is what is known of the daemon's sandboxes at one moment. It is
// never changed after it was made.
type Snapshot struct {
	// Sandboxes are sorted by name. Their texts are clean (see text.Clean).
	Sandboxes []api.Sandbox
	// Known is false until the daemon has told of its sandboxes once.
	Known bool
	Link  Link
	// Err is why the connection is down, Tries how often it has been tried
	// since it was last up, Since when that was noticed, Next when it is
	// tried again.
	Err   error
	Tries int
	Since time.Time
	Next  time.Time
	// Passing is since when sandboxes have been in a passing state, by their
	// ids, where the change was seen.
	Passing map[string]time.Time
}

// Mirror follows the daemon's events and keeps the latest of every sandbox.
// Readers are told by a signal of capacity one that there is something new, so
// a burst of events costs one look, and a reader who is away (the terminal is
// attached elsewhere) delays nobody.
type Mirror struct {
	backend Backend
	clock   func() time.Time
	changed chan struct{}
	history *history // nil where nobody wants to know

	mu     sync.Mutex
	boxes  map[string]api.Sandbox
	cursor api.Cursor
	snap   Snapshot // Sandboxes and Passing are made when they are asked for
	// passing is never taken from a snapshot: that does not say since when.
	passing map[string]time.Time
}

// Silence is how long the daemon may say nothing before it is taken for dead;
// it pings every few seconds.
const Silence = 20 * time.Second

// Waits between two tries to connect.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// ErrSilent is why the connection is down when the daemon said nothing for
// [Silence].
var ErrSilent = errors.New("the daemon does not answer")

// NewMirror returns a mirror of what b tells. It knows nothing before
// [Mirror.Run].
func NewMirror(b Backend, clock func() time.Time) *Mirror {
	return &Mirror{
		backend: b, clock: clock, changed: make(chan struct{}, 1),
		boxes: make(map[string]api.Sandbox), passing: make(map[string]time.Time),
	}
}

// Changed is raised when [Mirror.Snapshot] has something new. It is for one
// reader.
func (m *Mirror) Changed() <-chan struct{} { return m.changed }

// Run follows the daemon until ctx ends, and connects again, at growing
// intervals, whenever the connection breaks.
func (m *Mirror) Run(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		err := m.follow(ctx, func() { wait = firstRetry })
		if ctx.Err() != nil {
			return
		}
		m.down(err, wait)
		retry := time.NewTimer(wait)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return
		}
		wait = min(wait*2, lastRetry)
	}
}

// follow takes events until the connection breaks; up is called at each.
func (m *Mirror) follow(ctx context.Context, up func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(Silence, func() { cancel(ErrSilent) })
	defer silent.Stop()
	m.mu.Lock()
	since := m.cursor
	m.mu.Unlock()
	err := m.backend.Watch(ctx, since, func(e api.Event) error {
		silent.Reset(Silence)
		up()
		m.take(e)
		return ctx.Err()
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// take puts one event in its place.
func (m *Mirror) take(e api.Event) {
	m.mu.Lock()
	if e.Type == api.EventPing && !m.snap.Known {
		m.mu.Unlock()
		return // alive, but it has not told anything yet
	}
	changed := m.snap.Link != Live
	if m.snap.Link == Down {
		m.history.link(nil)
	}
	m.snap.Link, m.snap.Err, m.snap.Tries = Live, nil, 0
	switch e.Type {
	case api.EventSnapshot:
		m.replace(e.Sandboxes)
		m.snap.Known, m.cursor, changed = true, e.Cursor, true
	case api.EventSandbox:
		if e.Sandbox != nil {
			m.put(cleaned(*e.Sandbox), e.Time)
		}
		m.cursor, changed = e.Cursor, true
	case api.EventRemoved:
		if e.Sandbox != nil {
			m.remove(e.Sandbox.ID, e.Time)
		}
		m.cursor, changed = e.Cursor, true
	case api.EventPing:
	}
	m.mu.Unlock()
	if changed {
		m.signal()
	}
}

// replace takes the sandboxes that there are. Since when one has been passing
// is still known if it was seen, and it is passing the same way.
func (m *Mirror) replace(boxes []api.Sandbox) {
	before := m.boxes
	m.boxes = make(map[string]api.Sandbox, len(boxes))
	for _, b := range boxes {
		m.boxes[b.ID] = cleaned(b)
	}
	if m.snap.Known {
		m.history.compared(before, m.boxes)
	}
	maps.DeleteFunc(m.passing, func(id string, _ time.Time) bool {
		b, ok := m.boxes[id]
		return !ok || b.State != before[id].State
	})
}

// put takes a sandbox that is new or changed.
func (m *Mirror) put(b api.Sandbox, at time.Time) {
	old, known := m.boxes[b.ID]
	m.boxes[b.ID] = b
	m.history.sandbox(at, old, known, b)
	if known && old.State == b.State {
		return
	}
	delete(m.passing, b.ID)
	if b.State.Passing() {
		m.passing[b.ID] = at
	}
}

func (m *Mirror) remove(id string, at time.Time) {
	if old, known := m.boxes[id]; known {
		m.history.removed(at, old)
	}
	delete(m.boxes, id)
	delete(m.passing, id)
}

func (m *Mirror) down(err error, wait time.Duration) {
	now := m.clock()
	m.mu.Lock()
	if m.snap.Link == Live {
		m.history.link(err)
	}
	if m.snap.Link != Down {
		m.snap.Since = now
	}
	m.snap.Link, m.snap.Err, m.snap.Next = Down, err, now.Add(wait)
	m.snap.Tries++
	m.mu.Unlock()
	m.signal()
}

func (m *Mirror) signal() { raise(m.changed) }

// Has tells whether a sandbox of the id is known now.
func (m *Mirror) Has(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.boxes[id]
	return ok && b.State != lifecycle.Destroyed
}

// Snapshot returns what is known now. Sandboxes that are destroyed are left
// out: they exist only for whoever asks for them.
func (m *Mirror) Snapshot() Snapshot {
	m.mu.Lock()
	s := m.snap
	s.Passing = maps.Clone(m.passing)
	s.Sandboxes = make([]api.Sandbox, 0, len(m.boxes))
	for _, b := range m.boxes {
		if b.State != lifecycle.Destroyed {
			s.Sandboxes = append(s.Sandboxes, b)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(s.Sandboxes, func(a, b api.Sandbox) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return s
}

// cleaned returns b with texts that can be shown as they are. Much of it was
// chosen by whoever made the sandbox, and reasons quote what ran inside.
func cleaned(b api.Sandbox) api.Sandbox {
	b.Name, b.Profile, b.Image = text.Clean(b.Name), text.Clean(b.Profile), text.Clean(b.Image)
	b.Progress = text.Clean(b.Progress)
	b.State = lifecycle.State(text.Clean(string(b.State)))
	if b.Reason != nil {
		r := *b.Reason
		r.Kind, r.Signal, r.Detail = lifecycle.ReasonKind(text.Clean(string(r.Kind))), text.Clean(r.Signal), text.Clean(r.Detail)
		b.Reason = &r
	}
	b.Held = text.Clean(b.Held)
	b.Warnings, b.GPUs = cleanAll(b.Warnings), cleanAll(b.GPUs)
	b.Due = cleanDue(b.Due)
	labels := make(map[string]string, len(b.Labels))
	for k, v := range b.Labels {
		labels[text.Clean(k)] = text.Clean(v)
	}
	b.Labels = labels
	return b
}

// cleanAll is clean texts instead of those.
func cleanAll(texts []string) []string {
	texts = slices.Clone(texts)
	for i := range texts {
		texts[i] = text.Clean(texts[i])
	}
	return texts
}

// cleanDue is d with clean texts.
func cleanDue(d *api.Due) *api.Due {
	if d == nil {
		return nil
	}
	c := *d
	c.Action, c.Key, c.Error = lifecycle.Operation(text.Clean(string(d.Action))), text.Clean(d.Key), text.Clean(d.Error)
	c.Without, c.Busy = cleanAll(d.Without), cleanAll(d.Busy)
	return &c
}
