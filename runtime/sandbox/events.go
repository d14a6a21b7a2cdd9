package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"cove/config"
	"cove/runtime/store"
)

// ErrSlow ends a subscription whose reader does not keep up: it subscribes
// again from its last event and misses nothing.
var ErrSlow = errors.New("the subscriber does not keep up")

// subscriptionBuffer is how many events a subscriber may be behind.
const subscriptionBuffer = 512

// Cursor is a place in the journal.
type Cursor struct {
	Epoch string
	Seq   uint64
}

// Subscription is a stream of events from one moment on.
type Subscription struct {
	// Fresh says that the cursor was not known: Snapshot holds everything
	// that the caller may see, as of At.
	Fresh    bool
	Snapshot []Info
	At       Cursor
	// Events is closed when the subscription ends; Err then says why.
	Events <-chan Event

	mu  sync.Mutex
	err error
}

// Err is why Events was closed: nil or the context's end, [ErrSlow], or
// [ErrUnavailable] when the Manager has closed.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// bus numbers every change of every sandbox, keeps it in the journal and
// passes it on.
type bus struct {
	mu      sync.Mutex
	journal *store.Journal
	latest  map[string]Info
	recent  []Event // the last ones, oldest first
	subs    map[*subscriber]struct{}
	closed  bool
}

type subscriber struct {
	caller Caller
	events chan Event
	sub    *Subscription
}

func newBus(j *store.Journal) *bus {
	return &bus{journal: j, latest: map[string]Info{}, subs: map[*subscriber]struct{}{}}
}

// publish tells everybody what the sandbox is now. The caller holds b.mu, so
// that events have the order of the changes.
func (m *Manager) publish(b *box) {
	i := b.info()
	m.bus.put(i, m.log.Warn)
	m.changes.note(i)
	b.wake() // what changed may change when something is due
}

func (s *bus) put(i Info, warn func(string, ...any)) { s.send(i, false, warn) }

func (s *bus) remove(i Info) { s.send(i, true, nil) }

func (s *bus) send(i Info, removed bool, warn func(string, ...any)) {
	// What events carry is what lists show: the whole Spec stays out of the journal.
	i.Spec = config.Spec{Profile: i.Spec.Profile, Image: i.Spec.Image, Labels: i.Spec.Labels}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if removed {
		delete(s.latest, i.ID)
	} else {
		s.latest[i.ID] = i
	}
	data, err := json.Marshal(journaled{Removed: removed, Info: i})
	if err != nil && warn != nil {
		warn("could not encode an event", "error", err)
	}
	rec, err := s.journal.Append(data)
	if err != nil && warn != nil {
		// The journal is history, not truth: a full disk must not stop a stop.
		warn("could not write the journal", "error", err)
	}
	e := Event{Epoch: rec.Epoch, Seq: rec.Seq, Time: rec.Time, Removed: removed, Info: i}
	if s.recent = append(s.recent, e); len(s.recent) >= 2*subscriptionBuffer {
		s.recent = append([]Event(nil), s.recent[len(s.recent)-subscriptionBuffer:]...)
	}
	for sub := range s.subs {
		if !sub.caller.Sees(i.Owner) {
			continue
		}
		select {
		case sub.events <- e:
		default:
			s.drop(sub, ErrSlow)
		}
	}
}

type journaled struct {
	Removed bool `json:"removed,omitempty"`
	Info    Info `json:"info"`
}

// drop ends a subscription. The caller holds s.mu.
func (s *bus) drop(sub *subscriber, err error) {
	if _, ok := s.subs[sub]; !ok {
		return
	}
	delete(s.subs, sub)
	sub.sub.mu.Lock()
	sub.sub.err = err
	sub.sub.mu.Unlock()
	close(sub.events)
}

func (s *bus) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for sub := range s.subs {
		s.drop(sub, ErrUnavailable)
	}
	return s.journal.Close()
}

// Subscribe gives the events after since, or, when since is nil or no longer
// known, a snapshot and the events after it. It ends with ctx.
func (m *Manager) Subscribe(ctx context.Context, c Caller, since *Cursor) (*Subscription, error) {
	s := m.bus
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrUnavailable
	}
	at := s.journal.Last()
	missed, known := s.missed(c, since)
	events := make(chan Event, subscriptionBuffer+len(missed))
	sub := &Subscription{At: Cursor{Epoch: at.Epoch, Seq: at.Seq}, Events: events}
	if known {
		for _, e := range missed {
			events <- e
		}
	} else {
		sub.Fresh = true
		for _, i := range s.latest {
			if c.Sees(i.Owner) {
				sub.Snapshot = append(sub.Snapshot, i)
			}
		}
		sortInfos(sub.Snapshot)
	}
	me := &subscriber{caller: c, events: events, sub: sub}
	s.subs[me] = struct{}{}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drop(me, nil)
	})
	_ = stop // the function is quick and harmless after a drop
	return sub, nil
}

// missed are the events after since, and whether all of them are known: those
// that this Manager has seen, as many as a subscriber may be behind. The caller
// holds s.mu, so nothing here is read or decoded: who asks for much would hold up
// every change of every sandbox.
func (s *bus) missed(c Caller, since *Cursor) ([]Event, bool) {
	at := s.journal.Last()
	if since == nil || since.Epoch != at.Epoch || since.Seq > at.Seq {
		return nil, false
	}
	n := at.Seq - since.Seq
	if n > uint64(len(s.recent)) {
		return nil, false
	}
	events := make([]Event, 0, n)
	for _, e := range s.recent[uint64(len(s.recent))-n:] {
		if c.Sees(e.Info.Owner) {
			events = append(events, e)
		}
	}
	return events, true
}

func (c Cursor) String() string { return fmt.Sprintf("%s:%d", c.Epoch, c.Seq) }
