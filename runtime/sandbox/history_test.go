package sandbox

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cove/runtime/cgroup"
	"cove/runtime/gpu"
	"cove/runtime/lifecycle"
)

// recorded is sampled with directories for what the recorder writes.
func recorded(t *testing.T) (*Manager, *gauges, func()) {
	t.Helper()
	m, g, end := sampled(t)
	m.opt.StateDir = t.TempDir()
	for _, id := range []string{"1", "2"} {
		if err := os.MkdirAll(m.stateDir(id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return m, g, func() {
		end()
		m.changes.flush()
		m.recorder.flush()
	}
}

func historyOf(t *testing.T, m *Manager, ref string, since time.Duration) History {
	t.Helper()
	h, err := m.History(Caller{}, ref, since)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestRecorder lets two days pass for one sandbox that works and one that does
// nothing: nobody asks for statistics.
func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, g, end := recorded(t)
		defer end()
		m.addBox("1", "busy", 1001, lifecycle.Started)
		m.addBox("2", "idle", 1001, lifecycle.Started)
		g.use("1", 0)
		g.use("2", 0)
		m.wg.Go(m.recorder.run)
		work := func(d time.Duration) {
			for begin := time.Now(); time.Since(begin) < d; {
				time.Sleep(5 * time.Second)
				g.mu.Lock()
				u := g.used["1"]
				u.CPU, u.Pids = u.CPU+10*time.Second, 7
				u.Memory = 100<<20 + int64(time.Since(begin)/time.Minute)<<12
				g.used["1"] = u
				g.mu.Unlock()
			}
		}
		time.Sleep(time.Second) // beside the ticks
		work(10 * time.Minute)
		synctest.Wait()
		busy, idle := historyOf(t, m, "1", 0).Samples, historyOf(t, m, "2", time.Hour).Samples
		if len(busy) != 0 {
			t.Errorf("%d samples of no time", len(busy))
		}
		busy = historyOf(t, m, "1", time.Hour).Samples
		if len(busy) < 55 || len(busy) > 60 {
			t.Errorf("%d samples of ten minutes of work", len(busy))
		}
		for _, s := range busy {
			if s.Span != sampleSpan || math.Abs(s.CPU-2) > 1e-3 || s.Memory < 100<<20 || s.Pids != 7 {
				t.Fatalf("a sample of two cores: %+v", s)
			}
		}
		if len(idle) < 9 || len(idle) > 14 || idle[len(idle)-1].Span != idleSpan || idle[len(idle)-1].Memory != 1<<20 || idle[len(idle)-1].CPU != 0 {
			t.Errorf("%d samples of ten minutes of nothing, the last %+v", len(idle), idle[len(idle)-1])
		}
		if n := g.held(); n != 0 {
			t.Errorf("%d groups have open files", n)
		}

		work(48 * time.Hour)
		synctest.Wait()
		all := historyOf(t, m, "1", 100*time.Hour)
		begin := time.Now().Add(-HistorySpan)
		if n := len(all.Samples); n < 360+22*60 || n > 360+24*60 || all.Samples[0].Time.Sub(begin) > 2*time.Minute {
			t.Errorf("%d samples, the first at %v of %v", n, all.Samples[0].Time, begin)
		}
		contiguous(t, all.Samples)
		contiguous(t, historyOf(t, m, "2", HistorySpan).Samples)
		for name, most := range map[string]int64{samplesFile: 11520, minutesFile: 46080} {
			st, err := os.Stat(filepath.Join(m.stateDir("1"), name))
			if err != nil || st.Size() != most {
				t.Errorf("%s: %v, %v, want %d bytes", name, st, err, most)
			}
		}

		// The next daemon has it all, and goes on.
		end()
		before := all.Samples
		m2, g2, end2 := sampled(t)
		defer end2()
		m2.opt.StateDir = m.opt.StateDir
		m2.addBox("1", "busy", 1001, lifecycle.Started)
		g2.used["1"] = cgroup.Usage{CPU: time.Second}
		got := historyOf(t, m2, "1", HistorySpan).Samples
		if len(got) != len(before) || got[len(got)-1].Time.Sub(before[len(before)-1].Time).Abs() > time.Second {
			t.Errorf("%d samples before, %d after", len(before), len(got))
		}
		m2.wg.Go(m2.recorder.run)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		contiguous(t, historyOf(t, m2, "1", HistorySpan).Samples)
	})
}

// contiguous fails the test where spans overlap, or are apart by more than a
// daemon's restart makes them.
func contiguous(t *testing.T, list []Sample) {
	t.Helper()
	for i := 1; i < len(list); i++ {
		gap := list[i].Time.Add(-list[i].Span).Sub(list[i-1].Time)
		if gap < -2*time.Second || gap > 2*idleSpan {
			t.Fatalf("sample %d of %d: %v between %+v and %+v", i, len(list), gap, list[i-1], list[i])
		}
	}
}

// CPUTime makes gauges tell it alone.
func (g *gauges) CPUTime(id string) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used[id].CPU, g.err[id]
}

// TestRecorderStill: who does nothing is not measured each time.
func TestRecorderStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, g, end := recorded(t)
		defer end()
		m.opt.CPUTimer = g
		m.addBox("1", "idle", 1001, lifecycle.Started)
		g.used["1"] = cgroup.Usage{CPU: time.Second, Memory: 5 << 20, Pids: 3}
		m.wg.Go(m.recorder.run)
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if n := g.taken(); n < 6 || n > 8 {
			t.Errorf("measured %d times in an hour of nothing", n)
		}
		list := historyOf(t, m, "1", time.Hour).Samples
		if len(list) < 59 || len(list) > 65 {
			t.Errorf("%d samples", len(list))
		}
		contiguous(t, list)
		for _, s := range list {
			if s.Memory != 5<<20 || s.Pids != 3 || s.CPU != 0 {
				t.Fatalf("%+v", s)
			}
		}
		// What it does next is seen.
		g.mu.Lock()
		g.used["1"] = cgroup.Usage{CPU: 31 * time.Second, Memory: 50 << 20, Pids: 4}
		g.mu.Unlock()
		time.Sleep(idleSpan + sampleSpan)
		synctest.Wait()
		list = historyOf(t, m, "1", time.Hour).Samples
		if !slices.ContainsFunc(list, func(s Sample) bool { return s.Memory == 50<<20 && s.CPU > 0.4 && s.Pids == 4 }) {
			t.Errorf("the last of %d: %+v", len(list), list[len(list)-1])
		}
	})
}

// TestRecorderFollowed: who follows makes the samples, and they are not taken
// twice.
func TestRecorderFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, g, end := recorded(t)
		defer end()
		m.addBox("1", "busy", 1001, lifecycle.Started)
		g.use("1", time.Second)
		m.wg.Go(m.recorder.run)
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := m.FollowStats(ctx, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		for range 62 {
			<-stream
		}
		cancel()
		synctest.Wait()
		if n := g.taken(); n > 64 {
			t.Errorf("%d readings for 62 samples of followers", n)
		}
		if got := historyOf(t, m, "1", time.Hour).Samples; len(got) < 5 || got[0].Span < sampleSpan-sampleSlack || got[0].Span > sampleSpan+time.Second {
			t.Errorf("%+v", got)
		}
	})
}

// TestSampleClock: a clock that is set back, or forth, loses nothing and makes
// nothing up.
func TestSampleClock(t *testing.T) {
	m, _, end := recorded(t)
	defer end()
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	m.now = func() time.Time { return now }
	m.addBox("1", "a", 0, lifecycle.Started)
	var cpu time.Duration
	pass := func(n int) {
		for range n {
			now, cpu = now.Add(sampleSpan), cpu+sampleSpan
			m.recorder.take(StatsReport{Time: now, Sandboxes: []Stats{{ID: "1", Usage: cgroup.Usage{CPU: cpu}}}})
		}
		m.recorder.flush()
	}
	sane := func(what string, least, most int) {
		t.Helper()
		got := historyOf(t, m, "1", HistorySpan).Samples
		if len(got) < least || len(got) > most {
			t.Errorf("%s: %d samples", what, len(got))
		}
		for i, s := range got {
			if s.CPU < 0.99 || s.CPU > 1.01 || s.Time.After(now.Add(sampleSpan)) || i > 0 && s.Time.Before(got[i-1].Time) {
				t.Fatalf("%s: sample %d: %+v", what, i, s)
			}
		}
	}
	pass(31)
	sane("at first", 30, 30)
	now = now.Add(-3 * time.Hour)
	pass(31)
	sane("set back", 30, 30)
	now = now.Add(3 * time.Hour) // what was said of the time before is there again
	pass(7)
	sane("set forth", 60, 80)
	now = now.Add(2 * HistorySpan)
	pass(31)
	sane("days later", 30, 30)
}

// TestSampleEncoding keeps what a sample says, to the units that are kept.
func TestSampleEncoding(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, want := range []Sample{
		{Time: at, Span: 10 * time.Second, CPU: 1.25, GPU: 0.123, Memory: 5 << 20, Disk: 3 << 40, Pids: 1000},
		{Time: at, Span: time.Minute, CPU: 512, GPU: 1},
	} {
		if got := decodeSample(want.encode()); got != want {
			t.Errorf("%+v became %+v", want, got)
		}
	}
	huge := Sample{Time: at, Span: 1000 * time.Hour, CPU: 1, GPU: 7, Memory: math.MaxInt64 - samplePage, Disk: -1, Pids: math.MaxInt64}
	got := decodeSample(huge.encode())
	if got.GPU != 1 || got.Memory != math.MaxUint32*samplePage || got.Disk != 0 || got.Pids != math.MaxUint32 || got.Span != math.MaxUint16*time.Second {
		t.Errorf("what is too large became %+v", got)
	}
}

// told is what a history says of changes, in words.
func told(list []Change) string {
	var words []string
	for _, c := range list {
		w := string(c.State)
		if c.Reason.Kind != "" {
			w += "(" + c.Reason.String() + ")"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func TestChanges(t *testing.T) {
	c := newCove(t)
	_, err := c.m.Create(t.Context(), everybody, CreateRequest{ID: "0123456789ab", Name: "a", Spec: testSpec()})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		c.rest()
		if got := told(historyOf(t, c.m, "a", HistorySpan).Changes); got != want {
			t.Errorf("changes:\n%s, want\n%s", got, want)
		}
	}
	expect("creating started")
	if _, err := c.m.SetLabels(t.Context(), everybody, "a", map[string]string{"k": "v"}, nil); err != nil {
		t.Fatal(err)
	}
	expect("creating started")
	if _, err := c.m.Pause(t.Context(), everybody, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.m.Resume(t.Context(), everybody, "a"); err != nil {
		t.Fatal(err)
	}
	all := "creating started pausing paused resuming started"
	expect(all)
	// Killed: what waited to be written is so by the time the test can see it.
	c.m.changes.flush()
	c.abandon()
	c.open()
	expect(all)
	if _, err := c.m.Stop(t.Context(), everybody, "a", true); err != nil {
		t.Fatal(err)
	}
	all += " stopping stopped(user)"
	expect(all)
	if err := c.m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.open()
	expect(all)
	if got := historyOf(t, c.m, "a", 0).Changes; told(got) != "stopped(user)" {
		t.Errorf("what it is now: %s", told(got))
	}
	list := historyOf(t, c.m, "a", HistorySpan).Changes
	if op := list[len(list)-1].Op; op != lifecycle.OpStop {
		t.Errorf("it stopped by %q", op)
	}
	if _, err := c.m.Delete(t.Context(), everybody, "a", true); err != nil {
		t.Fatal(err)
	}
	c.m.changes.flush()
	c.m.recorder.flush()
	if n := len(c.m.changes.wait) + len(c.m.changes.last) + len(c.m.recorder.of); n != 0 {
		t.Errorf("%d things are kept of a deleted sandbox", n)
	}
	if _, err := os.Stat(c.m.stateDir("0123456789ab")); !os.IsNotExist(err) {
		t.Errorf("its directory is there again: %v", err)
	}
	if _, err := c.m.History(everybody, "a", 0); err == nil {
		t.Error("a deleted sandbox has a history")
	}
}

// TestChangesBounded: a sandbox that changes without end has the newest kept.
func TestChangesBounded(t *testing.T) {
	m, _, end := recorded(t)
	defer end()
	m.addBox("1", "a", 0, lifecycle.Started)
	for i := range 3000 {
		m.changes.note(Info{ID: "1", State: lifecycle.Error, Reason: lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: fmt.Sprint(i, strings.Repeat("x", 1000))}})
		if i%10 == 0 {
			m.changes.flush()
		}
	}
	list := historyOf(t, m, "1", HistorySpan).Changes
	if len(list) < 100 || !strings.HasPrefix(list[len(list)-1].Reason.Detail, "2999x") {
		t.Errorf("%d changes are left", len(list))
	}
	for i, c := range list {
		if want := fmt.Sprint(3000-len(list)+i, "x"); !strings.HasPrefix(c.Reason.Detail, want) {
			t.Fatalf("change %d is %.8s, want %s", i, c.Reason.Detail, want)
		}
	}
	if st, err := os.Stat(m.changes.path("1")); err != nil || st.Size() > changesBytes {
		t.Errorf("%v, %v", st, err)
	}
	// Where they cannot be written the newest wait.
	if err := os.RemoveAll(m.stateDir("2")); err != nil {
		t.Fatal(err)
	}
	m.addBox("2", "b", 0, lifecycle.Started)
	for i := range 1000 {
		m.changes.note(Info{ID: "2", State: lifecycle.Error, Reason: lifecycle.Reason{Code: i}})
	}
	m.changes.flush()
	if n := len(historyOf(t, m, "2", HistorySpan).Changes); n != changesWaiting {
		t.Errorf("%d wait", n)
	}
}

// TestSampleOfAll: of what a sandbox has several of, or has now and then.
func TestSampleOfAll(t *testing.T) {
	m, _, end := recorded(t)
	defer end()
	m.addBox("1", "a", 0, lifecycle.Started)
	now := time.Now()
	busy := func(part float64) GPUUse { return GPUUse{Use: gpu.Use{Utilization: part}} }
	for i, st := range []Stats{
		{}, {Disk: 5 << 20, GPUs: []GPUUse{busy(0.5), busy(1)}}, {Disk: 3 << 20, GPUs: []GPUUse{busy(0), {Use: gpu.Use{Missing: []string{gpu.Utilization}}}}},
	} {
		st.ID = "1"
		m.recorder.take(StatsReport{Time: now.Add(time.Duration(i) * 5 * time.Second), Sandboxes: []Stats{st}})
	}
	m.now = func() time.Time { return now.Add(time.Minute) }
	got := historyOf(t, m, "1", time.Hour).Samples
	if len(got) != 1 || got[0].Disk != 5<<20 || got[0].GPU != 0.5 || got[0].Span != 10*time.Second {
		t.Errorf("%+v", got)
	}
}

func TestHistoryMerge(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	list := func(span int, ends ...int) []Sample {
		var l []Sample
		for _, e := range ends {
			l = append(l, Sample{Time: at(e), Span: time.Duration(span) * time.Second})
		}
		return l
	}
	got := merge(list(60, 60, 120, 180, 240, 9999), list(10, 130, 140, 9000, 150), at(60), at(300))
	if want := append(list(60, 120), list(10, 130, 140, 150)...); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := merge(list(60, 60, 120), nil, at(0), at(300)); len(got) != 2 {
		t.Errorf("%v", got)
	}
}
