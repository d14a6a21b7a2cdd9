package tui

import (
	"cmp"
	"context"
	"errors"
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
	// since it was last up.
	Err   error
	Tries int
}

// Mirror follows the daemon's events and keeps the latest of every sandbox.
// Readers are told by a signal of capacity one that there is something new, so
// a burst of events costs one look, and a reader who is away (the terminal is
// attached elsewhere) delays nobody.
type Mirror struct {
	backend Backend
	changed chan struct{}
	history *history // nil where nobody wants to know

	mu     sync.Mutex
	boxes  map[string]api.Sandbox
	cursor api.Cursor
	snap   Snapshot // Sandboxes are made when they are asked for
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
func NewMirror(b Backend) *Mirror {
	return &Mirror{backend: b, changed: make(chan struct{}, 1), boxes: make(map[string]api.Sandbox)}
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
		m.down(err)
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
		before := m.boxes
		m.boxes = make(map[string]api.Sandbox, len(e.Sandboxes))
		for _, b := range e.Sandboxes {
			m.boxes[b.ID] = cleaned(b)
		}
		if m.snap.Known {
			m.history.compared(before, m.boxes)
		}
		m.snap.Known, m.cursor, changed = true, e.Cursor, true
	case api.EventSandbox:
		if e.Sandbox != nil {
			old, known := m.boxes[e.Sandbox.ID]
			m.boxes[e.Sandbox.ID] = cleaned(*e.Sandbox)
			m.history.sandbox(e.Time, old, known, m.boxes[e.Sandbox.ID])
		}
		m.cursor, changed = e.Cursor, true
	case api.EventRemoved:
		if e.Sandbox != nil {
			if old, known := m.boxes[e.Sandbox.ID]; known {
				m.history.removed(e.Time, old)
			}
			delete(m.boxes, e.Sandbox.ID)
		}
		m.cursor, changed = e.Cursor, true
	case api.EventPing:
	}
	m.mu.Unlock()
	if changed {
		m.signal()
	}
}

func (m *Mirror) down(err error) {
	m.mu.Lock()
	if m.snap.Link == Live {
		m.history.link(err)
	}
	m.snap.Link, m.snap.Err = Down, err
	m.snap.Tries++
	m.mu.Unlock()
	m.signal()
}

func (m *Mirror) signal() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Snapshot returns what is known now. Sandboxes that are destroyed are left
// out: they exist only for whoever asks for them.
func (m *Mirror) Snapshot() Snapshot {
	m.mu.Lock()
	s := m.snap
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
	b.State = lifecycle.State(text.Clean(string(b.State)))
	if b.Reason != nil {
		r := *b.Reason
		r.Kind, r.Signal, r.Detail = lifecycle.ReasonKind(text.Clean(string(r.Kind))), text.Clean(r.Signal), text.Clean(r.Detail)
		b.Reason = &r
	}
	b.Warnings = slices.Clone(b.Warnings)
	for i := range b.Warnings {
		b.Warnings[i] = text.Clean(b.Warnings[i])
	}
	labels := make(map[string]string, len(b.Labels))
	for k, v := range b.Labels {
		labels[text.Clean(k)] = text.Clean(v)
	}
	b.Labels = labels
	return b
}
