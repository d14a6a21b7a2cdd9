package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/runtime/sandbox"
)

func next(t testing.TB, e *api.Events) api.Event {
	t.Helper()
	ev, err := e.Next()
	noError(t, err)
	return ev
}

func TestEvents(t *testing.T) {
	h := newHost(t)
	h.info("mine", owner)
	h.info("foreign", other)
	c := h.as(owner)
	e, err := c.Events(t.Context(), nil, true)
	noError(t, err)
	defer func() { _ = e.Close() }()
	ev := next(t, e)
	equal(t, api.EventSnapshot, ev.Type)
	equal(t, api.Cursor{Epoch: memoryEpoch, Seq: 2}, ev.Cursor)
	equal(t, 1, len(ev.Sandboxes))
	equal(t, "mine", ev.Sandboxes[0].Name)

	i := h.infoIn("mine", owner, lifecycle.Stopped)
	i.Reason = lifecycle.Reason{Kind: lifecycle.ReasonUser}
	h.m.put(i)
	ev = next(t, e)
	equal(t, api.EventSandbox, ev.Type)
	equal(t, uint64(3), ev.Seq)
	equal(t, lifecycle.Stopped, ev.Sandbox.State)
	equal(t, lifecycle.ReasonUser, ev.Sandbox.Reason.Kind)

	h.info("foreign", other) // number 4 is not for us
	_, err = c.Delete(t.Context(), "mine", true)
	noError(t, err)
	ev = next(t, e)
	equal(t, api.EventRemoved, ev.Type)
	equal(t, api.Cursor{Epoch: memoryEpoch, Seq: 5}, ev.Cursor)
	equal(t, "mine", ev.Sandbox.Name)

	// What is known now, and the end; for somebody who is up to date, nothing.
	for since, want := range map[uint64]int{0: 3, 3: 1, 5: 0} {
		e, err := c.Events(t.Context(), &api.Cursor{Epoch: memoryEpoch, Seq: since}, false)
		noError(t, err)
		for range want {
			next(t, e)
		}
		_, err = e.Next()
		errorIs(t, err, io.EOF)
		noError(t, e.Close())
	}
	// A cursor of another life, or of the future, gets a snapshot.
	for _, since := range []api.Cursor{{Epoch: "dead", Seq: 1}, {Epoch: memoryEpoch, Seq: 99}} {
		e, err := c.Events(t.Context(), &since, true)
		noError(t, err)
		equal(t, api.EventSnapshot, next(t, e).Type)
		noError(t, e.Close())
	}
	// Who is up to date is told so at once.
	e2, err := c.Events(t.Context(), &api.Cursor{Epoch: memoryEpoch, Seq: 5}, true)
	noError(t, err)
	equal(t, api.EventPing, next(t, e2).Type)
	noError(t, e2.Close())

	a := h.ask(owner, "GET", "/v1/events?follow=0", "")
	equal(t, "application/x-ndjson", a.header.Get("Content-Type"))
}

// Under load, a client that keeps coming and going sees every event of its own
// exactly once and in order, and none of anybody else's.
func TestEventsResumeWithoutLoss(t *testing.T) {
	h := newHost(t)
	const total = 4000
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h.info("first", owner)
	clients := map[int]*api.Client{}
	for _, uid := range []int{root, owner} {
		clients[uid] = h.as(uid)
		_, err := clients[uid].Status(ctx)
		noError(t, err)
	}
	var wg sync.WaitGroup
	seen := map[int][]uint64{}
	var mu sync.Mutex
	follow := func(uid int, random *rand.Rand) error {
		at := api.Cursor{Epoch: memoryEpoch}
		breaks := 0
		for {
			h.connecting.Lock() // who connects is one for all
			h.uid.Store(int64(uid))
			e, err := clients[uid].Events(ctx, &at, true)
			h.connecting.Unlock()
			if err != nil {
				return err
			}
			for n := random.IntN(400); n >= 0; n-- {
				ev, err := e.Next()
				if errors.Is(err, api.ErrUnavailable) {
					break // dropped as too slow
				}
				if err != nil {
					return err
				}
				switch ev.Type {
				case api.EventPing:
					continue
				case api.EventSnapshot:
					return errors.New("a snapshot for a known cursor")
				case api.EventSandbox, api.EventRemoved:
				}
				at = ev.Cursor
				mu.Lock()
				seen[uid] = append(seen[uid], ev.Seq)
				mu.Unlock()
				if ev.Sandbox.Name == "last" {
					_ = e.Close()
					if breaks < 5 {
						return fmt.Errorf("only %d breaks: no test of resuming", breaks)
					}
					return nil
				}
			}
			breaks++
			_ = e.Close()
		}
	}
	for i, uid := range []int{root, owner} {
		wg.Go(func() {
			if err := follow(uid, rand.New(rand.NewPCG(1, uint64(i)))); err != nil {
				t.Errorf("uid %d: %v", uid, err)
			}
		})
	}
	var own []uint64
	for n := range total {
		uid := owner
		if n%3 == 0 {
			uid = other
		}
		h.m.put(sandbox.Info{ID: "1", Name: fmt.Sprintf("s%d", n%7), Owner: uid, State: lifecycle.Started})
	}
	h.info("last", owner)
	wg.Wait()
	for _, e := range h.m.events {
		if e.Info.Owner == owner {
			own = append(own, e.Seq)
		}
	}
	equal(t, own, seen[owner])
	equal(t, total+2, len(seen[root]))
	for n, seq := range seen[root] {
		if seq != uint64(n+1) {
			t.Fatalf("event %d has number %d", n, seq)
		}
	}
}

// A client that does not read is dropped, and holds nobody up.
func TestSlowClientIsDropped(t *testing.T) {
	h := newHost(t)
	h.s.eventTimeout = 100 * time.Millisecond
	h.uid.Store(root)
	conn, err := net.Dial("unix", h.socket)
	noError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	noError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	noError(t, err)
	contains(t, line, "200 OK")
	big := map[string]string{"k": strings.Repeat("v", 64<<10)}
	for n := range 100 {
		i := h.infoIn(fmt.Sprintf("s%d", n), owner, lifecycle.Started)
		i.Spec.Labels = big
		h.m.put(i)
	}
	await(t, "the slow client is still connected", func() bool {
		h.s.peers.mu.Lock()
		defer h.s.peers.mu.Unlock()
		return len(h.s.peers.conns) == 0
	})
	await(t, "its subscription lives", func() bool {
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		return len(h.m.subs) == 0
	})
}

// A quiet daemon pings.
func TestPing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a ping")
	}
	h := newHost(t)
	e, err := h.as(root).Events(t.Context(), nil, true)
	noError(t, err)
	defer func() { _ = e.Close() }()
	equal(t, api.EventSnapshot, next(t, e).Type)
	begin := time.Now()
	equal(t, api.EventPing, next(t, e).Type)
	if d := time.Since(begin); d < api.PingInterval/2 || d > 2*api.PingInterval {
		t.Errorf("a ping after %v", d)
	}
}

func TestEventsOfNobody(t *testing.T) {
	h := newHost(t)
	h.info("foreign", other)
	e, err := h.as(owner).Events(t.Context(), nil, true)
	noError(t, err)
	ev := next(t, e)
	equal(t, api.EventSnapshot, ev.Type)
	equal(t, 0, len(ev.Sandboxes))
	noError(t, e.Close())
	equal(t, http.StatusForbidden, h.ask(outsider, "GET", "/v1/events", "").status)
}
