package tuitest

import (
	"context"
	"math"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// pastSpan is the span of the fake daemon's samples of the past.
const pastSpan = 30 * time.Second

// History implements the TUI's backend: a sandbox that runs was started two
// hours ago, stopped in between, and uses what [Steady] says in long waves.
func (f *Fake) History(_ context.Context, id string, span time.Duration) (api.History, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.boxes[id]
	if !ok {
		return api.History{}, &api.Error{Code: api.CodeNotFound, Message: "there is no sandbox " + id}
	}
	h := api.History{Changes: []api.Change{}, Samples: []api.Sample{}}
	now := f.Now()
	from := now.Add(-min(span, 2*time.Hour))
	for i, c := range []api.Change{
		{State: lifecycle.Starting, Op: lifecycle.OpStart}, {State: lifecycle.Started, Op: lifecycle.OpStart},
		{State: lifecycle.Stopped, Op: lifecycle.OpStop, Reason: &lifecycle.Reason{Kind: lifecycle.ReasonIdle}}, {State: b.State, Reason: b.Reason},
	} {
		if c.Time = now.Add(time.Duration(i-4) * 7 * time.Minute); !c.Time.Before(from) {
			h.Changes = append(h.Changes, c)
		}
	}
	cpu, memory := Steady(id, 0)
	for t := from.Add(pastSpan); !t.After(now) && b.State.Running(); t = t.Add(pastSpan) {
		if ago := now.Sub(t); ago > 7*time.Minute && ago < 14*time.Minute {
			continue // it did not run
		}
		wave := 1 + math.Sin(now.Sub(t).Minutes()/5)
		s := api.Sample{Time: t, Span: config.Duration(pastSpan), CPU: cpu * wave, Memory: int64(float64(memory) * wave), Disk: memory / 4, Pids: int64(3 + 2*wave)}
		if len(b.GPUs) > 0 {
			s.GPU = wave / 2
		}
		h.Samples = append(h.Samples, s)
	}
	return h, nil
}
