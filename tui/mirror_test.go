package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
	"cove/tui/tuitest"
)

// mirrored runs a mirror of b for the length of a test in a bubble of fake time.
func mirrored(t *testing.T, b Backend) *Mirror {
	t.Helper()
	m := NewMirror(b, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { m.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return m
}

func names(s Snapshot) []string {
	out := []string{}
	for _, b := range s.Sandboxes {
		out = append(out, b.Name)
	}
	return out
}

func TestMirrorFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := tuitest.NewFake(time.Now, api.Sandbox{ID: "1", Name: "b", State: lifecycle.Started})
		m := NewMirror(f, time.Now)
		require.Equal(t, Snapshot{Sandboxes: []api.Sandbox{}, Passing: map[string]time.Time{}}, m.Snapshot())
		m = mirrored(t, f)
		<-m.Changed()
		require.Equal(t, []string{"b"}, names(m.Snapshot()))
		require.Equal(t, Live, m.Snapshot().Link)
		require.True(t, m.Snapshot().Known)
		f.Put(api.Sandbox{ID: "2", Name: "a", State: lifecycle.Creating})
		<-m.Changed()
		require.Equal(t, []string{"a", "b"}, names(m.Snapshot()))
		f.Put(api.Sandbox{ID: "1", Name: "z", State: lifecycle.Stopped})
		<-m.Changed()
		require.Equal(t, []string{"a", "z"}, names(m.Snapshot()), "renamed, and in its new place")
		f.Remove("2")
		<-m.Changed()
		require.Equal(t, []string{"z"}, names(m.Snapshot()))
		f.Put(api.Sandbox{ID: "1", Name: "z", State: lifecycle.Destroyed})
		<-m.Changed()
		require.Empty(t, names(m.Snapshot()))
	})
}

// However many events come while nobody looks, there is one signal, and the
// one who delivers them does not wait.
func TestMirrorCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := tuitest.NewFake(time.Now)
		m := mirrored(t, f)
		<-m.Changed()
		for i := range 3000 {
			f.Put(api.Sandbox{ID: fmt.Sprint(i % 50), Name: fmt.Sprint(i), State: lifecycle.Started})
		}
		synctest.Wait()
		<-m.Changed()
		select {
		case <-m.Changed():
			t.Fatal("a second signal")
		default:
		}
		s := m.Snapshot()
		require.Len(t, s.Sandboxes, 50)
		require.True(t, slices.Contains(names(s), "2999"))
	})
}

func TestMirrorComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := tuitest.NewFake(time.Now, api.Sandbox{ID: "1", Name: "a", State: lifecycle.Started})
		m := mirrored(t, f)
		<-m.Changed()
		f.SetDown(true)
		<-m.Changed()
		s := m.Snapshot()
		require.Equal(t, Down, s.Link)
		require.NotNil(t, s.Err)
		require.Equal(t, []string{"a"}, names(s), "what was known stays")
		time.Sleep(10 * time.Minute)
		tries := m.Snapshot().Tries
		require.AtLeast(t, tries, 100)
		require.AtMost(t, tries, 200) // no more often than every 5 s in the end
		require.ErrorContains(t, m.Snapshot().Err, "the daemon does not run")
		f.Put(api.Sandbox{ID: "2", Name: "b", State: lifecycle.Started})
		f.SetDown(false)
		time.Sleep(6 * time.Second)
		s = m.Snapshot()
		require.Equal(t, Live, s.Link)
		require.Equal(t, 0, s.Tries)
		require.Equal(t, []string{"a", "b"}, names(s))
	})
}

// stub is a daemon that does as told.
type stub struct {
	*tuitest.Fake
	watch func(context.Context, api.Cursor, func(api.Event) error) error
}

func (s stub) Watch(ctx context.Context, since api.Cursor, each func(api.Event) error) error {
	return s.watch(ctx, since, each)
}

func TestMirrorNoticesSilenceAndGoesOnFromItsCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var since []api.Cursor
		m := mirrored(t, stub{watch: func(ctx context.Context, c api.Cursor, each func(api.Event) error) error {
			since = append(since, c)
			if len(since) == 1 {
				_ = each(api.Event{Type: api.EventPing}) // says nothing yet
				_ = each(api.Event{Type: api.EventSnapshot, Cursor: api.Cursor{Epoch: "x", Seq: 7}})
				for range 10 {
					time.Sleep(Silence - time.Second)
					_ = each(api.Event{Type: api.EventPing})
				}
			}
			<-ctx.Done()
			return ctx.Err()
		}})
		<-m.Changed()
		require.True(t, m.Snapshot().Known)
		time.Sleep(10*(Silence-time.Second) + Silence - time.Second)
		require.Equal(t, Live, m.Snapshot().Link, "pings keep it up")
		time.Sleep(2 * time.Second)
		require.Equal(t, Down, m.Snapshot().Link)
		require.True(t, errors.Is(m.Snapshot().Err, ErrSilent), "%v", m.Snapshot().Err)
		synctest.Wait()
		require.Equal(t, []api.Cursor{{}, {Epoch: "x", Seq: 7}}, since)
	})
}

func TestAPingIsNoSnapshot(t *testing.T) {
	m := NewMirror(nil, time.Now)
	m.take(api.Event{Type: api.EventPing})
	require.Equal(t, Connecting, m.Snapshot().Link)
	require.False(t, m.Snapshot().Known)
}
