package sandbox

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cove/runtime/lifecycle"
	"cove/runtime/store"
)

const (
	// changesFile is in a sandbox's state directory, so it goes with it.
	changesFile = "changes"
	// changesBytes bounds it: from half as many on it holds some 500 changes.
	changesBytes = 128 << 10
	// changesWaiting is how many changes wait in memory for a disk that is full,
	// or for the directory of a sandbox that is being made.
	changesWaiting = 64
	// maxChangeDetail is what is kept of a reason's detail.
	maxChangeDetail = 400
)

// Change is one change of a sandbox's state, or of why it is held.
type Change struct {
	Time   time.Time           `json:"time"`
	State  lifecycle.State     `json:"state"`
	Op     lifecycle.Operation `json:"op,omitempty"`
	Reason lifecycle.Reason    `json:"reason,omitzero"`
	Held   string              `json:"held,omitempty"`
}

// changed tells whether what is now is another thing than before.
func (c Change) changed(before Change) bool {
	return c.State != before.State || c.Reason != before.Reason || c.Held != before.Held
}

// changes writes down every change of every sandbox, apart from the operations,
// which do not wait for it: it is history, not truth.
type changes struct {
	m    *Manager
	wake chan struct{}

	// file is held while files are read and written; it comes before mu.
	file sync.Mutex
	mu   sync.Mutex
	last map[string]Change // by id, of those known in this daemon's time
	wait map[string][]Change
	// full says that it was logged that they could not be written.
	full bool
}

func newChanges(m *Manager) *changes {
	return &changes{m: m, wake: make(chan struct{}, 1), last: map[string]Change{}, wait: map[string][]Change{}}
}

// note takes what the sandbox is now. It waits for no disk.
func (h *changes) note(i Info) {
	c := Change{Time: h.m.now().UTC(), State: i.State, Op: i.Op, Reason: i.Reason, Held: i.Held}
	if len(c.Reason.Detail) > maxChangeDetail {
		c.Reason.Detail = c.Reason.Detail[:maxChangeDetail]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if before, ok := h.last[i.ID]; ok && !c.changed(before) {
		return
	}
	h.last[i.ID] = c
	h.wait[i.ID] = append(h.wait[i.ID], c)
	if n := len(h.wait[i.ID]); n > changesWaiting {
		h.wait[i.ID] = slices.Clone(h.wait[i.ID][n-changesWaiting:])
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// forget drops what waits for a sandbox that is gone.
func (h *changes) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, id)
	delete(h.wait, id)
}

// run writes until the Manager closes, which writes the rest.
func (h *changes) run() {
	for {
		select {
		case <-h.wake:
			h.flush()
		case <-h.m.ctx.Done():
			return
		}
	}
}

func (h *changes) flush() {
	h.file.Lock()
	defer h.file.Unlock()
	h.mu.Lock()
	take := h.wait
	h.wait = map[string][]Change{}
	h.mu.Unlock()
	for id, list := range take {
		err := h.write(id, list)
		if err == nil {
			continue
		}
		h.mu.Lock()
		// One that has been forgotten meanwhile is so for good.
		if _, known := h.last[id]; known {
			h.wait[id] = append(list, h.wait[id]...)
		}
		first := !h.full && !errors.Is(err, os.ErrNotExist)
		h.full = h.full || first
		h.mu.Unlock()
		if first {
			h.m.log.Warn("could not write down what became of a sandbox", "sandbox", id, "error", err)
		}
	}
}

// write adds to the file what is new to it: a daemon that begins says of each
// sandbox what it found, which the one before may have written.
func (h *changes) write(id string, list []Change) error {
	path := h.path(id)
	kept, err := readChanges(path)
	if err != nil {
		h.m.log.Warn("the history of a sandbox is not readable and begins anew", "sandbox", id, "error", err)
	}
	var before Change
	if n := len(kept); n > 0 {
		before = kept[n-1]
	}
	var lines [][]byte
	for _, c := range list {
		if !c.changed(before) {
			continue
		}
		line, err := json.Marshal(c)
		if err != nil {
			return err
		}
		lines, before = append(lines, line), c
	}
	return changesTrail().Append(path, lines...)
}

func changesTrail() store.Trail { return store.Trail{Limit: changesBytes} }

func (h *changes) path(id string) string { return filepath.Join(h.m.stateDir(id), changesFile) }

// of gives all that is kept of a sandbox, the oldest first.
func (h *changes) of(id string) ([]Change, error) {
	h.file.Lock()
	defer h.file.Unlock()
	list, err := readChanges(h.path(id))
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.wait[id] {
		if n := len(list); n == 0 || c.changed(list[n-1]) {
			list = append(list, c)
		}
	}
	return list, err
}

func readChanges(path string) ([]Change, error) {
	lines, err := changesTrail().Read(path)
	var list []Change
	for _, line := range lines {
		var c Change
		// A line that a kill tore, or that another cove wrote.
		if json.Unmarshal(line, &c) != nil || !c.State.Valid() || c.Time.IsZero() {
			continue
		}
		list = append(list, c)
	}
	return list, err
}
