package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// listen makes a unix socket that lives as long as the test.
func listen(t testing.TB) (net.Listener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	noError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

// serveHTTP answers with h on a unix socket.
func serveHTTP(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	l, path := listen(t)
	hs := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = hs.Serve(l) }()
	t.Cleanup(func() { _ = hs.Close(); <-done })
	return path
}

// serveRaw gives every connection to h and closes it after.
func serveRaw(t testing.TB, h func(net.Conn)) string {
	t.Helper()
	l, path := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer func() { _ = c.Close() }(); h(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return path
}

// readHead reads a request's head, and its body of the length it tells.
func readHead(c net.Conn) string {
	var all []byte
	b := make([]byte, 1)
	for !strings.HasSuffix(string(all), "\r\n\r\n") {
		if _, err := c.Read(b); err != nil {
			return string(all)
		}
		all = append(all, b...)
	}
	return string(all)
}

func newClient(t testing.TB, path string) *Client {
	c := New(path)
	t.Cleanup(c.Close)
	return c
}

// Every method asks for what the wire types say.
func TestRequests(t *testing.T) {
	type seen struct{ method, uri, body, kind string }
	got := make(chan seen, 1)
	answer := "{}"
	c := newClient(t, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, string(b), r.Header.Get("Content-Type")}
		_, _ = io.WriteString(w, answer)
	}))
	ctx := t.Context()
	spec, err := json.Marshal(config.Spec{Image: "host"})
	noError(t, err)
	const js = "application/json"
	for name, tt := range map[string]struct {
		do     func() error
		answer string
		want   seen
	}{
		"status": {do: func() error { _, err := c.Status(ctx); return err }, want: seen{"GET", "/v1/version", "", ""}},
		"list":   {do: func() error { _, err := c.List(ctx, ListOptions{}); return err }, answer: "[]", want: seen{"GET", "/v1/sandboxes", "", ""}},
		"list some": {
			do: func() error {
				_, err := c.List(ctx, ListOptions{Labels: map[string]string{"b": "x=y", "a": "&"}, States: []lifecycle.State{"started", "error"}})
				return err
			},
			answer: "[]", want: seen{"GET", "/v1/sandboxes?label=a%3D%26&label=b%3Dx%3Dy&state=started&state=error", "", ""},
		},
		"get":     {do: func() error { _, err := c.Get(ctx, "a"); return err }, want: seen{"GET", "/v1/sandboxes/a", "", ""}},
		"get odd": {do: func() error { _, err := c.Get(ctx, "../a/b?c"); return err }, want: seen{"GET", "/v1/sandboxes/..%2Fa%2Fb%3Fc", "", ""}},
		"create": {
			do: func() error {
				_, err := c.Create(ctx, CreateRequest{Name: "a", Spec: config.Spec{Image: "host"}, Secrets: map[string]string{"K": "V"}})
				return err
			},
			want: seen{"POST", "/v1/sandboxes", `{"name":"a","spec":` + string(spec) + `,"secrets":{"K":"V"}}`, js},
		},
		"start": {do: func() error {
			_, err := c.Start(ctx, "a", StartRequest{Secrets: map[string]string{"K": "V"}})
			return err
		}, want: seen{"POST", "/v1/sandboxes/a/start", `{"secrets":{"K":"V"}}`, js}},
		"stop": {do: func() error { _, err := c.Stop(ctx, "a", StopRequest{Force: true}); return err }, want: seen{"POST", "/v1/sandboxes/a/stop", `{"force":true}`, js}},
		"restart": {do: func() error {
			_, err := c.Restart(ctx, "a", StartRequest{StopRequest: StopRequest{Force: true}})
			return err
		}, want: seen{"POST", "/v1/sandboxes/a/restart", `{"force":true}`, js}},
		"delete":     {do: func() error { _, err := c.Delete(ctx, "a", false); return err }, want: seen{"DELETE", "/v1/sandboxes/a", "", ""}},
		"delete now": {do: func() error { _, err := c.Delete(ctx, "a", true); return err }, want: seen{"DELETE", "/v1/sandboxes/a?now=1", "", ""}},
		"sessions":   {do: func() error { _, err := c.Sessions(ctx, "a"); return err }, answer: "[]", want: seen{"GET", "/v1/sandboxes/a/sessions", "", ""}},
		"leaks":      {do: func() error { _, err := c.Leaks(ctx); return err }, answer: "[]", want: seen{"GET", "/v1/leaks", "", ""}},
		"events": {do: func() error {
			e, err := c.Events(ctx, &Cursor{Epoch: "e", Seq: 7}, false)
			if err == nil {
				err = e.Close()
			}
			return err
		}, want: seen{"GET", "/v1/events?follow=0&since=e%3A7", "", ""}},
		"exec": {do: func() error {
			_, err := c.Exec(ctx, "a", ExecRequest{Argv: []string{"true"}})
			if errors.Is(err, ErrInternal) { // it answers 200, not 101
				err = nil
			}
			return err
		}, want: seen{"POST", "/v1/sandboxes/a/exec", `{"argv":["true"]}`, js}},
		"attach": {do: func() error {
			_, err := c.Attach(ctx, "a", AttachRequest{Cols: 1, Rows: 2})
			if errors.Is(err, ErrInternal) {
				err = nil
			}
			return err
		}, want: seen{"POST", "/v1/sandboxes/a/attach", `{"cols":1,"rows":2}`, js}},
	} {
		t.Run(name, func(t *testing.T) {
			answer = "{}"
			if tt.answer != "" {
				answer = tt.answer
			}
			noError(t, tt.do())
			equal(t, tt.want, <-got)
		})
	}
	_, err = c.Get(ctx, "")
	errorIs(t, err, ErrInvalid)
}

func TestAConnectionIsUsedAgain(t *testing.T) {
	var mu sync.Mutex
	remotes := map[net.Conn]bool{}
	l, path := listen(t)
	hs := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]\n") }),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			mu.Lock()
			defer mu.Unlock()
			remotes[c] = true
			return ctx
		},
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = hs.Serve(l) }()
	t.Cleanup(func() { _ = hs.Close(); <-done })
	c := newClient(t, path)
	for range 20 {
		_, err := c.List(t.Context(), ListOptions{})
		noError(t, err)
	}
	mu.Lock()
	defer mu.Unlock()
	equal(t, 1, len(remotes))
}

func TestErrorsOfTheDaemon(t *testing.T) {
	want := Error{
		Code: CodeConflict, Message: "a: busy", Hint: "wait", Op: lifecycle.OpResize, State: lifecycle.Resizing,
		Problems: []config.Problem{{Key: "k", Message: "m"}},
	}
	c := newClient(t, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "version") {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html>")
			return
		}
		w.WriteHeader(want.Status())
		_ = json.NewEncoder(w).Encode(want)
	}))
	check := func(err error) {
		t.Helper()
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("%v is no *Error", err)
		}
		equal(t, want, *e)
		errorIs(t, err, ErrConflict)
		notErrorIs(t, err, ErrNotFound)
	}
	_, err := c.Stop(t.Context(), "a", StopRequest{})
	check(err)
	_, err = c.Exec(t.Context(), "a", ExecRequest{})
	check(err)
	_, err = c.Events(t.Context(), nil, true)
	check(err)
	_, err = c.Status(t.Context())
	errorIs(t, err, ErrInternal)
	contains(t, err.Error(), "502")
}

// each calls all three ways of talking to the daemon.
func each(ctx context.Context, c *Client) map[string]error {
	_, plain := c.Status(ctx)
	s, exec := c.Exec(ctx, "a", ExecRequest{Argv: []string{"true"}})
	if s != nil {
		_ = s.Close()
	}
	e, events := c.Events(ctx, nil, true)
	if e != nil {
		_ = e.Close()
	}
	return map[string]error{"plain": plain, "exec": exec, "events": events}
}

func TestNoDaemon(t *testing.T) {
	l, refused := listen(t)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	noError(t, l.Close())
	for name, tt := range map[string]struct {
		path  string
		cause error
	}{
		"missing": {filepath.Join(t.TempDir(), "s"), os.ErrNotExist},
		"refused": {refused, syscall.ECONNREFUSED},
		"long":    {filepath.Join(t.TempDir(), strings.Repeat("d", 200), "s"), os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			for way, err := range each(t.Context(), newClient(t, tt.path)) {
				e, ok := errors.AsType[*Error](err)
				if !ok {
					t.Fatalf("%s: %v is no *Error", way, err)
				}
				equal(t, CodeUnavailable, e.Code, way)
				contains(t, e.Hint, "cove daemon start", way)
				contains(t, e.Message, tt.path, way)
				errorIs(t, err, tt.cause, way)
			}
		})
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	noError(t, os.Mkdir(dir, 0o700))
	d, err := os.Open(dir)
	noError(t, err)
	defer func() { _ = d.Close() }()
	l, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/s", d.Fd()))
	noError(t, err)
	hs := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"pid":7}`)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = hs.Serve(l) }()
	defer func() { _ = hs.Close(); <-done }()
	st, err := newClient(t, filepath.Join(dir, "s")).Status(t.Context())
	noError(t, err)
	equal(t, 7, st.Pid)
}

// A daemon that goes away in the middle is unavailable, and is asked once.
func TestLostInTheMiddle(t *testing.T) {
	for name, partial := range map[string]string{
		"at once": "", "in the head": "HTTP/1.1 200 OK\r\nCont", "in the body": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"pid\":",
		"in an error": "HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\n{\"code\":",
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			asked := 0
			c := newClient(t, serveRaw(t, func(conn net.Conn) {
				mu.Lock()
				asked++
				mu.Unlock()
				readHead(conn)
				_, _ = io.WriteString(conn, partial)
			}))
			_, err := c.Status(t.Context())
			errorIs(t, err, ErrUnavailable)
			if err == nil || strings.Contains(err.Error(), "EOF") {
				t.Errorf("it is told in the words of streams: %v", err)
			}
			mu.Lock()
			equal(t, 1, asked, "it was tried again")
			mu.Unlock()
			_, err = c.Stop(t.Context(), "a", StopRequest{})
			errorIs(t, err, ErrUnavailable)
			if partial == "" || strings.Contains(partial, "Cont") && !strings.Contains(partial, "\r\n\r\n") || strings.Contains(partial, "500") {
				_, err = c.Exec(t.Context(), "a", ExecRequest{Argv: []string{"true"}})
				errorIs(t, err, ErrUnavailable)
			}
		})
	}
}

// The end of a context is told as such.
func TestContexts(t *testing.T) {
	release := make(chan struct{})
	path := serveRaw(t, func(conn net.Conn) { readHead(conn); <-release })
	defer close(release)
	c := newClient(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for way, err := range each(ctx, c) {
		errorIs(t, err, ErrUnavailable, way)
		errorIs(t, err, context.DeadlineExceeded, way)
		contains(t, err.Error(), "in time", way)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	for way, err := range each(ctx, c) {
		errorIs(t, err, context.Canceled, way)
		notErrorIs(t, err, ErrUnavailable, way)
	}
}

func TestErrorWords(t *testing.T) {
	equal(t, "m (h)", (&Error{Message: "m", Hint: "h"}).Error())
	equal(t, "m", (&Error{Message: "m"}).Error())
	for code, status := range map[Code]int{
		CodeInvalid: 400, CodeUnsupported: 422, CodeNotFound: 404, CodeExists: 409, CodeConflict: 409, CodeForbidden: 403,
		CodeCanceled: 409, CodeExhausted: 507, CodeUnavailable: 503, CodeInternal: 500, "of the future": 500,
	} {
		equal(t, status, (&Error{Code: code}).Status(), code)
	}
}
