package guest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cove/runtime/frame"
)

// fake is a guest that answers each connection with f.
func fake(tb testing.TB, f func(net.Conn, *frame.Reader)) *Client {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "guest.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			f(c, frame.NewReader(c))
			_ = c.Close()
		}
	}()
	tb.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return NewClient(path)
}

func say(c net.Conn, t frame.Type, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	_, _ = c.Write(frame.Append(nil, t, b))
}

func hello(c net.Conn, r *frame.Reader) Request {
	say(c, frame.Hello, Hello{Version: ProtocolVersion, Ready: true, Boot: "b\x1b[21t"})
	var req Request
	if _, p, err := r.Next(); err == nil {
		_ = json.Unmarshal(p, &req)
	}
	return req
}

func context10(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

func TestAsk(t *testing.T) {
	for _, tt := range []struct {
		name  string
		guest func(net.Conn, *frame.Reader)
		want  error
	}{
		{"fine", func(c net.Conn, r *frame.Reader) { hello(c, r); say(c, frame.Reply, Reply{}) }, nil},
		{"closes", func(net.Conn, *frame.Reader) {}, ErrUnavailable},
		{"closes after hello", func(c net.Conn, r *frame.Reader) { hello(c, r) }, ErrUnavailable},
		{"no hello", func(c net.Conn, _ *frame.Reader) { say(c, frame.Reply, Reply{}) }, ErrProtocol},
		{"hello is no JSON", func(c net.Conn, _ *frame.Reader) { _, _ = c.Write(frame.Append(nil, frame.Hello, []byte("{"))) }, ErrProtocol},
		{"later version", func(c net.Conn, _ *frame.Reader) { say(c, frame.Hello, Hello{Version: ProtocolVersion + 1}) }, ErrVersion},
		{"no version", func(c net.Conn, _ *frame.Reader) { say(c, frame.Hello, Hello{}) }, ErrVersion},
		{"frame too large", func(c net.Conn, _ *frame.Reader) { _, _ = c.Write([]byte{1, 0xff, 0, 0, 0}) }, ErrProtocol},
		{"another frame", func(c net.Conn, r *frame.Reader) { hello(c, r); say(c, frame.Stdout, "x") }, ErrProtocol},
		{"reply is no JSON", func(c net.Conn, r *frame.Reader) {
			hello(c, r)
			_, _ = c.Write(frame.Append(nil, frame.Reply, []byte("[")))
		}, ErrProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := fake(t, tt.guest).Ping(context10(t))
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestAskWaits(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	silent := fake(t, func(net.Conn, *frame.Reader) { <-stop })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := silent.Ping(ctx); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
	// Nobody accepts, and the queue is full.
	for range 5 {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		_, err := silent.Ping(ctx)
		cancel()
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("not accepted: %v", err)
		}
	}
	if _, err := NewClient(filepath.Join(t.TempDir(), "none")).Ping(context10(t)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
}

func TestReplyIsCleaned(t *testing.T) {
	c := fake(t, func(c net.Conn, r *frame.Reader) {
		switch hello(c, r).Kind {
		case Sessions:
			list := make([]SessionInfo, 100)
			for i := range list {
				list[i] = SessionInfo{Name: "s", Command: []string{"sh\x1b]52;c;?\x07\u202e", strings.Repeat("x", 1000)}, Cols: 1 << 30, Clients: -1}
			}
			list[0].Name = "../x"
			say(c, frame.Reply, Reply{Sessions: list})
		case Ping:
			say(c, frame.Reply, Reply{})
		default:
			say(c, frame.Reply, Reply{Error: "no\x1b[21t\n" + strings.Repeat("x", 5000)})
		}
	})
	list, err := c.Sessions(context10(t))
	if err != nil || len(list) != MaxSessions {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	for _, s := range list {
		if s.Name != "s" || s.Command[0] != "sh?]52;c;???" || len(s.Command[1]) != maxCommand || s.Cols != MaxCols || s.Clients != 0 {
			t.Fatalf("got %+v", s)
		}
	}
	if h, err := c.Ping(context10(t)); err != nil || h.Boot != "b?[21t" {
		t.Errorf("hello %+v, %v", h, err)
	}
	var refused *RequestError
	if err := c.Configure(context10(t), Request{}); !errors.As(err, &refused) || len(err.Error()) > maxText || !strings.HasPrefix(err.Error(), "no?[21t?") {
		t.Errorf("got %v", err)
	}
}

func TestRequestsAreChecked(t *testing.T) {
	c := NewClient("/nonexistent/socket")
	ctx := context10(t)
	for name, err := range map[string]error{
		"no command":  second(c.Run(ctx, Request{}, nil, nil, nil)),
		"not a kind":  second(c.Open(ctx, Request{Kind: Ping})),
		"bad session": second(c.Open(ctx, Request{Kind: Attach, Session: "a b"})),
		"bad env":     second(c.Run(ctx, Request{Argv: []string{"a"}, Env: map[string]string{"": "x"}}, nil, nil, nil)),
		"negative":    c.Shutdown(ctx, -1),
	} {
		if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	big := fake(t, func(c net.Conn, r *frame.Reader) { hello(c, r) })
	if _, err := big.Run(ctx, Request{Argv: []string{strings.Repeat("x", MaxRequest)}}, nil, nil, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("too large: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// relayed runs a relay between a guest that does f and a client.
func relayed(t *testing.T, guest func(net.Conn, *frame.Reader), client func(net.Conn, *frame.Reader), finish func(frame.ExitStatus) frame.ExitStatus) (frame.ExitStatus, error) {
	t.Helper()
	c := fake(t, func(c net.Conn, r *frame.Reader) {
		hello(c, r)
		guest(c, r)
	})
	s, err := c.Open(context10(t), Request{Kind: Exec, Argv: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	_ = a.SetDeadline(time.Now().Add(10 * time.Second))
	done := make(chan struct{})
	go func() {
		defer close(done)
		client(a, frame.NewReader(a))
		_, _ = io.Copy(io.Discard, a)
		_ = a.Close()
	}()
	status, err := Relay(context10(t), b, s, finish)
	<-done
	return status, err
}

func TestRelay(t *testing.T) {
	started := func(c net.Conn) { say(c, frame.Started, frame.StartedInfo{Pid: 5, Session: "a b"}) }
	nothing := func(net.Conn, *frame.Reader) {}
	next := func(t *testing.T, r *frame.Reader, want frame.Type, payload string) {
		t.Helper()
		typ, p, err := r.Next()
		if err != nil || typ != want || string(p) != payload {
			t.Errorf("got %d %q %v, want %d %q", typ, p, err, want, payload)
		}
	}
	t.Run("both ways", func(t *testing.T) {
		status, err := relayed(t, func(c net.Conn, r *frame.Reader) {
			started(c)
			next(t, r, frame.Stdin, "in")
			next(t, r, frame.Signal, "\x0f")
			_, _ = c.Write(frame.Append(frame.Append(frame.Append(nil, frame.Stdout, []byte("out")), frame.Stderr, []byte("err")), frame.Ack, []byte{0, 0, 0, 2}))
			_, _ = c.Write(frame.Append(nil, frame.Exit, []byte(`{"code":1153,"signal":99,"reason":"oom","error":"\u001b[21t","more":1}`)))
		}, func(c net.Conn, r *frame.Reader) {
			next(t, r, frame.Started, `{"pid":5}`)
			_, _ = c.Write(frame.Append(frame.Append(nil, frame.Stdin, []byte("in")), frame.Signal, []byte{15}))
			next(t, r, frame.Stdout, "out")
			next(t, r, frame.Stderr, "err")
			next(t, r, frame.Ack, "\x00\x00\x00\x02")
			next(t, r, frame.Exit, `{"code":129,"reason":"oom","error":"?[21t"}`)
		}, func(e frame.ExitStatus) frame.ExitStatus {
			if e.Reason != frame.ReasonNone {
				t.Errorf("the guest's reason %q was believed", e.Reason)
			}
			e.Reason = frame.ReasonOOM
			return e
		})
		if err != nil || status.Code != 129 || status.Reason != frame.ReasonOOM {
			t.Errorf("got %+v, %v", status, err)
		}
	})
	t.Run("not started", func(t *testing.T) {
		status, err := relayed(t, func(c net.Conn, _ *frame.Reader) { say(c, frame.Exit, frame.ExitStatus{Code: 127, Error: "no"}) },
			func(_ net.Conn, r *frame.Reader) { next(t, r, frame.Exit, `{"code":127,"error":"no"}`) }, nil)
		if err != nil || status.Code != 127 {
			t.Errorf("got %+v, %v", status, err)
		}
	})
	t.Run("guest gone", func(t *testing.T) {
		status, err := relayed(t, func(c net.Conn, _ *frame.Reader) { started(c) }, func(_ net.Conn, r *frame.Reader) {
			_, _, _ = r.Next()
			if typ, p, _ := r.Next(); typ != frame.Exit || !strings.Contains(string(p), `"gone"`) {
				t.Errorf("got %d %q", typ, p)
			}
		}, nil)
		if err != nil || status.Reason != frame.ReasonGone || status.Code != 137 {
			t.Errorf("got %+v, %v", status, err)
		}
	})
	t.Run("client gone", func(t *testing.T) {
		hung := make(chan error, 1)
		_, err := relayed(t, func(c net.Conn, r *frame.Reader) {
			started(c)
			_, _, err := r.Next()
			hung <- err
		}, func(c net.Conn, r *frame.Reader) { _, _, _ = r.Next(); _ = c.Close() }, nil)
		if !errors.Is(err, ErrClient) {
			t.Errorf("got %v", err)
		}
		if err := <-hung; err == nil {
			t.Error("the guest was not told")
		}
	})
	for name, bad := range map[string][]byte{
		"hello":        frame.Append(nil, frame.Hello, nil),
		"reply":        frame.Append(nil, frame.Reply, []byte("{}")),
		"stdin":        frame.Append(nil, frame.Stdin, []byte("x")),
		"second start": frame.Append(nil, frame.Started, []byte("{}")),
		"unknown":      frame.Append(nil, 200, nil),
		"long ack":     frame.Append(nil, frame.Ack, make([]byte, 5)),
		"bad exit":     frame.Append(nil, frame.Exit, []byte("x")),
		"too large":    {byte(frame.Stdout), 0xff, 0, 0, 0},
	} {
		t.Run("guest sends "+name, func(t *testing.T) {
			if _, err := relayed(t, func(c net.Conn, r *frame.Reader) {
				started(c)
				_, _ = c.Write(bad)
				_, _, _ = r.Next()
			}, nothing, nil); !errors.Is(err, ErrProtocol) {
				t.Errorf("got %v", err)
			}
		})
	}
	for name, bad := range map[string][]byte{
		"stdout":       frame.Append(nil, frame.Stdout, []byte("x")),
		"request":      frame.Append(nil, frame.Request, []byte("{}")),
		"exit":         frame.Append(nil, frame.Exit, []byte("{}")),
		"ack":          frame.Append(nil, frame.Ack, make([]byte, 4)),
		"bad size":     frame.Append(nil, frame.Resize, make([]byte, 3)),
		"signal 0":     frame.Append(nil, frame.Signal, []byte{0}),
		"signal 65":    frame.Append(nil, frame.Signal, []byte{65}),
		"stdin so big": frame.Append(nil, frame.Stdin, make([]byte, frame.StdinWindow+1)),
		"too large":    {byte(frame.Stdin), 0xff, 0, 0, 0},
	} {
		t.Run("client sends "+name, func(t *testing.T) {
			if _, err := relayed(t, func(c net.Conn, r *frame.Reader) {
				started(c)
				if typ, _, err := r.Next(); err == nil {
					t.Errorf("the guest got a frame of type %d", typ)
				}
			}, func(c net.Conn, r *frame.Reader) {
				_, _, _ = r.Next()
				_, _ = c.Write(bad)
			}, nil); !errors.Is(err, ErrClient) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// goneClient takes nothing any more. What it wrote before that is read later, by an end
// that lies open until then.
type goneClient struct {
	left   []byte
	refuse chan struct{} // closed at the first write that fails
	closed chan struct{}
	once   [2]sync.Once
}

func (c *goneClient) Read(p []byte) (int, error) {
	<-c.refuse
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case <-time.After(20 * time.Millisecond): // it is not closed at once
	}
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *goneClient) Write([]byte) (int, error) {
	c.once[0].Do(func() { close(c.refuse) })
	return 0, syscall.EPIPE
}

func (c *goneClient) Close() error {
	c.once[1].Do(func() { close(c.closed) })
	return nil
}

// What somebody types right before the key that detaches is not lost because output
// comes for a terminal that is gone.
func TestRelayLastWords(t *testing.T) {
	got := make(chan string, 1)
	c := fake(t, func(c net.Conn, r *frame.Reader) {
		hello(c, r)
		say(c, frame.Started, frame.StartedInfo{})
		_, p, _ := r.Next()
		got <- string(p)
	})
	s, err := c.Open(context10(t), Request{Kind: Attach})
	if err != nil {
		t.Fatal(err)
	}
	client := &goneClient{left: frame.Append(nil, frame.Stdin, []byte("typed")), refuse: make(chan struct{}), closed: make(chan struct{})}
	if _, err := Relay(context10(t), client, s, nil); !errors.Is(err, ErrClient) {
		t.Errorf("got %v", err)
	}
	if p := <-got; p != "typed" {
		t.Errorf("the guest got %q", p)
	}
}

// One that takes nothing and does not go away is not waited for.
func TestRelayOfClientThatStays(t *testing.T) {
	c := fake(t, func(c net.Conn, r *frame.Reader) {
		hello(c, r)
		say(c, frame.Started, frame.StartedInfo{})
		_, _, _ = r.Next()
	})
	s, err := c.Open(context10(t), Request{Kind: Attach})
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	done := make(chan error, 1)
	go func() {
		_, err := Relay(context10(t), deaf{b}, s, nil)
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, ErrClient) {
			t.Errorf("got %v", err)
		}
	case <-time.After(5 * lastWordsTimeout):
		t.Error("it is waited for")
	}
}

type deaf struct{ io.ReadWriteCloser }

func (deaf) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestRelayContext(t *testing.T) {
	c := fake(t, func(c net.Conn, r *frame.Reader) {
		hello(c, r)
		say(c, frame.Started, frame.StartedInfo{})
		_, _, _ = r.Next()
	})
	s, err := c.Open(context10(t), Request{Kind: Attach})
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	go func() { _, _ = io.Copy(io.Discard, a) }()
	cause := errors.New("the daemon ends")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := Relay(ctx, b, s, nil); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// FuzzHostileGuest: whatever a guest says, the client ends, returns nothing
// that controls a terminal, and sends the daemon's clients only what they may get.
func FuzzHostileGuest(f *testing.F) {
	ok, _ := json.Marshal(Hello{Version: ProtocolVersion})
	greet := frame.Append(nil, frame.Hello, ok)
	f.Add([]byte{}, []byte{})
	f.Add(greet, frame.Append(nil, frame.Reply, []byte(`{"sessions":[{"name":"a","command":["\u001b"]}]}`)))
	f.Add(greet, frame.Append(nil, frame.Reply, []byte(`{"error":"\u001b[21t"}`)))
	f.Add(greet, frame.Append(frame.Append(frame.Append(nil, frame.Started, []byte(`{"pid":1}`)), frame.Stdout, []byte("x")), frame.Exit, []byte(`{"code":1}`)))
	f.Add(greet, frame.Append(nil, frame.Exit, []byte(`{"code":127,"error":"x","reason":"gone"}`)))
	f.Fuzz(func(t *testing.T, first, then []byte) {
		c := fake(t, func(c net.Conn, r *frame.Reader) {
			_, _ = c.Write(first)
			// A client without a hello has nothing to say.
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, _, _ = r.Next()
			_, _ = c.Write(then)
		})
		list, err := c.Sessions(context10(t))
		text := ""
		if err != nil {
			text = err.Error()
		}
		for _, s := range list {
			text += s.Name + strings.Join(s.Command, "")
		}
		s, err := c.Open(context10(t), Request{Kind: Exec, Argv: []string{"x"}})
		if err == nil {
			a, b := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				r := frame.NewReader(a)
				for {
					typ, p, err := r.Next()
					if err != nil {
						_ = a.Close()
						return
					}
					switch typ {
					case frame.Started, frame.Stdout, frame.Stderr, frame.Ack, frame.Exit:
					default:
						t.Errorf("the client got type %d, %q", typ, p)
					}
				}
			}()
			status, _ := Relay(context10(t), b, s, nil)
			<-done
			text += status.Error + string(status.Reason)
		}
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }) {
			t.Errorf("control characters in %q", text)
		}
	})
}
