package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cove/runtime/lifecycle"
	"cove/runtime/store"
)

const (
	idleFile  = "idle.json"
	clockFile = "clock.json"
	maxSmall  = 64 << 10
)

// keptIdleness is idle.json in a sandbox's run directory: since when it is idle,
// for the next daemon, in awake time of one boot.
type keptIdleness struct {
	Boot  string        `json:"boot"`
	At    time.Duration `json:"at"`
	Since time.Duration `json:"since"`
	Busy  bool          `json:"busy,omitempty"`
	// CPU and Net are what had been used At.
	Counted bool          `json:"counted,omitempty"`
	CPU     time.Duration `json:"cpu,omitempty"`
	Net     int64         `json:"net,omitempty"`
}

// keep writes down since when a sandbox is idle, unless that is on disk already.
func (m *Manager) keep(b *box, now Moment, always bool) {
	b.mu.Lock()
	i := &b.idle
	k := keptIdleness{Boot: m.opt.BootID, At: now.Awake, Since: i.since, Busy: len(b.busy()) > 0, Counted: i.counted, CPU: i.cpu, Net: i.net}
	if i.counted {
		k.At = i.at
	}
	if b.run == nil || !always && i.since <= i.kept && now.Awake-i.kept < idleKept {
		b.mu.Unlock()
		return
	}
	i.kept = now.Awake
	b.mu.Unlock()
	data, err := json.Marshal(k)
	if err == nil {
		err = store.Replace(m.runDir(b.id), idleFile, data, false)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.log.Warn("could not keep since when a sandbox is idle", "sandbox", b.id, "error", err)
	}
}

// adopt finds out since when a sandbox is idle that a daemon before this one
// watched. While there was none nobody looked: what was busy then, and what has
// used more since than idle ones do, counts as used until now.
func (m *Manager) adopt(b *box) {
	a := b.record().Spec.Automation
	now := m.clock()
	b.mu.Lock()
	// There may be some, also for who begins to be watched later.
	b.idle.sessions, b.idle.since = true, now.Awake
	b.mu.Unlock()
	if !watched(a) {
		return
	}
	c := m.count(b.id, a)
	var k keptIdleness
	err := store.ReadJSON(filepath.Join(m.runDir(b.id), idleFile), maxSmall, &k)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.log.Warn("since when a sandbox is idle is not readable; it counts from now", "sandbox", b.id, "error", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := &b.idle
	if err != nil || k.Boot != m.opt.BootID || k.At > now.Awake || k.Busy || !k.Counted && b.state != lifecycle.Paused && !b.frozen {
		return
	}
	span := min(now.Awake-k.At, idleKept)
	if c.uncertain != nil || c.cpu && k.Counted && a.Active("cpu") && grown(k.CPU, c.used) >= max(activeCPU*float64(span), float64(adoptCPU)) {
		return
	}
	if c.net && k.Counted && grown(k.Net, c.bytes) >= max(activeBytes, activeNet*span.Seconds()) {
		return
	}
	i.since = min(k.Since, now.Awake)
}

// adoptCPU is what the questions of a daemon that ends and of one that begins
// may have used.
const adoptCPU = 10 * time.Millisecond

// keepOffsets tells the next daemon how the clocks stood, so that it knows whether
// the machine slept meanwhile.
func (m *Manager) keepOffsets(o offsets) {
	data, err := json.Marshal(o)
	if err == nil {
		err = store.Replace(m.opt.RunDir, clockFile, data, false)
	}
	if err != nil {
		m.log.Warn("could not keep how the clocks stand", "error", fmt.Errorf("%s: %w", clockFile, err))
	}
}

// readOffsets is what the daemon before this one kept; false where there is none.
func (m *Manager) readOffsets() (offsets, bool) {
	var o offsets
	err := store.ReadJSON(filepath.Join(m.opt.RunDir, clockFile), maxSmall, &o)
	return o, err == nil
}
