package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

func request(tb testing.TB, req guest.Request) []byte {
	tb.Helper()
	req.Version = guest.ProtocolVersion
	b, err := json.Marshal(req)
	if err != nil {
		tb.Fatal(err)
	}
	return frame.Append(nil, frame.Request, b)
}

// raw connects to a sandbox's socket without the client's care.
func (s *sandbox) raw(tb testing.TB) *net.UnixConn {
	tb.Helper()
	d, err := os.Open(filepath.Dir(s.socket))
	if err != nil {
		tb.Fatal(err)
	}
	defer d.Close()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + filepath.Base(s.socket), Net: "unix"})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// TestMalformed: what breaks the protocol is answered with an error, or ends the
// connection, and nothing else suffers.
func TestMalformed(t *testing.T) {
	s := newSandbox(t)
	exec := func(req guest.Request, more ...[]byte) []byte {
		req.Kind = guest.Exec
		return append(request(t, req), bytes.Join(more, nil)...)
	}
	sleep := guest.Request{Argv: []string{"sleep", "4730"}, Stdin: true}
	for _, tt := range []struct {
		name string
		send []byte
		want frame.Type // 0: the connection ends
	}{
		{"no request", frame.Append(nil, frame.Stdin, []byte("x")), frame.Reply},
		{"no JSON", frame.Append(nil, frame.Request, []byte("{")), frame.Reply},
		{"wrong types", frame.Append(nil, frame.Request, []byte(`{"version":1,"kind":"exec","argv":"sh"}`)), frame.Reply},
		{"no version", frame.Append(nil, frame.Request, []byte(`{"kind":"ping"}`)), frame.Reply},
		{"later version", frame.Append(nil, frame.Request, []byte(`{"version":99,"kind":"ping"}`)), frame.Reply},
		{"unknown kind", request(t, guest.Request{Kind: "reboot"}), frame.Reply},
		{"no command", request(t, guest.Request{Kind: guest.Exec}), frame.Reply},
		{"zero byte", request(t, guest.Request{Kind: guest.Exec, Argv: []string{"a\x00b"}}), frame.Reply},
		{"bad variable", request(t, guest.Request{Kind: guest.Exec, Argv: []string{"a"}, Env: map[string]string{"A=B": "c"}}), frame.Reply},
		{"relative directory", request(t, guest.Request{Kind: guest.Exec, Argv: []string{"a"}, Dir: "x"}), frame.Reply},
		{"bad session", request(t, guest.Request{Kind: guest.Attach, Session: "a/b"}), frame.Reply},
		{"huge terminal", request(t, guest.Request{Kind: guest.Attach, Cols: 1 << 20}), frame.Reply},
		{"negative time", request(t, guest.Request{Kind: guest.Exec, Argv: []string{"a"}, Timeout: -1}), frame.Reply},
		{"too large", []byte{byte(frame.Request), 0xff, 0xff, 0xff, 0xff}, frame.Reply},
		{"second request", exec(sleep, request(t, guest.Request{Kind: guest.Ping})), 0},
		{"signal 0", exec(sleep, frame.Append(nil, frame.Signal, []byte{0})), 0},
		{"signal of two bytes", exec(sleep, frame.Append(nil, frame.Signal, []byte{1, 2})), 0},
		{"more stdin than the window", exec(sleep, bytes.Repeat(frame.Append(nil, frame.Stdin, make([]byte, frame.Chunk)), 12)), 0},
		{"bad size", append(request(t, guest.Request{Kind: guest.Attach, Session: "x", Argv: []string{"cat"}}), frame.Append(nil, frame.Resize, []byte{1})...), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := s.raw(t)
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			r := frame.NewReader(c)
			if typ, _, err := r.Next(); err != nil || typ != frame.Hello {
				t.Fatalf("hello: %d, %v", typ, err)
			}
			// The rest cannot always be written, when the other end is tired of it.
			_, _ = c.Write(tt.send)
			for {
				typ, p, err := r.Next()
				switch {
				case err != nil && tt.want == 0 && !errors.Is(err, os.ErrDeadlineExceeded):
				case err != nil:
					t.Errorf("got %v", err)
				case typ == frame.Reply:
					var reply guest.Reply
					if err := json.Unmarshal(p, &reply); err != nil || reply.Error == "" || tt.want != typ {
						t.Errorf("got %q", p)
					}
				default:
					continue
				}
				break
			}
		})
	}
	s.waitGone(t, "sleep 4730")
	if _, err := s.Ping(testContext(t)); err != nil {
		t.Error(err)
	}
}

// FuzzServe sends anything to a real cove-init, which must stay in order. What
// it is asked to run runs in its namespaces, as an unprivileged user.
func FuzzServe(f *testing.F) {
	f.Add(request(f, guest.Request{Kind: guest.Ping}))
	f.Add(request(f, guest.Request{Kind: guest.Sessions}))
	f.Add(append(request(f, guest.Request{Kind: guest.Exec, Argv: []string{"cat"}, Stdin: true}), frame.Append(frame.Append(nil, frame.Stdin, []byte("x")), frame.Stdin, nil)...))
	f.Add(append(request(f, guest.Request{Kind: guest.Attach, Argv: []string{"cat"}}), frame.Append(frame.Append(nil, frame.Stdin, []byte("\x04")), frame.Resize, []byte{0, 80, 0, 24})...))
	f.Add(append(request(f, guest.Request{Kind: guest.Exec, TTY: true, Argv: []string{"true"}}), frame.Append(nil, frame.Signal, []byte{9})...))
	s := newSandbox(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		typ, p, err := frame.NewReader(bytes.NewReader(data)).Next()
		var req guest.Request
		if err == nil && typ == frame.Request && json.Unmarshal(p, &req) == nil && req.Kind == guest.Shutdown {
			return
		}
		c := s.raw(t)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(data); err == nil {
			_ = c.CloseWrite()
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("no end within time")
		}
		if _, err := s.Ping(testContext(t)); err != nil {
			t.Fatalf("%v\n%s", err, s.stderr)
		}
	})
}
