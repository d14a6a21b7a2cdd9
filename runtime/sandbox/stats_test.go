package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cove/runtime/cgroup"
	"cove/runtime/frame"
	"cove/runtime/guest"
	"cove/runtime/lifecycle"
)

// gauges are meters whose groups use what a test says.
type gauges struct {
	mu    sync.Mutex
	used  map[string]cgroup.Usage
	err   map[string]error
	open  map[string]bool
	reads int
}

func (g *gauges) Usage(id string) (cgroup.Usage, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads++
	if err := g.err[id]; err != nil {
		return cgroup.Usage{}, err
	}
	g.open[id] = true
	return g.used[id], nil
}

func (g *gauges) Keep(keep func(string) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id := range g.open {
		if !keep(id) {
			delete(g.open, id)
		}
	}
}

func (g *gauges) use(id string, cpu time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used[id] = cgroup.Usage{CPU: cpu, Memory: 1 << 20, Pids: 2}
}

func (g *gauges) held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

func (g *gauges) taken() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reads
}

// traffic is a network counter, for each sandbox the same.
type traffic struct{ rx, tx atomic.Int64 }

func (n *traffic) Bytes(string) (rx, tx int64, ok bool) {
	return n.rx.Load(), n.tx.Load(), n.rx.Load() > 0
}

// sampled is a Manager that has nothing but boxes to take samples of.
func sampled(t *testing.T) (*Manager, *gauges, context.CancelFunc) {
	t.Helper()
	g := &gauges{used: map[string]cgroup.Usage{}, err: map[string]error{}, open: map[string]bool{}}
	m := &Manager{boxes: map[string]*box{}, now: time.Now, opt: Options{Meters: g}}
	m.log = slog.New(slog.DiscardHandler)
	var cancel context.CancelCauseFunc
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	cancel = m.cancel
	m.sampler, m.recorder, m.changes = newSampler(m), newRecorder(m), newChanges(m)
	return m, g, func() {
		cancel(ErrUnavailable)
		m.sampler.close()
		m.wg.Wait()
	}
}

func (m *Manager) addBox(id, name string, owner int, s lifecycle.State) *box {
	b := &box{id: id, state: s, rec: record{ID: id, Name: name, Owner: owner}, run: &running{Started: m.now().UTC()}}
	m.boxes[id] = b
	return b
}

func names(r StatsReport) []string {
	var names []string
	for _, s := range r.Sandboxes {
		names = append(names, s.Name)
	}
	return names
}

func TestFollowStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, g, end := sampled(t)
		defer end()
		m.addBox("1", "b", 1001, lifecycle.Started)
		m.addBox("2", "a", 1002, lifecycle.Paused)
		m.addBox("3", "c", 1001, lifecycle.Stopped)
		m.addBox("4", "d", 1001, lifecycle.Started) // its group goes as it is read
		g.err["4"] = fmt.Errorf("gone: %w", fs.ErrNotExist)
		net := new(traffic)
		m.opt.NetworkCounter = net
		net.rx.Store(1000)
		net.tx.Store(50)
		g.use("1", time.Second)

		ctx, cancel := context.WithCancel(t.Context())
		all, err := m.FollowStats(ctx, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		mine, err := m.FollowStats(ctx, Caller{UID: 1001})
		if err != nil {
			t.Fatal(err)
		}
		r := <-all
		if got := names(r); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("root sees %v", got)
		}
		if got := names(<-mine); !slices.Equal(got, []string{"b"}) {
			t.Errorf("1001 sees %v", got)
		}
		first := r.Sandboxes[1]
		if !slices.Equal(first.Missing, []string{MissingRates}) || first.CPU != 0 || first.NetRx != 1000 || first.NetTx != 50 || first.NetRxRate != 0 {
			t.Errorf("first: %+v", first)
		}
		if !first.Active.Equal(time.Now()) {
			t.Errorf("active %v, started %v", first.Active, time.Now())
		}

		// The second comes soon, and has rates.
		begin := time.Now()
		g.use("1", time.Second+2*time.Millisecond)
		net.rx.Store(2000)
		second := (<-all).Sandboxes[1]
		if took := time.Since(begin); took != statsFresh {
			t.Errorf("the second sample after %v", took)
		}
		if second.CPU != 0.008 || second.NetRxRate != 4000 || second.NetTxRate != 0 || len(second.Missing) != 0 {
			t.Errorf("second: %+v", second)
		}
		if !second.Active.Equal(first.Active) {
			t.Error("a little processor time is no activity")
		}
		// From now on one a second.
		begin = time.Now()
		g.use("1", 3*time.Second)
		third := (<-all).Sandboxes[1]
		if took := time.Since(begin); took != statsInterval {
			t.Errorf("the third sample after %v", took)
		}
		if third.CPU < 1.99 || third.CPU > 2 || !third.Active.Equal(time.Now()) {
			t.Errorf("third: %+v", third)
		}
		// Started again, the counters begin at 0.
		g.use("1", 500*time.Millisecond)
		net.rx.Store(0) // without a network now
		fourth := (<-all).Sandboxes[1]
		if fourth.CPU != 0.5 || fourth.NetRx != 0 || fourth.NetRxRate != 0 {
			t.Errorf("fourth: %+v", fourth)
		}
		if g.held() != 2 {
			t.Errorf("%d groups have open files, want 2", g.held())
		}

		// Who does not read misses samples and holds nobody up: mine has not
		// read since the first.
		time.Sleep(5 * statsInterval)
		synctest.Wait()
		late := <-mine
		if age := time.Since(late.Time); age >= statsInterval {
			t.Errorf("a slow reader gets a sample of %v ago", age)
		}

		// When nobody follows, nothing is read and nothing held.
		cancel()
		time.Sleep(2 * statsInterval)
		synctest.Wait()
		if _, ok := <-all; ok {
			<-all
		}
		n := g.taken()
		time.Sleep(time.Minute)
		if g.taken() != n || g.held() != 0 {
			t.Errorf("nobody follows: %d more reads, %d held", g.taken()-n, g.held())
		}
	})
}

func TestStatsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, g, end := sampled(t)
		defer end()
		m.addBox("1", "a", 0, lifecycle.Started)
		g.use("1", time.Second)
		begin := time.Now()
		go func() {
			time.Sleep(100 * time.Millisecond)
			g.use("1", time.Second+50*time.Millisecond)
		}()
		// The first takes two samples.
		r, err := m.Stats(t.Context(), Caller{})
		if err != nil || r.Sandboxes[0].CPU != 0.2 || time.Since(begin) != statsFresh {
			t.Errorf("%+v, %v, after %v", r, err, time.Since(begin))
		}
		if g.held() != 0 {
			t.Error("files are held for nobody")
		}
		// Soon after it there is another, with what runs then, whose rates are
		// not over the moment between them.
		m.addBox("2", "b", 1001, lifecycle.Started)
		time.Sleep(time.Millisecond)
		if r, err = m.Stats(t.Context(), Caller{UID: 5}); err != nil || len(r.Sandboxes) != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		delete(m.boxes, "1")
		if r, err = m.Stats(t.Context(), Caller{}); err != nil || !slices.Equal(names(r), []string{"b"}) {
			t.Errorf("%+v, %v", r, err)
		}
		delete(m.boxes, "2")
		m.addBox("1", "a", 0, lifecycle.Started)
		time.Sleep(time.Minute)
		g.use("1", time.Second)
		if r, err = m.Stats(t.Context(), Caller{}); err != nil || r.Sandboxes[0].CPU != 0 || !r.rated() {
			t.Errorf("%+v, %v", r, err)
		}
		time.Sleep(10 * time.Millisecond)
		g.use("1", time.Second+13*time.Millisecond)
		begin = time.Now()
		if r, err = m.Stats(t.Context(), Caller{}); err != nil || r.Sandboxes[0].CPU != 0.05 || time.Since(begin) != 0 {
			t.Errorf("%+v, %v, after %v", r, err, time.Since(begin))
		}
		// And after a second one is enough.
		time.Sleep(990 * time.Millisecond)
		g.use("1", 2*time.Second)
		begin = time.Now()
		r, err = m.Stats(t.Context(), Caller{})
		if err != nil || r.Sandboxes[0].CPU != 1 || time.Since(begin) != 0 {
			t.Errorf("%+v, %v, after %v", r, err, time.Since(begin))
		}
		// A caller who goes away does not wait.
		time.Sleep(time.Minute)
		cause := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := m.Stats(ctx, Caller{}); !errors.Is(err, cause) {
			t.Errorf("%v, want the cause", err)
		}
	})
}

func TestStatsWithoutMeters(t *testing.T) {
	m, _, end := sampled(t)
	m.opt.Meters = nil
	m.addBox("1", "a", 0, lifecycle.Started)
	r, err := m.Stats(t.Context(), Caller{})
	if err != nil || len(r.Sandboxes) != 1 || !slices.Contains(r.Sandboxes[0].Missing, string(cgroup.Memory)) {
		t.Errorf("%+v, %v", r, err)
	}
	ch, err := m.FollowStats(t.Context(), Caller{})
	if err != nil {
		t.Fatal(err)
	}
	end()
	for range ch { // it ends
	}
	if _, err := m.Stats(t.Context(), Caller{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := m.FollowStats(t.Context(), Caller{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
}

func TestTouch(t *testing.T) {
	m, _, end := sampled(t)
	defer end()
	b := m.addBox("1", "a", 0, lifecycle.Started)
	b.run.Started = m.now().Add(-time.Hour)
	now := time.Unix(m.now().Unix(), 0)
	m.now = func() time.Time { return now }
	(&Guest{m: m, b: b}).Touch()
	if st, ok := b.stats(); !ok || !st.Active.Equal(now) {
		t.Errorf("%+v, %v", st, ok)
	}
}

// terminals plays PID 1 of a sandbox that has sessions.
func terminals(t *testing.T, m *Manager, id string, sessions ...guest.SessionInfo) *atomic.Int64 {
	t.Helper()
	dir := m.runDir(id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, socketFile))
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			hello, _ := json.Marshal(guest.Hello{Version: guest.ProtocolVersion, Ready: true})
			reply, _ := json.Marshal(guest.Reply{Sessions: sessions})
			_, _ = conn.Write(frame.Append(frame.Append(nil, frame.Hello, hello), frame.Reply, reply))
			_, _, _ = frame.NewReader(conn).Next()
			_ = conn.Close()
		}
	})
	return &asked
}

// TestTerminalsAreActivity: what a terminal with nobody at it prints counts, and
// PID 1 is asked only when there can be something.
func TestTerminalsAreActivity(t *testing.T) {
	m, g, end := sampled(t)
	defer end()
	m.opt.RunDir = t.TempDir()
	begin := time.Now().Truncate(time.Second).UTC()
	now := begin
	m.now = func() time.Time { return now }
	b := m.addBox("000000000001", "a", 0, lifecycle.Started)
	deaf := m.addBox("000000000002", "deaf", 0, lifecycle.Started)
	frozen := m.addBox("000000000003", "frozen", 0, lifecycle.Paused)
	now = begin.Add(time.Minute)
	said := begin.Add(30 * time.Second)
	asked := terminals(t, m, b.id,
		guest.SessionInfo{Name: "main", Activity: said}, guest.SessionInfo{Name: "liar", Activity: now.Add(time.Hour)}, guest.SessionInfo{Name: "none"},
		guest.SessionInfo{Name: "old", Activity: begin.Add(-time.Hour)})
	round := func(cpu time.Duration) map[string]time.Time {
		t.Helper()
		for _, b := range []*box{b, deaf, frozen} {
			g.use(b.id, cpu)
		}
		m.sampler.sample()
		m.wg.Wait()
		active := map[string]time.Time{}
		for _, s := range m.sampler.sample().Sandboxes { // shows what was found out
			active[s.Name] = s.Active
		}
		m.wg.Wait()
		return active
	}
	active := round(3 * time.Millisecond)
	if asked.Load() != 1 || !active["a"].Equal(said) || !active["deaf"].Equal(begin) || !active["frozen"].Equal(begin) {
		t.Fatalf("asked %d times, active %v", asked.Load(), active)
	}
	// Not again so soon, and not where nothing ran since.
	for _, next := range []struct {
		after, cpu time.Duration
		want       int64
	}{{terminalGap / 2, 9 * time.Millisecond, 1}, {terminalGap, 9 * time.Millisecond, 2}, {2 * terminalGap, 10 * time.Millisecond, 2}, {terminalGap, 12 * time.Millisecond, 3}} {
		now = now.Add(next.after)
		if round(next.cpu); asked.Load() != next.want {
			t.Errorf("after %v, %v: asked %d times, want %d", next.after, next.cpu, asked.Load(), next.want)
		}
	}
	if a := m.sampler.asked[deaf.id]; a.next.Sub(now) < terminalGap {
		t.Errorf("one that does not answer is asked again in %v", a.next.Sub(now))
	}
	// What is gone is forgotten.
	delete(m.boxes, b.id)
	round(0)
	if _, ok := m.sampler.asked[b.id]; ok {
		t.Error("a sandbox that is gone is remembered")
	}
}
