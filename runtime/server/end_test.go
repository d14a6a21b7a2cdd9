package server

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/frame"
)

// ours are the goroutines that run code of the server's or of net/http's.
func ours() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var found []string
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(g, "cove/runtime/server.(*request)") || strings.Contains(g, "net/http.(*conn)") ||
			strings.Contains(g, "cove/runtime/guest.") || strings.Contains(g, "cove/runtime/server.(*Server)") {
			found = append(found, g)
		}
	}
	return strings.Join(found, "\n\n")
}

// The end: whatever goes on, Serve returns soon, and nothing is left.
func TestTheEnd(t *testing.T) {
	h := newHost(t)
	p := playInit(t, h.m.socket(h.info("a", owner)))
	c := h.as(owner)
	ctx := t.Context()

	_, err := c.Status(ctx) // leaves an idle connection
	noError(t, err)
	silent, err := net.Dial("unix", h.socket) // says nothing
	noError(t, err)
	defer func() { _ = silent.Close() }()
	half, err := net.Dial("unix", h.socket) // says half
	noError(t, err)
	defer func() { _ = half.Close() }()
	_, err = io.WriteString(half, "POST /v1/sandboxes/a/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
	noError(t, err)

	events, err := c.Events(ctx, nil, true)
	noError(t, err)
	equal(t, api.EventSnapshot, next(t, events).Type)
	var streams []*api.Stream
	for _, argv := range [][]string{{"wait"}, {"echo"}} {
		s, err := c.Exec(ctx, "a", api.ExecRequest{Argv: argv, Stdin: true})
		noError(t, err)
		streams = append(streams, s)
	}
	s, err := c.Attach(ctx, "a", api.AttachRequest{})
	noError(t, err)
	streams = append(streams, s)

	// One operation is let to its end, another takes too long.
	quick, slow := make(chan struct{}), make(chan struct{})
	defer close(slow)
	h.m.mu.Lock()
	h.m.block = quick
	h.m.mu.Unlock()
	type result struct {
		box api.Sandbox
		err error
	}
	ask := func() chan result {
		got := make(chan result, 1)
		n := h.m.count()
		go func() {
			box, err := c.Stop(ctx, "a", api.StopRequest{})
			got <- result{box, err}
		}()
		await(t, "the operation does not begin", func() bool { return h.m.count() > n })
		return got
	}
	first := ask()
	h.m.mu.Lock()
	h.m.block = slow
	h.m.mu.Unlock()
	second := ask()

	begin := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- h.stop() }()
	// Streams end at once, while operations go on.
	_, err = events.Next()
	errorIs(t, err, api.ErrUnavailable)
	noError(t, events.Close())
	for _, s := range streams {
		_, err := s.Pump(frame.Streams{})
		errorIs(t, err, api.ErrUnavailable)
		errorIs(t, err, frame.ErrNoExit)
		noError(t, s.Close())
	}
	<-p.hungUp
	<-p.hungUp
	_, err = c.Exec(ctx, "a", api.ExecRequest{Argv: []string{"exit", "0"}})
	errorIs(t, err, api.ErrUnavailable)
	close(quick)
	r := <-first
	noError(t, r.err)
	equal(t, "a", r.box.Name)
	r = <-second
	errorIs(t, r.err, api.ErrUnavailable)
	noError(t, <-ended)
	if d := time.Since(begin); d > h.s.opt.Grace+lastTimeout {
		t.Errorf("the end took %v", d)
	}
	c.Close()
	await(t, "goroutines are left:\n"+ours(), func() bool { return ours() == "" })
	equal(t, 0, len(h.s.peers.conns))
	await(t, "a subscription lives", func() bool {
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		return len(h.m.subs) == 0
	})
	_, err = os.Lstat(h.socket)
	errorIs(t, err, os.ErrNotExist)
	_, err = c.Status(ctx)
	errorIs(t, err, api.ErrUnavailable)
	contains(t, err.Error(), "cove daemon start")
}

// With nothing under way the end is quick, also with idle and silent connections.
func TestTheEndIsQuick(t *testing.T) {
	h := newHost(t, func(o *Options) { o.Grace = time.Minute })
	_, err := h.as(root).Status(t.Context())
	noError(t, err)
	silent, err := net.Dial("unix", h.socket)
	noError(t, err)
	defer func() { _ = silent.Close() }()
	await(t, "the silent connection is not accepted", func() bool {
		h.s.peers.mu.Lock()
		defer h.s.peers.mu.Unlock()
		return len(h.s.peers.conns) == 2
	})
	begin := time.Now()
	noError(t, h.stop())
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("the end took %v", d)
	}
}

// A listener that fails ends Serve with its error.
func TestAcceptFails(t *testing.T) {
	l, err := Listen(t.TempDir())
	noError(t, err)
	noError(t, l.UnixListener.Close())
	err = New(Options{Manager: newMemory(t)}).Serve(t.Context(), l)
	errorIs(t, err, net.ErrClosed)
}

// safeBuffer is a buffer for the log.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// The log tells of every request, and no argument, variable, secret or query.
func TestLog(t *testing.T) {
	var log safeBuffer
	h := newHost(t, logTo(&log))
	playInit(t, h.m.socket(h.info("a", owner)))
	h.ask(owner, "POST", "/v1/sandboxes", `{"name":"b","spec":{"env":{"A":{"value":"HUSH"}}},"secrets":{"TOKEN":"HUSH"}}`)
	h.ask(owner, "POST", "/v1/sandboxes/a/start", `{"secrets":{"TOKEN":"HUSH"}}`)
	h.ask(owner, "POST", "/v1/sandboxes/a/start", `{"secrets":{"TOKEN":"HUSH"`)
	h.ask(owner, "GET", "/v1/sandboxes?label=a%3DHUSH", "")
	h.ask(owner, "GET", "/v1/HUSH", "")
	h.ask(owner, "POST", "/v1/sandboxes/a/exec", `{"argv":["exit","0","HUSH"],"env":{"A":"HUSH"}}`, upgrade()...)
	h.ask(outsider, "GET", "/v1/version", "", "Authorization", "HUSH")
	h.m.with(errBoom)
	h.ask(owner, "POST", "/v1/sandboxes/a/stop", ``)
	noError(t, h.stop())
	text := log.String()
	if strings.Contains(text, "HUSH") {
		t.Errorf("a secret is in the log:\n%s", text)
	}
	equal(t, 8, strings.Count(text, "msg=request "), text)
	for _, want := range []string{
		"level=DEBUG msg=request method=POST route=/sandboxes/{ref}/exec sandbox=a status=101", "uid=1003", "status=403",
		"level=ERROR msg=request method=POST route=/sandboxes/{ref}/stop sandbox=a status=500", "uid=1001", "code=internal error=boom",
	} {
		contains(t, text, want)
	}
}

// A fault in a handler is the request's, not the daemon's.
func TestPanic(t *testing.T) {
	var log safeBuffer
	h := newHost(t, logTo(&log))
	h.s.routes = append(h.s.routes, route{method: "GET", path: "/boom", handle: func(*request) error { panic("HIDDEN") }})
	a := h.ask(root, "GET", "/v1/boom", "")
	equal(t, http.StatusInternalServerError, a.status)
	e := decodeError(t, a)
	equal(t, api.CodeInternal, e.Code)
	if strings.Contains(a.body, "HIDDEN") {
		t.Error("the caller was told", a.body)
	}
	contains(t, log.String(), "panic: HIDDEN")
	contains(t, log.String(), "end_test.go")
	equal(t, http.StatusOK, h.ask(root, "GET", "/v1/version", "").status)
}

// A caller that goes away gives its operation's context an end.
func TestCallerGoesAway(t *testing.T) {
	h := newHost(t)
	h.info("a", owner)
	c := h.as(owner)
	never := make(chan struct{})
	defer close(never)
	h.m.mu.Lock()
	h.m.block = never
	h.m.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := c.Stop(ctx, "a", api.StopRequest{})
		got <- err
	}()
	await(t, "the operation does not begin", func() bool { return h.m.count() > 0 })
	cancel()
	errorIs(t, <-got, context.Canceled)
	await(t, "the request is still under way", func() bool { return !strings.Contains(ours(), "(*memory).Stop") })
}
