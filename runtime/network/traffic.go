package network

import (
	"sync"
	"time"
)

// countersAge is how old counters may be: one question to the kernel is for all
// sandboxes whose turn is within it.
const countersAge = 200 * time.Millisecond

// counters are what the links last said.
type counters struct {
	mu   sync.Mutex
	at   time.Time
	have map[string]traffic // by sandbox
}

type traffic struct{ received, sent int64 }

// Bytes are those of its frames that a sandbox received and sent since it was
// connected; ok is false where it is not.
func (d *Driver) Bytes(sandbox string) (rx, tx int64, ok bool) {
	c := &d.counters
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.at) > countersAge {
		c.at, c.have = now, d.readCounters()
	}
	t, ok := c.have[sandbox]
	return t.received, t.sent, ok
}

func (d *Driver) readCounters() map[string]traffic {
	d.mu.Lock()
	defer d.mu.Unlock()
	have := make(map[string]traffic, len(d.links))
	if len(d.links) == 0 || d.gate == nil {
		return have
	}
	links, err := d.gate.rt.LinkList()
	if err != nil {
		d.log.Warn("could not read the links' counters", "error", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if c := d.links[a.Alias]; c != nil && c.index == a.Index && a.Statistics != nil {
			// What this end received the sandbox has sent.
			have[c.sandbox] = traffic{received: int64(a.Statistics.TxBytes), sent: int64(a.Statistics.RxBytes)}
		}
	}
	return have
}
