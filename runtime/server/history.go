package server

import (
	"net/http"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/sandbox"
)

// history answers with what became of a sandbox and what it used.
func (q *request) history() error {
	v, err := query(q.r, "since")
	if err != nil {
		return err
	}
	since := sandbox.HistorySpan
	if text := v["since"]; len(text) > 0 {
		d, err := config.ParseDuration(text[len(text)-1])
		if err != nil || d == config.Never {
			return invalid("query parameter \"since\" takes a duration, such as 90s or 12h, not %q", clip(text[len(text)-1]))
		}
		since = time.Duration(d)
	}
	h, err := q.s.opt.Manager.History(q.caller, q.ref, since)
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, toHistory(h))
}

func toHistory(h sandbox.History) api.History {
	out := api.History{Changes: make([]api.Change, 0, len(h.Changes)), Samples: make([]api.Sample, 0, len(h.Samples))}
	for _, c := range h.Changes {
		change := api.Change{Time: c.Time, State: c.State, Op: c.Op, Held: c.Held}
		if c.Reason.Kind != "" {
			r := c.Reason
			change.Reason = &r
		}
		out.Changes = append(out.Changes, change)
	}
	for _, s := range h.Samples {
		out.Samples = append(out.Samples, api.Sample{
			Time: s.Time, Span: config.Duration(s.Span), CPU: s.CPU, GPU: s.GPU, Memory: s.Memory, Disk: s.Disk, Pids: s.Pids,
		})
	}
	return out
}
