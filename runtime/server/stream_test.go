package server

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/frame"
	"cove/runtime/guest"
)

// streamHost serves a sandbox "a" of owner's with a PID 1.
func streamHost(t testing.TB) (*host, *player, *api.Client) {
	h := newHost(t)
	p := playInit(t, h.m.socket(h.info("a", owner)))
	return h, p, h.as(owner)
}

func TestExec(t *testing.T) {
	h, p, c := streamHost(t)
	s, err := c.Exec(t.Context(), "a", api.ExecRequest{
		Argv: []string{"exit", "7"}, Env: map[string]string{"A": "b"}, Dir: "/d", User: "u", Stdin: true, TTY: true, Cols: 3, Rows: 4, Term: "xterm",
		Timeout: config.Duration(1500 * time.Millisecond),
	})
	noError(t, err)
	var started frame.StartedInfo
	st, err := s.Pump(frame.Streams{Started: func(i frame.StartedInfo) { started = i }})
	noError(t, err)
	noError(t, s.Close())
	equal(t, frame.ExitStatus{Code: 7}, st)
	equal(t, frame.StartedInfo{Pid: 9}, started)
	equal(t, guest.Request{
		Version: guest.ProtocolVersion, Kind: guest.Exec, Argv: []string{"exit", "7"}, Env: map[string]string{"A": "b"}, Dir: "/d", User: "u",
		Stdin: true, TTY: true, Cols: 3, Rows: 4, Term: "xterm", Timeout: 1500 * time.Millisecond,
	}, p.requests[0])

	// A program that cannot be started is the stream's to tell.
	s, err = c.Exec(t.Context(), "a", api.ExecRequest{Argv: []string{"missing"}, Timeout: config.Never})
	noError(t, err)
	st, err = s.Pump(frame.Streams{})
	noError(t, err)
	noError(t, s.Close())
	equal(t, frame.ExitStatus{Code: 127, Error: "missing: not found"}, st)

	// A session's name and command; a terminal that does not know its size.
	s, err = c.Attach(t.Context(), "a", api.AttachRequest{Session: "two", Argv: []string{"exit", "0"}})
	noError(t, err)
	_, err = s.Pump(frame.Streams{Started: func(i frame.StartedInfo) { started = i }})
	noError(t, err)
	noError(t, s.Close())
	equal(t, "two", started.Session)
	equal(t, guest.Request{
		Version: guest.ProtocolVersion, Kind: guest.Attach, TTY: true, Session: "two", Argv: []string{"exit", "0"}, Cols: 80, Rows: 24,
	}, p.requests[2])

	h.m.put(h.infoIn("stopped", owner, "stopped"))
	_, err = c.Exec(t.Context(), "stopped", api.ExecRequest{Argv: []string{"x"}})
	errorIs(t, err, api.ErrConflict)
	contains(t, err.Error(), "exec needs a sandbox that is started")
	h.info("deaf", owner) // with no PID 1
	_, err = c.Attach(t.Context(), "deaf", api.AttachRequest{})
	errorIs(t, err, api.ErrUnavailable)
}

// What is wrong is told before anything is asked of the sandbox, and for one
// that is not there as for one that is.
func TestStreamRequestsAreChecked(t *testing.T) {
	h, p, _ := streamHost(t)
	long := strings.Repeat("x", guest.MaxName+1)
	for body, want := range map[string]string{
		`{}`:                                    "no command",
		`{"argv":[]}`:                           "no command",
		`{"argv":[""]}`:                         "no command",
		`{"argv":["a\u0000b"]}`:                 "zero byte",
		`{"argv":["a"],"env":{"A=B":"c"}}`:      "environment variable",
		`{"argv":["a"],"dir":"relative"}`:       "not an absolute path",
		`{"argv":["a"],"user":"` + long + `"}`:  "bad user",
		`{"argv":["a"],"term":"a b"}`:           "bad terminal type",
		`{"argv":["a"],"cols":-1}`:              "bad terminal size",
		`{"argv":["a"],"rows":4097,"tty":true}`: "bad terminal size",
		`{"argv":["a"],"timeout":-5}`:           "no duration",
		`{"argv":["a"],"shell":true}`:           `unknown field "shell"`,
		`{"argv":["` + strings.Repeat(`a","`, guest.MaxArgs+1) + `"]}`: "more than 4096 arguments",
	} {
		for _, name := range []string{"a", "missing"} {
			a := h.ask(owner, "POST", "/v1/sandboxes/"+name+"/exec", body, upgrade()...)
			equal(t, http.StatusBadRequest, a.status, clip(body))
			contains(t, decodeError(t, a).Message, want, clip(body))
		}
	}
	a := h.ask(owner, "POST", "/v1/sandboxes/a/attach", `{"session":"../x"}`, upgrade()...)
	equal(t, http.StatusBadRequest, a.status)
	for _, header := range [][]string{nil, {"Connection", "Upgrade"}, {"Upgrade", api.StreamProtocol}, {"Connection", "Upgrade", "Upgrade", "websocket"}} {
		a := h.ask(owner, "POST", "/v1/sandboxes/a/exec", `{"argv":["x"]}`, header...)
		equal(t, http.StatusUpgradeRequired, a.status, header)
		equal(t, api.StreamProtocol, a.header.Get("Upgrade"))
		decodeError(t, a)
	}
	equal(t, 0, len(p.requests))
	a = h.ask(owner, "POST", "/v1/sandboxes/a/exec", `{"argv":["exit","0"]}`, "Connection", "keep-alive, upgrade", "Upgrade", "h2c, COVE-STREAM/1")
	equal(t, http.StatusSwitchingProtocols, a.status)
}

// 64 MiB there and back, unchanged, with the control frames in between.
func TestExecCarriesMuch(t *testing.T) {
	_, _, c := streamHost(t)
	s, err := c.Exec(t.Context(), "a", api.ExecRequest{Argv: []string{"echo"}, Stdin: true})
	noError(t, err)
	defer func() { _ = s.Close() }()
	const size = 64 << 20
	in := sha256.New()
	out := sha256.New()
	source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), in)
	var other bytes.Buffer
	noError(t, s.Resize(100, 50))
	noError(t, s.Signal(15))
	begin := time.Now()
	st, err := s.Pump(frame.Streams{Stdin: source, Stdout: out, Stderr: &other})
	noError(t, err)
	t.Logf("%d MiB both ways in %v", size>>20, time.Since(begin).Round(time.Millisecond))
	equal(t, size%251, st.Code)
	if !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
		t.Error("what came back is not what was sent")
	}
	equal(t, []byte{0, 100, 0, 50, 15}, other.Bytes())
}

// A client that goes away is told to PID 1 by the end of its connection.
func TestClientVanishes(t *testing.T) {
	_, p, c := streamHost(t)
	s, err := c.Exec(t.Context(), "a", api.ExecRequest{Argv: []string{"wait"}})
	noError(t, err)
	noError(t, s.Close())
	<-p.hungUp
	// One who sends what it may not is cut off.
	s, err = c.Attach(t.Context(), "a", api.AttachRequest{})
	noError(t, err)
	noError(t, s.Send(frame.Exit, []byte("{}")))
	_, err = s.Pump(frame.Streams{})
	errorIs(t, err, frame.ErrNoExit)
	<-p.hungUp
	noError(t, s.Close())
}

func TestGuestVanishes(t *testing.T) {
	_, _, c := streamHost(t)
	s, err := c.Exec(t.Context(), "a", api.ExecRequest{Argv: []string{"vanish"}})
	noError(t, err)
	st, err := s.Pump(frame.Streams{})
	noError(t, err)
	equal(t, frame.ReasonGone, st.Reason)
	noError(t, s.Close())

	s, err = c.Exec(t.Context(), "a", api.ExecRequest{Argv: []string{"garbage"}})
	noError(t, err)
	_, err = s.Pump(frame.Streams{})
	errorIs(t, err, frame.ErrNoExit)
	errorIs(t, err, api.ErrUnavailable)
	noError(t, s.Close())
}

// A client that sends frames without waiting for the answer loses none.
func TestFramesBeforeTheAnswer(t *testing.T) {
	h, _, _ := streamHost(t)
	conn, err := net.Dial("unix", h.socket)
	noError(t, err)
	defer func() { _ = conn.Close() }()
	body := `{"argv":["echo"],"stdin":true}`
	req := []byte("POST /v1/sandboxes/a/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: cove-stream/1\r\nContent-Length: 30\r\n\r\n" + body)
	equal(t, 30, len(body))
	req = frame.Append(req, frame.Stdin, []byte("early"))
	req = frame.Append(req, frame.Stdin, nil)
	_, err = conn.Write(req)
	noError(t, err)
	all, err := io.ReadAll(conn)
	noError(t, err)
	head, frames, ok := bytes.Cut(all, []byte("\r\n\r\n"))
	if !ok || !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		t.Fatalf("%q", all)
	}
	in := frame.NewReader(bytes.NewReader(frames))
	var got []frame.Type
	for {
		kind, p, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		noError(t, err)
		if kind == frame.Stdout {
			equal(t, "early", string(p))
		}
		got = append(got, kind)
	}
	equal(t, true, slices.Equal(got, []frame.Type{frame.Started, frame.Stdout, frame.Ack, frame.Exit}), got)
}

// Exec by way of the server: connect, authorise, ask PID 1, upgrade, relay, end.
func BenchmarkExec(b *testing.B) {
	_, _, c := streamHost(b)
	for b.Loop() {
		s, err := c.Exec(b.Context(), "a", api.ExecRequest{Argv: []string{"exit", "0"}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Pump(frame.Streams{}); err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}

func BenchmarkGet(b *testing.B) {
	_, _, c := streamHost(b)
	for b.Loop() {
		if _, err := c.Status(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
