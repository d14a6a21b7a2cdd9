package sandbox

import (
	"fmt"
	"slices"
	"time"
)

// HistorySpan is how long is kept what became of a sandbox and what it used.
const HistorySpan = 24 * time.Hour

// History is what became of a sandbox and what it used, each from the oldest on.
type History struct {
	Changes []Change
	Samples []Sample
}

// History tells what became of a sandbox during the last since, at most
// [HistorySpan]: its changes, the first of which is the one that was in force
// when that time began, and what it used, in spans of ten seconds and up to a
// minute for the last hour or more, and of a minute and more before. Where
// nothing ran there are no samples. It fails with [ErrNotFound].
func (m *Manager) History(c Caller, ref string, since time.Duration) (History, error) {
	b, err := m.find(c, ref)
	if err != nil {
		return History{}, err
	}
	now := m.now()
	from := now.Add(-min(max(since, 0), HistorySpan))
	var h History
	if h.Changes, err = m.changes.of(b.id); err != nil {
		return History{}, fmt.Errorf("read what became of the sandbox: %w", err)
	}
	h.Changes = after(h.Changes, from)
	minutes, fine, err := m.recorder.samples(b.id)
	if err != nil {
		return History{}, fmt.Errorf("read what the sandbox used: %w", err)
	}
	h.Samples = merge(minutes, fine, from, now)
	return h, nil
}

// after is the changes since from, and the one before: what it was then.
func after(all []Change, from time.Time) []Change {
	first := slices.IndexFunc(all, func(c Change) bool { return !c.Time.Before(from) })
	if first < 0 {
		first = len(all)
	}
	return slices.Clone(all[max(first-1, 0):])
}

// merge takes the finer samples where there are some, and minutes before them. What
// a clock that was set back has dated into the future comes up again when its
// time has come.
func merge(minutes, fine []Sample, from, now time.Time) []Sample {
	within := func(s Sample) bool { return s.Time.After(from) && !s.Time.After(now.Add(sampleSpan)) }
	fine = slices.DeleteFunc(fine, func(s Sample) bool { return !within(s) })
	byTime := func(a, b Sample) int { return a.Time.Compare(b.Time) }
	slices.SortStableFunc(fine, byTime)
	minutes = slices.DeleteFunc(minutes, func(s Sample) bool {
		// Times are kept in whole seconds.
		return !within(s) || len(fine) > 0 && s.Time.After(fine[0].Time.Add(-fine[0].Span+2*time.Second))
	})
	slices.SortStableFunc(minutes, byTime)
	return append(minutes, fine...)
}
