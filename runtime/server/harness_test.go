package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/runtime/sandbox"
)

// The callers of the tests.
const (
	root     = 0
	owner    = 1001 // in the group by the list of its members
	other    = 1002 // in the group by its primary group
	outsider = 1003
)

const groupText = "root:x:0:\ncove:x:900:alice,ghost\nlater:x:901:\n"

const passwdText = `root:x:0:0:root:/root:/bin/sh
alice:x:1001:1001:,,,:/home/alice:/bin/sh
bob:x:1002:900::/home/bob:/bin/sh
carol:x:1003:1003::/home/carol:/bin/sh
`

// host is a served memory Manager.
type host struct {
	t      testing.TB
	m      *memory
	s      *Server
	dir    string // the run directory
	socket string
	uid    atomic.Int64 // who connects, unless it is -1: then the kernel says
	files  struct{ group, passwd string }
	stop   func() error
	// connecting is for tests in which several users connect at a time.
	connecting sync.Mutex
}

// newHost serves until the test ends, or stop is called.
func newHost(t testing.TB, change ...func(*Options)) *host {
	t.Helper()
	h := &host{t: t, m: newMemory(t), dir: filepath.Join(t.TempDir(), "run")}
	noError(t, os.Mkdir(h.dir, 0o755))
	h.files.group, h.files.passwd = filepath.Join(h.dir, "group"), filepath.Join(h.dir, "passwd")
	noError(t, os.WriteFile(h.files.group, []byte(groupText), 0o644))
	noError(t, os.WriteFile(h.files.passwd, []byte(passwdText), 0o644))
	opt := Options{
		Manager: h.m, Status: api.DaemonStatus{Pid: 42, Version: "test", Inst: "abcdef"},
		GroupFile: h.files.group, PasswdFile: h.files.passwd, Grace: time.Second,
	}
	for _, f := range change {
		f(&opt)
	}
	h.s = New(opt)
	h.s.identify = func(c net.Conn) (peer, error) {
		if uid := h.uid.Load(); uid >= 0 {
			return peer{uid: int(uid)}, nil
		}
		return peerOf(c)
	}
	l, err := Listen(h.dir)
	noError(t, err)
	h.socket = l.Path()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.s.Serve(ctx, l) }()
	h.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { noError(t, h.stop()) })
	return h
}

// as returns a client of its own for the uid; its connections are made at once
// and used again.
func (h *host) as(uid int) *api.Client {
	h.uid.Store(int64(uid))
	c := api.New(h.socket)
	h.t.Cleanup(c.Close)
	return c
}

// answer is an HTTP answer.
type answer struct {
	status int
	header http.Header
	body   string
	closed bool // the server said that it closes the connection
}

// ask makes one bare request on a connection of its own.
func (h *host) ask(uid int, method, path, body string, header ...string) answer {
	h.t.Helper()
	h.uid.Store(int64(uid))
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", h.socket)
		},
	}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(h.t.Context(), method, "http://x"+path, strings.NewReader(body))
	noError(h.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := tr.RoundTrip(req)
	noError(h.t, err, method, path)
	defer func() { _ = resp.Body.Close() }()
	a := answer{status: resp.StatusCode, header: resp.Header, closed: resp.Close}
	if resp.StatusCode != http.StatusSwitchingProtocols && resp.Header.Get("Content-Type") != "application/x-ndjson" {
		b, err := io.ReadAll(resp.Body)
		noError(h.t, err)
		a.body = string(b)
	}
	return a
}

// upgrade is the header of a request for a stream.
func upgrade() []string { return []string{"Connection", "Upgrade", "Upgrade", api.StreamProtocol} }

// info is a started sandbox of owner.
func (h *host) info(name string, owner int) sandbox.Info {
	return h.m.put(sandbox.Info{
		Name: name, Owner: owner, State: "started", Desired: "started", Created: time.Unix(1, 0), Pid: 77, UIDBase: 65536, Cgroup: "/c",
	})
}

// logTo makes the server log into b.
func logTo(b io.Writer) func(*Options) {
	return func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

// infoIn is a sandbox in a state.
func (h *host) infoIn(name string, owner int, state lifecycle.State) sandbox.Info {
	return sandbox.Info{Name: name, Owner: owner, State: state, Desired: state, Created: time.Unix(1, 0)}
}

func newContext(t testing.TB) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx, cancel
}
