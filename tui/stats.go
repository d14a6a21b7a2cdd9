package tui

import (
	"context"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
)

// feed follows the daemon's statistics, but only while they are wanted: nobody
// looks at them while a session has the terminal, and while the daemon is gone
// the mirror is the one to find it again.
type feed struct {
	backend Backend
	changed chan struct{}
	wake    chan struct{}

	mu      sync.Mutex
	wanted  bool
	cancel  context.CancelFunc // ends the stream that is open
	reports []api.StatsReport  // that nobody took yet, the oldest first
	err     error
}

// backlog is how many samples are kept for a reader who does not come.
const backlog = 60

func newFeed(b Backend) *feed {
	return &feed{backend: b, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// want says whether statistics are wanted from now on. It does not wait.
func (f *feed) want(wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wanted == wanted {
		return
	}
	f.wanted = wanted
	if !wanted && f.cancel != nil {
		f.cancel()
	}
	raise(f.wake)
}

// raise puts a signal into a channel of capacity one.
func raise(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run follows until ctx ends.
func (f *feed) run(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		stream, ok := f.open(ctx)
		if !ok {
			select {
			case <-f.wake:
			case <-ctx.Done():
			}
			continue
		}
		err := f.backend.Stats(stream, func(r api.StatsReport) error {
			wait = firstRetry
			f.take(r)
			return stream.Err()
		})
		if stream.Err() != nil { // not wanted anymore
			continue
		}
		f.close(err)
		retry := time.NewTimer(wait)
		select {
		case <-retry.C:
		case <-ctx.Done():
		}
		retry.Stop()
		wait = min(wait*2, lastRetry)
	}
}

// open returns the context of a new stream, if one is wanted.
func (f *feed) open(ctx context.Context) (context.Context, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.wanted {
		return nil, false
	}
	stream, cancel := context.WithCancel(ctx)
	f.cancel = cancel
	return stream, true
}

func (f *feed) close(err error) {
	f.mu.Lock()
	f.cancel()
	f.err = err
	f.mu.Unlock()
	raise(f.changed)
}

func (f *feed) take(r api.StatsReport) {
	f.mu.Lock()
	f.err = nil
	if len(f.reports) == backlog {
		f.reports = append(f.reports[:0], f.reports[1:]...)
	}
	f.reports = append(f.reports, r)
	f.mu.Unlock()
	raise(f.changed)
}

// statsMsg brings samples, or says why there are none.
type statsMsg struct {
	reports []api.StatsReport
	err     error
}

// drain returns what came since it was called last.
func (f *feed) drain() statsMsg {
	f.mu.Lock()
	defer f.mu.Unlock()
	msg := statsMsg{reports: f.reports, err: f.err}
	f.reports = nil
	return msg
}

// followStats runs the feed until the program ends.
func (a *App) followStats() tea.Msg {
	a.feed.run(a.ctx)
	return nil
}

// listenStats waits for the feed to have something.
func (a *App) listenStats() tea.Msg {
	select {
	case <-a.feed.changed:
		return a.feed.drain()
	case <-a.ctx.Done():
		return nil
	}
}

// deliver takes samples. They come one a second; those of a backlog are in
// their place in time by how long ago the daemon took them.
func (msg statsMsg) deliver(a *App) tea.Cmd {
	a.statsErr = msg.err
	for i, r := range msg.reports {
		at := a.now
		if last := msg.reports[len(msg.reports)-1]; i < len(msg.reports)-1 {
			at = at.Add(-last.Time.Sub(r.Time))
		}
		a.meters.Add(r, at)
	}
	a.refresh()
	return a.listenStats
}

// fresh tells whether statistics say something about now.
func (a *App) fresh() bool { return a.snap.Link == Live && a.meters.Fresh(a.now) }
