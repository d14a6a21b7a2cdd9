package tui

import (
	"strings"
	"sync"
	"time"

	"cove/runtime/api"
	"cove/tui/text"
)

// entry is one thing that happened.
type entry struct {
	num    int // counts from 1
	at     time.Time
	id     string // the sandbox's, "" when it is about several or none
	mine   bool   // the person did it; else the daemon told of it
	what   string
	cli    string        // on the command line, where it has a form there
	took   time.Duration // of what the person did
	fault  string        // why it failed, in full
	urgent bool          // an event that needs a look
}

// history is what happened lately: what the person did and what the daemon told,
// each state change of every sandbox. It keeps the last entries only, and
// belongs to no connection, so it goes on over a daemon that goes and comes. Safe for
// concurrent use; a nil history forgets everything.
type history struct {
	clock func() time.Time

	mu   sync.Mutex
	ring []entry
	n    int // entries so far
}

// historyMost is how many entries are kept.
const historyMost = 2000

func newHistory(clock func() time.Time) *history { return &history{clock: clock} }

func (h *history) add(e entry) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	e.num = h.n
	if len(h.ring) < historyMost {
		h.ring = append(h.ring, e)
		return
	}
	h.ring[(h.n-1)%historyMost] = e
}

// entries returns what is kept, the latest first.
func (h *history) entries() []entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]entry, 0, len(h.ring))
	for i := h.n; i > h.n-len(h.ring); i-- {
		out = append(out, h.ring[(i-1)%historyMost])
	}
	return out
}

// of returns what is kept of one sandbox, the latest first and no more than most.
func (h *history) of(id string, most int) []entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []entry
	for i := h.n; i > h.n-len(h.ring) && len(out) < most; i-- {
		if e := &h.ring[(i-1)%historyMost]; e.id == id {
			out = append(out, *e)
		}
	}
	return out
}

// did notes what the person did and how it ended.
func (h *history) did(w *work, now time.Time, err error) {
	e := entry{at: w.since, id: w.id, mine: true, what: strings.TrimSpace(w.verb + " " + text.Clean(w.what)), cli: text.Clean(w.cli), took: now.Sub(w.since)}
	if err != nil {
		e.fault = whole(e.what, w.cli, err)
	}
	h.add(e)
}

// sandbox notes what changed of a sandbox.
func (h *history) sandbox(at time.Time, old api.Sandbox, known bool, b api.Sandbox) {
	if h == nil {
		return
	}
	e := entry{at: at, id: b.ID, what: b.Name + ": " + string(b.State), urgent: failed(b.State)}
	switch {
	case !known:
	case old.State != b.State:
		e.what = b.Name + ": " + string(old.State) + " -> " + string(b.State)
	case held(&b) && !held(&old):
		e.what, e.urgent = b.Name+": held: "+b.Held, true
	case held(&old) && !held(&b):
		e.what = b.Name + ": held no more"
	case old.Name != b.Name:
		e.what = old.Name + " is " + b.Name + " now"
	default:
		return // nothing that a person would see
	}
	if r := b.Reason; r != nil && r.Kind != "" && !b.State.Running() && !b.State.Passing() {
		e.what += " (" + r.String() + ")"
		if failed(b.State) {
			e.fault = e.what
			if r.Detail != "" {
				e.fault += "\n" + r.Detail
			}
		}
	}
	h.add(e)
}

func (h *history) removed(at time.Time, b api.Sandbox) {
	h.add(entry{at: at, id: b.ID, what: b.Name + ": gone"})
}

// compared notes what is different after the daemon was away.
func (h *history) compared(before, now map[string]api.Sandbox) {
	if h == nil {
		return
	}
	at := h.clock()
	for id, b := range now {
		old, known := before[id]
		h.sandbox(at, old, known, b)
	}
	for id, b := range before {
		if _, still := now[id]; !still {
			h.removed(at, b)
		}
	}
}

// link notes that the connection broke, because of err, or came back.
func (h *history) link(err error) {
	if h == nil {
		return
	}
	if err == nil {
		h.add(entry{at: h.clock(), what: "the daemon is back"})
		return
	}
	h.add(entry{at: h.clock(), what: "the daemon is gone: " + text.Clean(err.Error()), urgent: true})
}
