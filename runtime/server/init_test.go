package server

import (
	"encoding/binary"
	"encoding/json"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

// player is a PID 1 on a real socket that speaks the real protocol and runs no
// program: what a request's first argument says is played.
type player struct {
	t testing.TB
	// hungUp gets one value for each "wait" whose connection ended.
	hungUp chan struct{}
	// requests are those it got.
	mu       sync.Mutex
	requests []guest.Request
	logs     []string // records of its journal
}

// playInit plays on the socket at path until the test ends.
func playInit(t testing.TB, path string) *player {
	t.Helper()
	l, err := net.Listen("unix", path)
	noError(t, err)
	p := &player{t: t, hungUp: make(chan struct{}, 64)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer func() { _ = c.Close() }(); p.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return p
}

func send(c net.Conn, t frame.Type, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	_, _ = c.Write(frame.Append(nil, t, b))
}

func (p *player) serve(c net.Conn) {
	send(c, frame.Hello, guest.Hello{Version: guest.ProtocolVersion, Ready: true, Boot: "b"})
	in := frame.NewReader(c)
	kind, payload, err := in.Next()
	if err != nil {
		return
	}
	var r guest.Request
	if kind != frame.Request || json.Unmarshal(payload, &r) != nil || r.Validate() != nil {
		p.t.Errorf("a bad request: %d %s", kind, payload)
		return
	}
	p.mu.Lock()
	p.requests = append(p.requests, r)
	p.mu.Unlock()
	if r.Kind == guest.Sessions {
		send(c, frame.Reply, guest.Reply{Sessions: []guest.SessionInfo{{Name: "main", Command: []string{"sh"}, Cols: 80, Rows: 24, Created: time.Unix(5, 0)}}})
		return
	}
	if r.Kind == guest.Logs {
		send(c, frame.Started, frame.StartedInfo{Pid: 9})
		for _, line := range p.logs {
			_, _ = c.Write(frame.Append(nil, frame.Stdout, []byte(line+"\n")))
		}
		send(c, frame.Exit, frame.ExitStatus{})
		return
	}
	what := "wait"
	if len(r.Argv) > 0 {
		what = r.Argv[0]
	}
	if what == "missing" {
		send(c, frame.Exit, frame.ExitStatus{Code: guest.CodeNotFound, Error: "missing: not found"})
		return
	}
	send(c, frame.Started, frame.StartedInfo{Pid: 9, Session: r.Session})
	switch what {
	case "exit":
		code, _ := strconv.Atoi(r.Argv[1])
		send(c, frame.Exit, frame.ExitStatus{Code: code})
	case "vanish":
	case "garbage":
		_, _ = c.Write([]byte{byte(frame.Hello), 0, 0, 0, 0})
	case "echo":
		p.echo(c, in)
	case "wait":
		for {
			if _, _, err := in.Next(); err != nil {
				p.hungUp <- struct{}{}
				return
			}
		}
	default:
		p.t.Errorf("cannot play %q", r.Argv)
	}
}

// echo sends stdin back on stdout and the size of each resize on stderr.
func (p *player) echo(c net.Conn, in *frame.Reader) {
	total := 0
	for {
		t, payload, err := in.Next()
		if err != nil {
			return
		}
		var out []byte
		switch {
		case t == frame.Stdin && len(payload) == 0:
			send(c, frame.Exit, frame.ExitStatus{Code: total % 251})
			return
		case t == frame.Stdin:
			total += len(payload)
			out = frame.Append(out, frame.Stdout, payload)
			out = frame.Append(out, frame.Ack, binary.BigEndian.AppendUint32(nil, uint32(len(payload))))
		case t == frame.Resize:
			out = frame.Append(out, frame.Stderr, payload)
		case t == frame.Signal:
			out = frame.Append(out, frame.Stderr, payload)
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}
