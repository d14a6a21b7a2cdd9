package tui

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cove/runtime/api"
	"cove/tui/internal/require"
	"cove/tui/tuitest"
)

// metered is a daemon whose statistics do as told.
type metered struct {
	*tuitest.Fake
	stats func(ctx context.Context, each func(api.StatsReport) error) error
}

func (m metered) Stats(ctx context.Context, each func(api.StatsReport) error) error {
	return m.stats(ctx, each)
}

// fed runs a feed of b for the length of a test in a bubble of fake time.
func fed(t *testing.T, b Backend) *feed {
	t.Helper()
	f := newFeed(b)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return f
}

func TestFeedIsOpenOnlyWhileItIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open, opened atomic.Int32
		f := fed(t, metered{stats: func(ctx context.Context, each func(api.StatsReport) error) error {
			open.Add(1)
			opened.Add(1)
			defer open.Add(-1)
			_ = each(api.StatsReport{Time: time.Now()})
			<-ctx.Done()
			return ctx.Err()
		}})
		time.Sleep(time.Hour)
		require.Equal(t, 0, opened.Load(), "nobody wants it")
		f.want(true)
		<-f.changed
		require.Len(t, f.drain().reports, 1)
		require.Equal(t, 1, open.Load())
		f.want(true) // again is not twice
		f.want(false)
		synctest.Wait()
		require.Equal(t, 0, open.Load())
		time.Sleep(time.Hour)
		require.Equal(t, 1, opened.Load())
		for range 50 { // however quickly it changes, it ends as it was wanted last
			f.want(true)
			f.want(false)
		}
		f.want(true)
		synctest.Wait()
		require.Equal(t, 1, open.Load())
		require.Nil(t, f.drain().err, "that it was not wanted is no error")
	})
}

func TestFeedComesBackAndSaysWhyItIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		var tries atomic.Int32
		f := fed(t, metered{stats: func(ctx context.Context, each func(api.StatsReport) error) error {
			tries.Add(1)
			if !mended.Load() {
				return errors.New("no cgroup")
			}
			_ = each(api.StatsReport{})
			<-ctx.Done()
			return ctx.Err()
		}})
		f.want(true)
		<-f.changed
		require.ErrorContains(t, f.drain().err, "no cgroup")
		time.Sleep(10 * time.Minute)
		require.AtMost(t, tries.Load(), 200)
		require.AtLeast(t, tries.Load(), 100)
		mended.Store(true)
		time.Sleep(lastRetry)
		msg := f.drain()
		require.Nil(t, msg.err)
		require.Len(t, msg.reports, 1)
	})
}

// Whoever does not come for the samples gets the last minute of them.
func TestFeedKeepsAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := tuitest.NewFake(time.Now, fleet(time.Now())...)
		f := fed(t, fake)
		f.want(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		got := f.drain().reports
		require.Len(t, got, backlog)
		require.Equal(t, time.Now(), got[backlog-1].Time)
		for i := range backlog - 1 {
			require.Equal(t, api.StatsInterval, got[i+1].Time.Sub(got[i].Time))
		}
		require.Empty(t, f.drain().reports)
	})
}

// Samples that waited are in their place in time, with no gaps between them.
func TestSamplesThatWaited(t *testing.T) {
	m := newModel(t, 80, 24, fleet(noon())...)
	var reports []api.StatsReport
	for i := range 10 {
		r := m.fake.Report(i)
		r.Time = m.now.Add(time.Duration(i-9) * time.Second)
		reports = append(reports, r)
	}
	m.send(statsMsg{reports: reports})
	values := m.app.meters.Of("a1").CPUs(nil, 99)
	require.Len(t, values, 10)
	for _, v := range values {
		require.AtLeast(t, v, 0.0) // false for a gap
	}
	require.Equal(t, m.now, m.app.meters.Seen())
}

func TestGoneSinceAndNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := tuitest.NewFake(time.Now)
		m := mirrored(t, f)
		<-m.Changed()
		begin := time.Now()
		f.SetDown(true)
		<-m.Changed()
		require.Equal(t, begin, m.Snapshot().Since)
		require.Equal(t, begin.Add(firstRetry), m.Snapshot().Next)
		time.Sleep(time.Hour)
		s := m.Snapshot()
		require.Equal(t, begin, s.Since, "since it went, not since the last try")
		require.True(t, s.Next.After(time.Now().Add(-time.Millisecond)) && !s.Next.After(time.Now().Add(lastRetry)))
		f.SetDown(false)
		time.Sleep(lastRetry)
		f.SetDown(true)
		synctest.Wait()
		require.Equal(t, time.Now(), m.Snapshot().Since, "a new outage")
	})
}
