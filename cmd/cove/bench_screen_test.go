package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/frame"
	"cove/runtime/lifecycle"
)

const (
	benchKeys = 300
	benchRows = 1000
)

// echoProgram sends back what it is sent, as a shell that edits its own line does.
func echoProgram() []string { return []string{"sh", "-c", "stty raw -echo; printf ready; exec cat"} }

// echo is how long a key takes to come back as an echo: from a program on a
// bare terminal, through the API, and by cove attach on a terminal.
func (k *bench) echo() {
	b := k.b
	k.r.in("attach")
	if err := k.createAndRun("echo", k.spec); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if _, err := k.c.Delete(k.ctx, "echo", true); err != nil {
			b.Error(err)
		}
	}()
	argv := echoProgram()
	bare := openScreen(b, exec.CommandContext(k.ctx, argv[0], argv[1:]...))
	defer bare.close()
	attach := func(session string) *streamEcho {
		s, err := k.c.Attach(k.ctx, "echo", api.AttachRequest{Session: session, Argv: argv, Cols: 120, Rows: 40, Term: "xterm"})
		if err != nil {
			b.Fatal(err)
		}
		return &streamEcho{stream: s}
	}
	through, made := attach("api"), attach("cli")
	defer through.stream.Close()
	if err := made.await("ready"); err != nil {
		b.Fatal(err)
	}
	_ = made.stream.Close() // the session stays, for cove attach to join
	cli := openScreen(b, k.h.direct(k.ctx, "attach", "echo", "--session", "cli"))
	defer cli.close()
	for _, e := range []interface{ await(string) error }{bare, cli, through} {
		if err := e.await("ready"); err != nil {
			b.Fatal(err)
		}
	}
	var bares, clis, apis []time.Duration
	for i := range benchKeys {
		key := string(rune('a' + i%26))
		bares = append(bares, timed(b, func() error { return bare.echo(key) }))
		apis = append(apis, timed(b, func() error { return through.echo(key) }))
		clis = append(clis, timed(b, func() error { return cli.echo(key) }))
	}
	base := k.r.times("bare terminal, key to echo", bares)
	for _, f := range []*figure{k.r.times("API, key to echo", apis), k.r.times("cove attach, key to echo", clis)} {
		f.over(base)
		f.budget(f.P99-base.P99, 1, "+1 ms p99")
	}
}

// streamEcho is an attach by the API.
type streamEcho struct{ stream *api.Stream }

func (s *streamEcho) echo(key string) error {
	if err := s.stream.Send(frame.Stdin, []byte(key)); err != nil {
		return err
	}
	return s.await(key)
}

func (s *streamEcho) await(text string) error {
	var got []byte
	for {
		t, p, err := s.stream.Next()
		if err != nil {
			return err
		}
		if t == frame.Stdout {
			if got = append(got, p...); bytes.Contains(got, []byte(text)) {
				return nil
			}
		}
	}
}

// bareScreen is a program on a terminal whose output is only looked through.
type bareScreen struct {
	b   *testing.B
	cmd *exec.Cmd
	pty *os.File
	buf []byte
}

func openScreen(b *testing.B, cmd *exec.Cmd) *bareScreen {
	b.Helper()
	if !slices.ContainsFunc(cmd.Env, func(kv string) bool { return len(kv) > 5 && kv[:5] == "TERM=" }) {
		cmd.Env = append(cmd.Environ(), "TERM=xterm-256color")
	}
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 120, Rows: 40})
	if err != nil {
		b.Fatal(err)
	}
	defer closeQuietly(f)
	// Package pty made reads of its file block for good, without deadlines.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		b.Fatal(err)
	}
	return &bareScreen{b: b, cmd: cmd, pty: os.NewFile(uintptr(fd), "terminal"), buf: make([]byte, 64<<10)}
}

func (s *bareScreen) close() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = s.pty.Close()
}

// read reads what there is, at the latest after a while.
func (s *bareScreen) read(limit time.Duration) ([]byte, error) {
	if err := s.pty.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	n, err := s.pty.Read(s.buf)
	return s.buf[:n], err
}

func (s *bareScreen) await(text string) error {
	var got []byte
	for !bytes.Contains(got, []byte(text)) {
		p, err := s.read(20 * time.Second)
		if err != nil {
			return fmt.Errorf("%q did not come: %w: %q", text, err, got)
		}
		got = append(got, p...)
	}
	return nil
}

func (s *bareScreen) echo(key string) error {
	if _, err := io.WriteString(s.pty, key); err != nil {
		return err
	}
	return s.await(key)
}

// quiet waits until nothing has come for a while.
func (s *bareScreen) quiet(d time.Duration) error {
	for begin := time.Now(); ; {
		p, err := s.read(d)
		if time.Since(begin) > 10*time.Second {
			return fmt.Errorf("the program does not come to rest: %q", p)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// screen is the TUI, the real program on a terminal, with a stand-in for the
// daemon that has a thousand sandboxes and their statistics each second.
func (k *bench) screen() {
	b := k.b
	k.r.in(fmt.Sprintf("TUI, %d rows", benchRows))
	d := newRowsDaemon(b)
	defer d.close()
	open := func() *bareScreen {
		cmd := k.h.direct(k.ctx)
		cmd.Env = append(slices.Clone(k.h.env), "COVE_RUN_DIR="+d.dir, "COVE_STATE_DIR="+filepath.Join(d.dir, "state"))
		return openScreen(b, cmd)
	}
	var firsts, keys []time.Duration
	for range benchRounds {
		var s *bareScreen
		firsts = append(firsts, timed(b, func() error { s = open(); return s.await("row-0001") }))
		s.close()
	}
	s := open()
	defer s.close()
	if err := s.await("row-0001"); err != nil {
		b.Fatal(err)
	}
	for len(keys) < benchKeys/2 {
		// At no moment that has to do with the frames of before.
		if err := s.quiet(40*time.Millisecond + rand.N(20*time.Millisecond)); err != nil {
			b.Fatal(err)
		}
		before := d.sent.Load()
		begin := time.Now()
		if _, err := io.WriteString(s.pty, "j"); err != nil {
			b.Fatal(err)
		}
		if _, err := s.read(time.Second); err != nil {
			b.Fatalf("no frame after a key: %v", err)
		}
		took := time.Since(begin)
		// Not what statistics drew.
		if d.sent.Load() == before && time.Since(time.Unix(0, before)) > 100*time.Millisecond {
			keys = append(keys, took)
		}
	}
	k.r.times("start to first frame with rows", firsts).within(60)
	f := k.r.times("key to frame", keys)
	if f.budget(f.Median, 17, "p50 17 ms, p99 35 ms"); f.P99 > 35 {
		no := false
		f.Met = &no
	}
}

// rowsDaemon answers as a daemon with many sandboxes does.
type rowsDaemon struct {
	dir  string
	srv  *http.Server
	wg   sync.WaitGroup
	sent atomic.Int64 // when the last statistics went out
}

func newRowsDaemon(b *testing.B) *rowsDaemon {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cove-rows-")
	if err != nil {
		b.Fatal(err)
	}
	d := &rowsDaemon{dir: dir}
	l, err := net.Listen("unix", filepath.Join(dir, api.SocketName))
	if err != nil {
		b.Fatal(err)
	}
	var boxes []api.Sandbox
	var stats []api.Stats
	now := time.Now().UTC()
	for i := range benchRows {
		id, name := fmt.Sprintf("%012x", i), fmt.Sprintf("row-%04d", i)
		boxes = append(boxes, api.Sandbox{ID: id, Name: name, State: lifecycle.Started, Desired: lifecycle.Started, Profile: "python", Image: "host", Created: now, Started: &now})
		stats = append(stats, api.Stats{ID: id, Name: name, MemoryLimit: 4 << 30, Pids: 3, PidsLimit: 4096, Active: now})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/version", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, api.DaemonStatus{Pid: os.Getpid(), Version: programVersion(), Sandboxes: len(boxes), Started: now})
	})
	mux.HandleFunc("GET /v1/sandboxes", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, boxes) })
	stream := func(every time.Duration, line func(n int) any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := 0; ; n++ {
				if json.NewEncoder(w).Encode(line(n)) != nil || rc.Flush() != nil {
					return
				}
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		}
	}
	mux.HandleFunc("GET /v1/events", stream(api.PingInterval, func(n int) any {
		if n > 0 {
			return api.Event{Type: api.EventPing, Time: time.Now().UTC()}
		}
		return api.Event{Type: api.EventSnapshot, Cursor: api.Cursor{Epoch: "feed", Seq: 1}, Time: now, Sandboxes: boxes}
	}))
	mux.HandleFunc("GET /v1/stats", stream(api.StatsInterval, func(n int) any {
		d.sent.Store(time.Now().UnixNano())
		s := slices.Clone(stats)
		for i := range s {
			s[i].CPU, s[i].Memory = float64((n+i)%100)/100, int64(i+n)<<20
		}
		return api.StatsReport{Time: time.Now().UTC(), Sandboxes: s}
	}))
	d.srv = &http.Server{ReadHeaderTimeout: time.Minute, Handler: mux}
	d.wg.Go(func() { _ = d.srv.Serve(l) })
	return d
}

func (d *rowsDaemon) close() {
	_ = d.srv.Close()
	d.wg.Wait()
	_ = os.RemoveAll(d.dir)
}
