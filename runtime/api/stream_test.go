package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"cove/runtime/frame"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + StreamProtocol + "\r\n\r\n"

// The answer and the first frames may come in one piece or byte by byte.
func TestStream(t *testing.T) {
	for name, size := range map[string]int{"one piece": 1 << 20, "bytes": 1} {
		t.Run(name, func(t *testing.T) {
			said := make(chan string, 1)
			c := newClient(t, serveRaw(t, func(conn net.Conn) {
				head := readHead(conn)
				body := make([]byte, len(`{"argv":["x"]}`))
				_, _ = io.ReadFull(conn, body)
				said <- head + string(body)
				out := []byte(switching)
				out = frame.Append(out, frame.Started, []byte(`{"pid":3}`))
				out = frame.Append(out, frame.Stdout, []byte("hello"))
				out = frame.Append(out, frame.Exit, []byte(`{"code":5}`))
				for len(out) > 0 {
					n := min(size, len(out))
					_, _ = conn.Write(out[:n])
					out = out[n:]
				}
			}))
			ctx, cancel := context.WithCancel(t.Context())
			s, err := c.Exec(ctx, "a", ExecRequest{Argv: []string{"x"}})
			noError(t, err)
			cancel() // bounds the opening only
			defer func() { _ = s.Close() }()
			var out strings.Builder
			st, err := s.Pump(frame.Streams{Stdout: &out})
			noError(t, err)
			equal(t, 5, st.Code)
			equal(t, "hello", out.String())
			req := <-said
			contains(t, req, "Upgrade: "+StreamProtocol+"\r\n")
			contains(t, req, `{"argv":["x"]}`)
		})
	}
}

func TestStreamIsLost(t *testing.T) {
	for name, after := range map[string][]byte{
		"at once": nil, "between frames": frame.Append(nil, frame.Started, []byte(`{}`)), "inside a frame": {byte(frame.Stdout), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serveRaw(t, func(conn net.Conn) {
				readHead(conn)
				_, _ = conn.Write(append([]byte(switching), after...))
			}))
			s, err := c.Attach(t.Context(), "a", AttachRequest{})
			noError(t, err)
			_, err = s.Pump(frame.Streams{})
			errorIs(t, err, ErrUnavailable)
			errorIs(t, err, frame.ErrNoExit)
			noError(t, s.Close())

			s, err = c.Attach(t.Context(), "a", AttachRequest{})
			noError(t, err)
			for err == nil {
				_, _, err = s.Next()
			}
			errorIs(t, err, ErrUnavailable)
			noError(t, s.Close())
		})
	}
	t.Run("of another protocol", func(t *testing.T) {
		c := newClient(t, serveRaw(t, func(conn net.Conn) {
			readHead(conn)
			_, _ = io.WriteString(conn, strings.Replace(switching, "/1\r", "/9\r", 1))
		}))
		_, err := c.Exec(t.Context(), "a", ExecRequest{})
		errorIs(t, err, ErrInternal)
	})
}

// What an upgrade costs over a unix socket: connect, one write, one read.
func BenchmarkUpgrade(b *testing.B) {
	answer := []byte(switching)
	answer = frame.Append(answer, frame.Started, []byte(`{"pid":3}`))
	answer = frame.Append(answer, frame.Exit, []byte(`{"code":0}`))
	c := newClient(b, serveHTTP(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = conn.Write(answer)
		_ = conn.Close()
	}))
	for b.Loop() {
		s, err := c.Exec(b.Context(), "a", ExecRequest{Argv: []string{"true"}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Pump(frame.Streams{}); err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}
