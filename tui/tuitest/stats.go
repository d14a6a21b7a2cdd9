package tuitest

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// Load is what a sandbox of the fake daemon uses in its nth sample, from 0:
// cores and bytes.
type Load func(id string, n int) (cpu float64, memory int64)

// Steady uses always the same, a different amount in each sandbox: a screen
// on which nothing happens stays as it is.
func Steady(id string, _ int) (cpu float64, memory int64) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	n := int64(h.Sum32() % 1000)
	return float64(n) / 500, (n + 20) << 20
}

// Wave uses more and less, each sandbox in a rhythm of its own.
func Wave(id string, n int) (cpu float64, memory int64) {
	cpu, memory = Steady(id, 0)
	step := (n + int(memory>>20)) % 20
	return cpu * float64(min(step, 20-step)) / 10, memory + int64(step)<<22
}

// Report is the nth sample: all running sandboxes, by name. Every one has 4 GiB
// and 4 cores.
func (f *Fake) Report(n int) api.StatsReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	load := f.Load
	if load == nil {
		load = Steady
	}
	now := f.Now()
	r := api.StatsReport{Time: now, Sandboxes: []api.Stats{}}
	for _, b := range f.boxes {
		if b.State != lifecycle.Started && b.State != lifecycle.Paused {
			continue
		}
		cpu, memory := load(b.ID, n)
		if b.State == lifecycle.Paused {
			cpu = 0
		}
		r.Sandboxes = append(r.Sandboxes, api.Stats{
			ID: b.ID, Name: b.Name, CPU: cpu, CPULimit: 4, CPUTotal: cpu * float64(n), Memory: memory, MemoryPeak: memory * 5 / 4, MemoryLimit: 4 << 30,
			Pids: 3 + int64(len(b.Name)), PidsLimit: 4096, NetRx: 1 << 30, NetTx: 1 << 20, NetRxRate: cpu * 1e6, NetTxRate: cpu * 1e4,
			Active: now.Add(-time.Duration(len(b.Name)) * time.Minute),
		})
	}
	for i := range r.Sandboxes {
		if f.More != nil {
			f.More(&r.Sandboxes[i])
		}
	}
	slices.SortFunc(r.Sandboxes, func(x, y api.Stats) int { return cmp.Compare(x.Name, y.Name) })
	return r
}

// Stats implements the TUI's backend.
func (f *Fake) Stats(ctx context.Context, each func(api.StatsReport) error) error {
	for n := range f.Past {
		r := f.Report(n)
		r.Time = r.Time.Add(-time.Duration(f.Past-n) * api.StatsInterval)
		if err := each(r); err != nil {
			return err
		}
	}
	t := time.NewTicker(api.StatsInterval)
	defer t.Stop()
	for n := f.Past; ; n++ {
		f.mu.Lock()
		down := f.down
		f.mu.Unlock()
		if down {
			return &api.Error{Code: api.CodeUnavailable, Message: "the daemon does not run", Hint: "cove daemon start"}
		}
		if err := each(f.Report(n)); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
