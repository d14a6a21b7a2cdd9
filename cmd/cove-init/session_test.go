package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

// viewerClient is an attached client, by way of a relay as in the daemon.
type viewerClient struct {
	tb      testing.TB
	conn    *frame.Conn
	stream  *guest.Stream
	started frame.StartedInfo
	ended   chan struct{}
	status  frame.ExitStatus
	err     error
	cut     func()

	mu  sync.Mutex
	out bytes.Buffer
	new chan struct{}
}

func (s *sandbox) attach(tb testing.TB, req guest.Request) *viewerClient {
	tb.Helper()
	req.Kind = guest.Attach
	st, err := s.Open(testContext(tb), req)
	if err != nil {
		tb.Fatalf("attach: %v", err)
	}
	if st.Failed != nil {
		tb.Fatalf("attach: %+v", st.Failed)
	}
	client, server := pipePair(tb)
	c := &viewerClient{tb: tb, conn: frame.NewConn(client), stream: st, started: st.Started, ended: make(chan struct{}), new: make(chan struct{}, 1)}
	c.cut = func() { _ = client.Close() }
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		_, _ = guest.Relay(testContext(tb), server, st, nil)
	}()
	go func() {
		defer close(c.ended)
		c.status, c.err = c.conn.Pump(frame.Streams{Stdout: c})
	}()
	tb.Cleanup(func() {
		c.cut()
		<-c.ended
		<-relayed
	})
	return c
}

func (c *viewerClient) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Write(p)
	select {
	case c.new <- struct{}{}:
	default:
	}
	return len(p), nil
}

// waitFor waits until the output contains text, and returns it and forgets it.
func (c *viewerClient) waitFor(text string) string {
	c.tb.Helper()
	deadline := time.After(time.Minute)
	for {
		c.mu.Lock()
		out := c.out.String()
		if i := strings.Index(out, text); i >= 0 {
			c.out.Next(i + len(text))
			c.mu.Unlock()
			return out[:i+len(text)]
		}
		c.mu.Unlock()
		select {
		case <-c.new:
		case <-c.ended:
			c.tb.Fatalf("ended (%+v, %v) without %q in %q", c.status, c.err, text, out)
		case <-deadline:
			c.tb.Fatalf("no %q in %q", text, out)
		}
	}
}

func (c *viewerClient) typeKeys(keys string) {
	c.tb.Helper()
	if err := c.conn.WriteStdin([]byte(keys)); err != nil {
		c.tb.Fatalf("type %q: %v", keys, err)
	}
}

func (c *viewerClient) waitEnd() frame.ExitStatus {
	c.tb.Helper()
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		c.tb.Fatal("the stream does not end")
	}
	if c.err != nil {
		c.tb.Fatalf("ended with %v", c.err)
	}
	return c.status
}

func (c *viewerClient) detach() {
	c.cut()
	<-c.ended
}

func TestSession(t *testing.T) {
	s := newSandbox(t)
	a := s.attach(t, guest.Request{Cols: 80, Rows: 24, Term: "xterm", Argv: []string{"bash", "--norc"}})
	if !a.started.Created || a.started.Session != "main" || a.started.Pid == 0 || a.started.Seq != 0 {
		t.Errorf("started %+v", a.started)
	}
	a.typeKeys("x=forty-two; echo $((6*7))\r")
	a.waitFor("42\r\n")
	a.detach()

	b := s.attach(t, guest.Request{Cols: 80, Rows: 24})
	if b.started.Created || b.started.Pid != a.started.Pid || b.started.Seq == 0 {
		t.Errorf("started %+v after %+v", b.started, a.started)
	}
	past := b.waitFor("42\r\n")
	if !strings.Contains(past, "\x1b[2J") || !strings.Contains(past, "$ x=forty-two; echo") {
		t.Errorf("redraw %q", past)
	}
	b.typeKeys("echo =$x=\r")
	b.waitFor("=forty-two=")

	list, err := s.Sessions(testContext(t))
	if err != nil || len(list) != 1 || list[0].Name != "main" || list[0].Clients != 1 || list[0].Command[0] != "bash" || list[0].Cols != 80 {
		t.Errorf("list: %+v, %v", list, err)
	}
	b.typeKeys("exit 9\r")
	if st := b.waitEnd(); st.Code != 9 {
		t.Errorf("ended with %+v", st)
	}
	for {
		list, err := s.Sessions(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
	}
	c := s.attach(t, guest.Request{Argv: []string{"true"}})
	if !c.started.Created {
		t.Error("the session that ended was joined")
	}
}

func TestSessionDefaultShell(t *testing.T) {
	s := newSandbox(t)
	a := s.attach(t, guest.Request{Session: "other", Cols: 80, Rows: 24})
	a.typeKeys("echo $0 $PWD $TERM; tty\r")
	a.waitFor("/bin/bash /mnt/work/deep xterm-256color\r\n/dev/pts/0")
}

func TestSessionSizes(t *testing.T) {
	s := newSandbox(t)
	a := s.attach(t, guest.Request{Cols: 100, Rows: 30, Argv: []string{"bash", "--norc"}})
	size := func(c *viewerClient, want string) {
		t.Helper()
		c.typeKeys("stty size\r")
		c.waitFor(want + "\r\n")
	}
	size(a, "30 100")
	b := s.attach(t, guest.Request{Cols: 90, Rows: 20})
	size(b, "20 90")
	size(a, "30 100") // who types decides
	if err := b.conn.Resize(70, 10); err != nil {
		t.Fatal(err)
	}
	b.waitFor("30 100")
	size(b, "10 70")
}

func TestSessionSeveralClients(t *testing.T) {
	s := newSandbox(t)
	a := s.attach(t, guest.Request{Cols: 80, Rows: 24, Argv: []string{"cat"}})
	b := s.attach(t, guest.Request{Cols: 80, Rows: 24})
	a.typeKeys("from a\r")
	b.waitFor("from a\r\nfrom a\r\n")
	b.typeKeys("from b\r")
	a.waitFor("from b\r\nfrom b\r\n")
	b.typeKeys("\x04")
	if st := a.waitEnd(); st.Code != 0 {
		t.Errorf("a ended with %+v", st)
	}
	if st := b.waitEnd(); st.Code != 0 {
		t.Errorf("b ended with %+v", st)
	}
}

// TestSessionNoByteLost: what a client sees in its redraw and live stream is one
// piece, wherever in the output it joined.
func TestSessionNoByteLost(t *testing.T) {
	s := newSandbox(t)
	a := s.attach(t, guest.Request{Cols: 80, Rows: 24, Argv: []string{"sh", "-c", "read x; seq -f 'line %.0f.' 1 20000; echo end; cat"}})
	a.typeKeys("\r")
	for i := range 20 {
		b := s.attach(t, guest.Request{Session: "main", Cols: 80, Rows: 24})
		out := b.waitFor(".\r\n")
		for strings.Count(out, "\n") < 200 && !strings.Contains(out, "end\r\n") {
			out += b.waitFor("\r\n")
		}
		b.detach()
		// What the redraw ends with lies wherever the client joined.
		out = regexp.MustCompile(`\x1b[()\[][^a-zA-Z]*[a-zA-Z]|\x0f`).ReplaceAllString(out, "")
		var last int
		for l := range strings.SplitSeq(out, "\r\n") {
			var n int
			if _, err := fmt.Sscanf(l[max(0, strings.Index(l, "line")):], "line %d.", &n); err != nil {
				continue
			}
			if last != 0 && n != last+1 {
				t.Fatalf("attach %d: line %d after %d", i, n, last)
			}
			last = n
		}
	}
	all := a.waitFor("end\r\n")
	if want := 20000 + 1; strings.Count(all, "\r\n") < want {
		t.Errorf("the first client saw %d lines of %d", strings.Count(all, "\r\n"), want)
	}
}

func TestSessionFullScreen(t *testing.T) {
	for _, tt := range []struct {
		name      string
		argv      []string
		shown     string
		keys      string
		mustAlt   bool
		afterQuit string
	}{
		{name: "less", argv: []string{"bash", "--norc", "-c", "echo before; seq 1 500 > /mnt/dev/f; less /mnt/dev/f; echo after; cat"}, shown: "\r\n22\r\n", keys: "q", mustAlt: true},
		{name: "vim", argv: []string{"bash", "--norc", "-c", "echo before; printf 'alpha\\nomega\\n' > /mnt/dev/v; vim -u NONE -N --cmd \"set t_RV= t_u7=\" /mnt/dev/v; echo after; cat"}, shown: "omega", keys: ":q!\r", mustAlt: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSandbox(t)
			a := s.attach(t, guest.Request{Cols: 80, Rows: 24, Argv: tt.argv, Env: map[string]string{"LESSHISTFILE": "-"}, Term: "xterm"})
			a.waitFor(tt.shown)
			a.detach()
			for _, size := range [][2]int{{80, 24}, {80, 24}, {100, 30}} {
				b := s.attach(t, guest.Request{Cols: size[0], Rows: size[1]})
				past := b.waitFor("\x1b[?1049h")
				if !strings.Contains(past, "before") {
					t.Errorf("the main screen below is not restored: %q", past)
				}
				b.waitFor(tt.shown)
				// The real size is what stays.
				deadline := time.Now().Add(30 * time.Second)
				for {
					_, out, _ := s.run(t, guest.Request{User: "root", Dir: "/"}, fmt.Sprintf("stty size < /proc/%d/fd/0", b.started.Pid))
					if out == fmt.Sprintf("%d %d\n", size[1], size[0]) {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("size %q, want %v", out, size)
					}
				}
				b.detach()
			}
			b := s.attach(t, guest.Request{Cols: 100, Rows: 30})
			b.waitFor(tt.shown)
			b.typeKeys(tt.keys)
			b.waitFor("\x1b[?1049l")
			b.waitFor("after")
		})
	}
}

// TestSessionStalledClient: one that does not read is left behind by the others.
func TestSessionStalledClient(t *testing.T) {
	s := newSandbox(t)
	a := s.attach(t, guest.Request{Cols: 80, Rows: 24, Argv: []string{"sh", "-c", "read x; yes 0123456789 | head -c 20000000; echo; echo finished; cat"}})
	stalled, err := s.Open(testContext(t), guest.Request{Kind: guest.Attach})
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	begin := time.Now()
	a.typeKeys("\r")
	a.waitFor("finished")
	t.Logf("20 MB beside a stalled client: %v", time.Since(begin))
	list, err := s.Sessions(testContext(t))
	if err != nil || len(list) != 1 || list[0].Clients != 1 {
		t.Errorf("the stalled client is still there: %+v, %v", list, err)
	}
	// It comes back and is shown where things are.
	b := s.attach(t, guest.Request{Cols: 80, Rows: 24})
	b.waitFor("finished")
}

func TestSessionSignals(t *testing.T) {
	s := newSandbox(t)
	a := s.attach(t, guest.Request{Cols: 80, Rows: 24, Argv: []string{"bash", "--norc"}})
	a.waitFor("$ ")
	a.typeKeys("sleep 4720; echo status $?\r")
	for s.count(t, "sleep 4720") < 1 {
	}
	if err := a.conn.Signal(int(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	a.waitFor("status 143")
	// A hang-up by hand ends the session. bash looks for signals before it reads
	// the next key, and sees one that comes in between only with that key.
	a.typeKeys("exec sleep 4721\r")
	for s.count(t, "sleep 4721") < 1 {
	}
	if err := a.conn.Signal(int(unix.SIGHUP)); err != nil {
		t.Fatal(err)
	}
	if st := a.waitEnd(); st.Signal != int(unix.SIGHUP) {
		t.Errorf("ended with %+v", st)
	}
}

func TestSessionLimit(t *testing.T) {
	s := newSandbox(t)
	var last *guest.Stream
	for i := range guest.MaxSessions + 1 {
		st, err := s.Open(testContext(t), guest.Request{Kind: guest.Attach, Session: fmt.Sprint("s", i), Argv: []string{"cat"}})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		last = st
	}
	if last.Failed == nil || !strings.Contains(last.Failed.Error, "sessions already") {
		t.Errorf("one too many: %+v", last.Failed)
	}
	list, err := s.Sessions(testContext(t))
	if err != nil || len(list) != guest.MaxSessions {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

func TestShutdown(t *testing.T) {
	for _, tt := range []struct {
		name        string
		script      string
		tty         bool
		timeout     time.Duration
		least, most time.Duration
	}{
		{name: "sleep", script: "exec sleep 1000", timeout: 5 * time.Second, most: 2 * time.Second},
		{name: "shell on a terminal", script: "exec bash --norc -i", tty: true, timeout: 5 * time.Second, most: 4 * time.Second},
		{name: "stopped", script: "sleep 1000 & kill -STOP $!; wait", timeout: 5 * time.Second, most: 4 * time.Second},
		{name: "daemons", script: "setsid sleep 1000 & setsid sleep 1000 & wait", timeout: 5 * time.Second, most: 4 * time.Second},
		{name: "stubborn", script: "trap '' TERM HUP; while :; do sleep 1000; done", timeout: 300 * time.Millisecond, least: 300 * time.Millisecond, most: 2 * time.Second},
		{name: "under a time limit", script: "TIMED", timeout: 5 * time.Second, most: 4 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSandbox(t)
			req := guest.Request{Kind: guest.Exec, Argv: []string{"sh", "-c", tt.script}, TTY: tt.tty}
			if tt.script == "TIMED" {
				req.Argv, req.Timeout = []string{"sleep", "1000"}, time.Hour
			}
			st, err := s.Open(testContext(t), req)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			want := "sleep 1000"
			if tt.tty {
				want = "bash --norc -i"
			}
			for s.count(t, want) == 0 {
			}
			begin := time.Now()
			if err := s.Shutdown(testContext(t), tt.timeout); err != nil {
				t.Fatal(err)
			}
			took := time.Since(begin)
			t.Logf("took %v", took)
			if took < tt.least || took > tt.most && !raceEnabled {
				t.Errorf("it took %v, want %v to %v", took, tt.least, tt.most)
			}
			select {
			case <-s.exited:
			case <-time.After(30 * time.Second):
				t.Fatal("PID 1 did not end")
			}
			if code := s.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("PID 1 ended with %d\n%s", code, s.stderr)
			}
		})
	}
}

func TestTermination(t *testing.T) {
	s := newSandbox(t)
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		t.Fatal("SIGTERM did not end PID 1")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("PID 1 ended with %d", code)
	}
}

// TestSessionIdle: a session is idle while its shell waits, and never where its
// program was asked for by name.
func TestSessionIdle(t *testing.T) {
	s := newSandbox(t)
	shell := s.attach(t, guest.Request{Cols: 80, Rows: 24})
	named := s.attach(t, guest.Request{Session: "named", Cols: 80, Rows: 24, Argv: []string{"cat"}})
	expect := func(when string, want bool) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for {
			list, err := s.Sessions(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, x := range list {
				got[x.Name] = x.Idle
			}
			if got["named"] {
				t.Fatalf("%s: a program that waits for its user is idle", when)
			}
			if got["main"] == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: idle %v", when, got["main"])
			}
			time.Sleep(time.Millisecond)
		}
	}
	shell.typeKeys("echo $((40+2))\r")
	shell.waitFor("42")
	expect("at the prompt", true)
	shell.typeKeys("echo $((40+3)); cat\r")
	shell.waitFor("43")
	expect("with a program in the foreground", false)
	shell.detach()
	expect("detached", false)
	back := s.attach(t, guest.Request{Session: "main", Cols: 80, Rows: 24})
	back.typeKeys("\x04")
	expect("after the program's end", true)
	back.typeKeys("cat | cat &\r")
	back.waitFor("cat &")
	expect("with a program in the background", true)
	named.detach()
}
