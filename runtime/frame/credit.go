package frame

import (
	"math"
	"sync"
)

// credit counts how many bytes of stdin may still be sent.
type credit struct {
	mu     sync.Mutex
	more   sync.Cond
	n      int64
	closed bool
}

func newCredit(n int64) *credit {
	c := &credit{n: n}
	c.more.L = &c.mu
	return c
}

// take waits for credit and takes up to n bytes of it; 0 means that the stream
// has ended.
func (c *credit) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.n == 0 && !c.closed {
		c.more.Wait()
	}
	if c.closed {
		return 0
	}
	n = int(min(int64(n), c.n))
	c.n -= int64(n)
	return n
}

func (c *credit) give(n uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The giver is not trusted: no overflow.
	c.n = min(c.n+int64(n), math.MaxInt32)
	c.more.Broadcast()
}

func (c *credit) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.more.Broadcast()
}
