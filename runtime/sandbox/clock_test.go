package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"testing"
	"time"

	"cove/runtime/archive"
)

// clock is the machine's clocks as a test moves them.
type clock struct {
	mu *sync.Mutex
	at *Moment
}

func newClock() clock {
	return clock{new(sync.Mutex), &Moment{Wall: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), Awake: time.Hour, Up: 2 * time.Hour}}
}

func (c clock) now() Moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.at
}

func (c clock) move(wall, awake, up time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at.Wall = c.at.Wall.Add(wall)
	c.at.Awake += awake
	c.at.Up += up
}

func (c clock) pass(d time.Duration)  { c.move(d, d, d) }
func (c clock) sleep(d time.Duration) { c.move(d, 0, d) }
func (c clock) set(d time.Duration)   { c.move(d, 0, 0) }

// boot is a machine that was off for so long.
func (c clock) boot(off time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at.Wall = c.at.Wall.Add(off)
	c.at.Awake, c.at.Up = time.Second, time.Second
}

// CPUTime and what follows implement what automation counts.
func (m *machine) CPUTime(id string) (time.Duration, error) {
	if err := m.fails("cpu"); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.groups[id] {
		return 0, fmt.Errorf("no group: %w", fs.ErrNotExist)
	}
	if m.works[id] && !m.frozen[id] {
		m.used[id] += time.Millisecond
	}
	return m.used[id], nil
}

func (m *machine) Bytes(id string) (rx, tx int64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok = m.policies[id]
	return m.bytes[id], 0, ok
}

// Save and Read are the real ones, but where the test has them fail.
func (m *machine) Save(ctx context.Context, dir *os.File, name string, tree *os.File, o archive.WriteOptions) (archive.Manifest, error) {
	if err := m.fails("archive"); err != nil {
		return archive.Manifest{}, err
	}
	if m.archiving != nil {
		m.archiving(ctx)
	}
	return archive.Save(ctx, dir, name, tree, o)
}

func (m *machine) Send(ctx context.Context, w io.Writer, tree *os.File, o archive.WriteOptions) (archive.Manifest, error) {
	return archive.Write(ctx, w, tree, o)
}

func (m *machine) ReadMeta(ctx context.Context, from io.Reader, tree *os.File, o archive.ReadOptions) (json.RawMessage, archive.Manifest, error) {
	return archive.Read(ctx, from, tree, o)
}

func (m *machine) Read(ctx context.Context, from io.Reader, tree *os.File, o archive.ReadOptions) (archive.Manifest, error) {
	if err := m.fails("restore"); err != nil {
		return archive.Manifest{}, err
	}
	return archive.Files{}.Read(ctx, from, tree, o)
}

func (m *machine) use(id string, cpu time.Duration, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used[id] += cpu
	m.bytes[id] += bytes
}

func (m *machine) fail(call string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boom[call] = err
}

// tick makes rounds until nothing is to be done at this moment.
func (c *cove) tick() {
	a := c.m.automation
	for range 4 {
		a.round()
		a.mu.Lock() // no other round begins anything
		a.acting.Wait()
		a.mu.Unlock()
	}
}

// pass lets time go by in steps, and has it noticed.
func (c *cove) pass(d, step time.Duration) {
	for ; d > 0; d -= step {
		for _, f := range c.steps {
			f(min(d, step))
		}
		c.time.pass(min(d, step))
		c.tick()
	}
}

func TestOffsets(t *testing.T) {
	for name, c := range map[string]struct {
		move func(clock)
		want bool
	}{
		"time passes":      {func(c clock) { c.pass(1000 * time.Hour) }, false},
		"it is kept right": {func(c clock) { c.set(-9 * time.Second) }, false},
		"set forward":      {func(c clock) { c.set(time.Hour) }, true},
		"set back":         {func(c clock) { c.set(-time.Hour) }, true},
		"suspended":        {func(c clock) { c.sleep(time.Minute) }, true},
	} {
		clock := newClock()
		before := clock.now().offsets("a")
		c.move(clock)
		if got := before.parted(clock.now().offsets("a")); got != c.want {
			t.Errorf("%s: parted %v", name, got)
		}
		if !before.parted(clock.now().offsets("b")) {
			t.Errorf("%s: another boot is the same", name)
		}
	}
}

func TestSystemClock(t *testing.T) {
	now := systemClock(time.Now)
	a := now()
	time.Sleep(20 * time.Millisecond)
	b := now()
	for what, d := range map[string]time.Duration{"wall": b.Wall.Sub(a.Wall), "awake": b.Awake - a.Awake, "up": b.Up - a.Up} {
		if d < 20*time.Millisecond || d > time.Minute {
			t.Errorf("%s went on by %v in 20 ms", what, d)
		}
	}
	if a.Up < a.Awake || a.Awake <= 0 {
		t.Errorf("up for %v, awake for %v", a.Up, a.Awake)
	}
}
