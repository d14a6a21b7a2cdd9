package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// eventServer answers with the head of a stream and what script writes.
func eventServer(t *testing.T, script func(w io.Writer, flush func(), gone <-chan struct{})) *Client {
	return newClient(t, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		script(w, func() { _ = rc.Flush() }, r.Context().Done())
	}))
}

func TestEvents(t *testing.T) {
	const two = `{"type":"snapshot","epoch":"e","seq":3,"sandboxes":[{"id":"1"}]}` + "\n" + `{"type":"sandbox","epoch":"e","seq":4,"sandbox":{"id":"2"}}` + "\n"
	t.Run("known", func(t *testing.T) {
		c := eventServer(t, func(w io.Writer, _ func(), _ <-chan struct{}) { _, _ = io.WriteString(w, two) })
		e, err := c.Events(t.Context(), nil, false)
		noError(t, err)
		defer func() { _ = e.Close() }()
		ev, err := e.Next()
		noError(t, err)
		equal(t, Cursor{"e", 3}, ev.Cursor)
		equal(t, 1, len(ev.Sandboxes))
		ev, err = e.Next()
		noError(t, err)
		equal(t, "2", ev.Sandbox.ID)
		_, err = e.Next()
		errorIs(t, err, io.EOF)
	})
	t.Run("the daemon ends", func(t *testing.T) {
		c := eventServer(t, func(io.Writer, func(), <-chan struct{}) {})
		e, err := c.Events(t.Context(), nil, true)
		noError(t, err)
		defer func() { _ = e.Close() }()
		_, err = e.Next()
		errorIs(t, err, ErrUnavailable)
	})
	t.Run("the connection breaks", func(t *testing.T) {
		c := newClient(t, serveRaw(t, func(conn net.Conn) {
			readHead(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{\"type\":")
		}))
		for _, follow := range []bool{true, false} {
			e, err := c.Events(t.Context(), nil, follow)
			noError(t, err)
			_, err = e.Next()
			errorIs(t, err, ErrUnavailable)
			noError(t, e.Close())
		}
	})
	t.Run("pings keep it alive, silence ends it", func(t *testing.T) {
		const pings = 6
		c := eventServer(t, func(w io.Writer, flush func(), gone <-chan struct{}) {
			tick := time.NewTicker(60 * time.Millisecond)
			defer tick.Stop()
			for range pings {
				<-tick.C
				_, _ = io.WriteString(w, `{"type":"ping"}`+"\n")
				flush()
			}
			<-gone // and then nothing
		})
		c.quiet = 250 * time.Millisecond
		e, err := c.Events(t.Context(), nil, true)
		noError(t, err)
		defer func() { _ = e.Close() }()
		for range pings {
			ev, err := e.Next()
			noError(t, err)
			equal(t, EventPing, ev.Type)
		}
		_, err = e.Next()
		errorIs(t, err, ErrUnavailable)
		contains(t, err.Error(), "said nothing for 250ms")
	})
	t.Run("the context ends it", func(t *testing.T) {
		c := eventServer(t, func(_ io.Writer, _ func(), gone <-chan struct{}) { <-gone })
		ctx, cancel := context.WithCancel(t.Context())
		e, err := c.Events(ctx, nil, true)
		noError(t, err)
		defer func() { _ = e.Close() }()
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err = e.Next()
		errorIs(t, err, context.Canceled)
		_, err = e.Next()
		errorIs(t, err, context.Canceled)
	})
	t.Run("Close ends it", func(t *testing.T) {
		c := eventServer(t, func(_ io.Writer, _ func(), gone <-chan struct{}) { <-gone })
		e, err := c.Events(t.Context(), nil, true)
		noError(t, err)
		time.AfterFunc(20*time.Millisecond, func() { _ = e.Close() })
		_, err = e.Next()
		anError(t, err)
	})
}

func TestCursor(t *testing.T) {
	for s, want := range map[string]Cursor{"a:0": {"a", 0}, "0f-_.Z:18446744073709551615": {"0f-_.Z", 1<<64 - 1}} {
		got, err := ParseCursor(s)
		noError(t, err, s)
		equal(t, want, got)
	}
	for _, s := range []string{
		"", ":", "a", "a:", ":1", "a:b", "a:-1", "a:+1", "a:01", "a: 1", "a:1:2", "a b:1", "a/b:1", "ä:1",
		"a:18446744073709551616", strings.Repeat("a", 65) + ":1",
	} {
		_, err := ParseCursor(s)
		anError(t, err, s)
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("0123abcd:42")
	f.Add("a:18446744073709551616")
	f.Add("::")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			if len(err.Error()) > 600 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if c.String() != s {
			t.Errorf("%q is read as %q", s, c)
		}
	})
}
