package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

// run runs a shell command and returns what it wrote.
func (s *sandbox) run(tb testing.TB, req guest.Request, script string) (status frame.ExitStatus, stdout, stderr string) {
	tb.Helper()
	if req.Argv == nil {
		req.Argv = []string{"sh", "-c", script}
	}
	var out, errs bytes.Buffer
	status, err := s.Run(testContext(tb), req, nil, &out, &errs)
	if err != nil {
		tb.Fatalf("run %q: %v", script, err)
	}
	return status, out.String(), errs.String()
}

func TestExec(t *testing.T) {
	s := newSandbox(t)
	for _, tt := range []struct {
		name   string
		req    guest.Request
		script string
		status frame.ExitStatus
		stdout string
		stderr string
	}{
		{name: "streams apart", script: "echo out; echo err >&2; exit 3", status: frame.ExitStatus{Code: 3}, stdout: "out\n", stderr: "err\n"},
		{name: "killed", script: "kill -TERM $$", status: frame.ExitStatus{Code: 143, Signal: 15}},
		{name: "default user, directory and environment", script: "id -un; pwd; echo $HOME $USER $LOGNAME $SHELL $GREETING; id -G",
			stdout: "dev\n/mnt/work/deep\n/mnt/dev dev dev /bin/bash hello\n1000 5 2000\n"},
		{name: "default directory belongs to the user", script: "touch x && rm x; stat -c %U . ..", stdout: "dev\nroot\n"},
		{name: "root", req: guest.Request{User: "root", Dir: "/"}, script: "id -u; pwd; echo $HOME", stdout: "0\n/\n/root\n"},
		{name: "number", req: guest.Request{User: "4242"}, script: "id -u; id -g; id -G; echo $HOME", stdout: "4242\n0\n0\n/\n"},
		{name: "number and group", req: guest.Request{User: "4242:build"}, script: "id -u; id -G", stdout: "4242\n2000\n"},
		{name: "name and group", req: guest.Request{User: "dev:77"}, script: "id -un; id -G", stdout: "dev\n77\n"},
		{name: "request over defaults", req: guest.Request{Env: map[string]string{"GREETING": "bye", "HOME": "/h"}}, script: "echo $GREETING $HOME", stdout: "bye /h\n"},
		{name: "stdin is null", script: "cat; readlink /proc/self/fd/0", stdout: "/dev/null\n"},
		{name: "no descriptors left open", script: "ls -l /proc/self/fd | grep -c -- '->'", stdout: "4\n"}, // 0, 1, 2 and the listing's own
		{name: "signals as by default", script: "sed -nE '/^Sig(Blk|Ign|Cgt)/p' /proc/self/status", stdout: "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n"},
		{name: "own session", script: "test $(ps -o sid= -p $$) -eq $$ && echo yes", stdout: "yes\n"},
		{name: "dies first when memory is short", script: "a=$(cat /proc/self/oom_score_adj); sleep 0.02; echo $((a - $(cat /proc/1/oom_score_adj)))", stdout: "500\n"},
		{name: "so do those under a time limit", req: guest.Request{Timeout: time.Minute}, script: "a=$(cat /proc/self/oom_score_adj); sleep 0.02; echo $((a - $(cat /proc/1/oom_score_adj)))", stdout: "500\n"},
		{name: "umask", script: "umask", stdout: "0022\n"},
		{name: "host name", script: "uname -n", stdout: "box\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out, errs := s.run(t, tt.req, tt.script)
			if status != tt.status || out != tt.stdout || errs != tt.stderr {
				t.Errorf("got %+v\nstdout %q\nstderr %q\nwant %+v\nstdout %q\nstderr %q", status, out, errs, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestExecFails(t *testing.T) {
	s := newSandbox(t)
	s.run(t, guest.Request{User: "root"}, "printf '#!/nowhere/sh\\n' > /mnt/bad; printf 'text' > /mnt/text; printf x > /mnt/plain; chmod 755 /mnt/bad /mnt/text; mkdir -m 700 /mnt/closed")
	for _, tt := range []struct {
		name string
		req  guest.Request
		code int
		text string
	}{
		{"not on PATH", guest.Request{Argv: []string{"nonesuch"}}, 127, "executable not found: nonesuch"},
		{"no such file", guest.Request{Argv: []string{"/mnt/nonesuch"}}, 127, "executable not found: /mnt/nonesuch"},
		{"not executable", guest.Request{Argv: []string{"/mnt/plain"}}, 126, "permission denied"},
		{"a directory", guest.Request{Argv: []string{"/mnt"}}, 126, "permission denied"},
		{"no interpreter", guest.Request{Argv: []string{"/mnt/bad"}}, 126, "interpreter"},
		{"no program", guest.Request{Argv: []string{"/mnt/text"}}, 126, "exec format error"},
		{"no directory", guest.Request{Argv: []string{"true"}, Dir: "/mnt/nonesuch"}, 126, "/mnt/nonesuch does not exist"},
		{"closed directory", guest.Request{Argv: []string{"true"}, Dir: "/mnt/closed"}, 126, "/mnt/closed: permission denied"},
		{"file for a directory", guest.Request{Argv: []string{"true"}, Dir: "/mnt/plain"}, 126, "is not a directory"},
		{"no such user", guest.Request{Argv: []string{"true"}, User: "nonesuch"}, 126, "user nonesuch does not exist"},
		{"no such group", guest.Request{Argv: []string{"true"}, User: "dev:nonesuch"}, 126, "group nonesuch does not exist"},
		{"user outside of the sandbox", guest.Request{Argv: []string{"true"}, User: "65536"}, 126, "cannot exist"},
		{"no terminal for nobody", guest.Request{Argv: []string{"nonesuch"}, TTY: true}, 127, "executable not found"},
		{"under a time limit", guest.Request{Argv: []string{"nonesuch"}, Timeout: time.Minute}, 127, "executable not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, _, _ := s.run(t, tt.req, "")
			if status.Code != tt.code || !strings.Contains(status.Error, tt.text) {
				t.Errorf("got %+v, want code %d and %q", status, tt.code, tt.text)
			}
		})
	}
	if _, err := s.Run(testContext(t), guest.Request{}, nil, nil, nil); !errors.Is(err, guest.ErrInvalid) {
		t.Errorf("no command: got %v, want ErrInvalid", err)
	}
}

// pattern is a reader of n bytes that are all different places apart.
type pattern struct{ at, n int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.n-p.at)]
	for i := range b {
		x := uint64(p.at+int64(i)) >> 3 * 0x9e3779b97f4a7c15
		b[i] = byte(x >> (8 * (uint64(p.at+int64(i)) & 7)))
	}
	p.at += int64(len(b))
	return len(b), nil
}

func TestExecEcho(t *testing.T) {
	s := newSandbox(t)
	size := int64(256 << 20)
	if raceEnabled || testing.Short() {
		size = 32 << 20
	}
	want := sha256.New()
	if _, err := io.Copy(want, &pattern{n: size}); err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	begin := time.Now()
	status, err := s.Run(testContext(t), guest.Request{Argv: []string{"cat"}}, &pattern{n: size}, got, nil)
	if err != nil || status.Code != 0 {
		t.Fatalf("cat: %+v, %v", status, err)
	}
	if !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
		t.Error("what came back is not what was sent")
	}
	t.Logf("%d MiB in %v", size>>20, time.Since(begin))
}

func TestExecStdin(t *testing.T) {
	s := newSandbox(t)
	t.Run("program that takes a part", func(t *testing.T) {
		var out bytes.Buffer
		status, err := s.Run(testContext(t), guest.Request{Argv: []string{"head", "-c", "5"}}, &pattern{n: 8 << 20}, &out, nil)
		if err != nil || status.Code != 0 || out.Len() != 5 {
			t.Errorf("got %+v, %v, %d bytes", status, err, out.Len())
		}
	})
	t.Run("program that takes nothing", func(t *testing.T) {
		status, err := s.Run(testContext(t), guest.Request{Argv: []string{"sleep", "0.2"}}, &pattern{n: 8 << 20}, nil, nil)
		if err != nil || status.Code != 0 {
			t.Errorf("got %+v, %v", status, err)
		}
	})
	t.Run("signals overtake stdin", func(t *testing.T) {
		st, err := s.Open(testContext(t), guest.Request{Kind: guest.Exec, Argv: []string{"sleep", "100"}, Stdin: true})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		status := pumpThen(t, st, func(c *frame.Conn) {
			// As much as the window allows: four times what the pipe holds.
			if err := c.WriteStdin(make([]byte, frame.StdinWindow)); err != nil {
				t.Error(err)
			}
			if err := c.Signal(int(unix.SIGINT)); err != nil {
				t.Error(err)
			}
		})
		if status.Signal != int(unix.SIGINT) {
			t.Errorf("got %+v", status)
		}
	})
}

// pumpThen pumps a stream, by way of a relay, and does f once the program runs.
func pumpThen(tb testing.TB, st *guest.Stream, f func(*frame.Conn)) frame.ExitStatus {
	tb.Helper()
	client, server := pipePair(tb)
	relayed := make(chan error, 1)
	go func() {
		_, err := guest.Relay(testContext(tb), server, st, nil)
		relayed <- err
	}()
	c := frame.NewConn(client)
	status, err := c.Pump(frame.Streams{Started: func(frame.StartedInfo) { go f(c) }})
	if err != nil {
		tb.Errorf("pump: %v", err)
	}
	if err := <-relayed; err != nil {
		tb.Errorf("relay: %v", err)
	}
	return status
}

func TestExecSignalsGroup(t *testing.T) {
	s := newSandbox(t)
	st, err := s.Open(testContext(t), guest.Request{Kind: guest.Exec, Argv: []string{"sh", "-c", "trap 'exit 7' USR1; sleep 100 & wait"}})
	if err != nil {
		t.Fatal(err)
	}
	status := pumpThen(t, st, func(c *frame.Conn) {
		// Until the trap is set the signal ends the shell.
		for s.count(t, "sleep 100") == 0 {
		}
		_ = c.Signal(int(unix.SIGUSR1))
	})
	if status.Code != 7 {
		t.Errorf("got %+v, want the trap's 7", status)
	}
	s.waitGone(t, "sleep 100")
}

// count returns how many processes have a command line that contains text.
func (s *sandbox) count(tb testing.TB, text string) int {
	tb.Helper()
	// The text is split so that the counting itself does not match.
	script := fmt.Sprintf("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0\\n' '  ' | grep -o -- '%s[%s]%s' | wc -l", text[:1], text[1:2], text[2:])
	_, out, _ := s.run(tb, guest.Request{User: "root", Dir: "/"}, script)
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		tb.Fatalf("count: %q", out)
	}
	return n
}

func (s *sandbox) waitGone(tb testing.TB, text string) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); s.count(tb, text) > 0; {
		if time.Now().After(deadline) {
			tb.Fatalf("%q still runs", text)
		}
	}
}

func TestExecLostConnection(t *testing.T) {
	s := newSandbox(t)
	ctx, cancel := context.WithCancel(testContext(t))
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.Run(ctx, guest.Request{Argv: []string{"sh", "-c", "trap 'echo HUP > /mnt/dev/hup; exit' HUP; echo ready; while :; do echo more; sleep 0.01; done"}}, nil, w, nil)
		_ = w.Close()
		done <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, len("ready"))); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, out, _ := s.run(t, guest.Request{}, "cat /mnt/dev/hup 2>/dev/null"); out == "HUP\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the program got no SIGHUP")
		}
	}
}

// TestExecBackground: what a program leaves behind neither holds its stream nor
// is killed by writing to it.
func TestExecBackground(t *testing.T) {
	s := newSandbox(t)
	begin := time.Now()
	status, out, _ := s.run(t, guest.Request{}, "(sleep 0.3; echo late; echo late; echo survived > /mnt/dev/bg) & seq 1 20000; echo done")
	if status.Code != 0 || !strings.HasSuffix(out, "20000\ndone\n") || !strings.HasPrefix(out, "1\n2\n") {
		t.Errorf("got %+v, ...%q", status, out[max(0, len(out)-30):])
	}
	if took := time.Since(begin); took > 250*time.Millisecond && !raceEnabled {
		t.Errorf("it took %v: the background process held the stream", took)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, out, _ := s.run(t, guest.Request{}, "cat /mnt/dev/bg 2>/dev/null"); out == "survived\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the background process did not survive")
		}
	}
}

func TestExecTimeout(t *testing.T) {
	s := newSandbox(t)
	t.Run("in time", func(t *testing.T) {
		status, out, errs := s.run(t, guest.Request{Timeout: time.Minute}, "echo out; echo err >&2; id -un; exit 5")
		if status.Code != 5 || out != "out\ndev\n" || errs != "err\n" {
			t.Errorf("got %+v, %q, %q", status, out, errs)
		}
	})
	t.Run("kills all that was started", func(t *testing.T) {
		// A child, a daemon by two forks and setsid, one that ignores
		// signals, and one that keeps forking.
		script := `sleep 4711 & (setsid setsid sleep 4711 &) ; (trap '' TERM HUP INT; sleep 4711) & setsid sh -c 'while :; do sleep 4711 & sleep 0.01; done' & wait`
		begin := time.Now()
		status, _, _ := s.run(t, guest.Request{Timeout: 400 * time.Millisecond}, script)
		if status.Code != guest.CodeTimeout || status.Reason != frame.ReasonTimeout {
			t.Errorf("got %+v", status)
		}
		if n := s.count(t, "sleep 4711"); n != 0 {
			t.Errorf("%d processes survived", n)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("leaves what an early end leaves", func(t *testing.T) {
		status, _, _ := s.run(t, guest.Request{Timeout: time.Minute}, "setsid sleep 4712 & sleep 0.1")
		if status.Code != 0 || s.count(t, "sleep 4712") != 1 {
			t.Errorf("got %+v and %d processes", status, s.count(t, "sleep 4712"))
		}
	})
	t.Run("signals reach the program", func(t *testing.T) {
		st, err := s.Open(testContext(t), guest.Request{Kind: guest.Exec, Argv: []string{"sleep", "100"}, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		status := pumpThen(t, st, func(c *frame.Conn) { _ = c.Signal(int(unix.SIGTERM)) })
		if status.Signal != int(unix.SIGTERM) {
			t.Errorf("got %+v", status)
		}
	})
	t.Run("on a terminal", func(t *testing.T) {
		status, out, _ := s.run(t, guest.Request{Timeout: 300 * time.Millisecond, TTY: true}, "tty >/dev/null && echo on a tty; sleep 4713")
		if status.Reason != frame.ReasonTimeout || !strings.Contains(out, "on a tty") || s.count(t, "sleep 4713") != 0 {
			t.Errorf("got %+v, %q", status, out)
		}
	})
	t.Run("supervisor killed", func(t *testing.T) {
		script := `sleep 4714 & sleep 0.2; for p in /proc/[0-9]*; do case "$(cat $p/comm 2>/dev/null)" in exe|cove-init) test ${p#/proc/} != 1 && kill -9 ${p#/proc/};; esac; done; wait`
		status, _, _ := s.run(t, guest.Request{Timeout: time.Minute, User: "root", Dir: "/"}, script)
		if status.Signal != int(unix.SIGKILL) {
			t.Errorf("got %+v", status)
		}
		s.waitGone(t, "sleep 4714")
	})
	t.Run("no supervisors stay", func(t *testing.T) {
		s.waitGone(t, superviseArg)
	})
}

func TestExecTTY(t *testing.T) {
	s := newSandbox(t)
	status, out, _ := s.run(t, guest.Request{TTY: true, Cols: 91, Rows: 33, Term: "vt220"}, "stty size; echo $TERM; tty; ls -l $(tty) | cut -d' ' -f3; ps -o tty= -p $$; exit 4")
	want := "33 91\r\nvt220\r\n/dev/pts/0\r\ndev\r\npts/0\r\n"
	if status.Code != 4 || out != want {
		t.Errorf("got %+v, %q, want %q", status, out, want)
	}
	t.Run("ends with its connection", func(t *testing.T) {
		st, err := s.Open(testContext(t), guest.Request{Kind: guest.Exec, TTY: true, Argv: []string{"sh", "-c", "sleep 4715 & sleep 4715"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		s.waitGone(t, "sleep 4715")
	})
	for in, want := range map[string]string{"line\n": "line\r\nline\r\n", "no line": "no lineno line"} {
		t.Run("end of input after "+in, func(t *testing.T) {
			var out bytes.Buffer
			status, err := s.Run(testContext(t), guest.Request{TTY: true, Argv: []string{"cat"}}, strings.NewReader(in), &out, nil)
			if got := strings.NewReplacer("^D", "", "\b", "").Replace(out.String()); err != nil || status.Code != 0 || got != want {
				t.Errorf("got %+v, %v, %q", status, err, out.String())
			}
		})
	}
}

func TestParallelExecs(t *testing.T) {
	s := newSandbox(t)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			var out bytes.Buffer
			status, err := s.Run(testContext(t), guest.Request{Argv: []string{"sh", "-c", fmt.Sprintf("cat; exit %d", i)}},
				strings.NewReader(strings.Repeat(strconv.Itoa(i)+"\n", 1000)), &out, nil)
			if err != nil || status.Code != i || out.String() != strings.Repeat(strconv.Itoa(i)+"\n", 1000) {
				t.Errorf("%d: %+v, %v, %d bytes", i, status, err, out.Len())
			}
		})
	}
	wg.Wait()
}

func TestReapsOrphans(t *testing.T) {
	s := newSandbox(t)
	s.run(t, guest.Request{}, "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 0.05; exit 1' &) ; done")
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, out, _ := s.run(t, guest.Request{}, "ps -eo stat=,args= | grep -E '^Z|sleep 0.0[5]' | wc -l")
		if out == "0\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("zombies: %s", out)
		}
	}
}

func TestHardening(t *testing.T) {
	s := newSandbox(t)
	root := guest.Request{User: "root", Dir: "/"}
	if _, out, _ := s.run(t, root, "ls /proc/1/fd 2>&1; cat /proc/1/environ 2>&1; readlink /proc/1/exe 2>&1"); strings.Contains(out, "socket") {
		// In these namespaces root has CAP_SYS_PTRACE, which the sandbox's has not; so it is not asserted that it fails.
		t.Logf("as root: %s", out)
	}
	if status, out, _ := s.run(t, guest.Request{}, "ls /proc/1/fd"); status.Code == 0 {
		t.Errorf("a user lists PID 1's descriptors: %q", out)
	}
	// Stray signals do not end PID 1.
	s.run(t, root, "for s in HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS; do kill -$s 1; done")
	if _, err := s.Ping(testContext(t)); err != nil {
		t.Errorf("after signals: %v", err)
	}
}
