package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/frame"
)

// How a program ends is how we end.
func TestExecOutcomes(t *testing.T) {
	for _, c := range []struct {
		name   string
		st     frame.ExitStatus
		args   []string
		status int
		line   string
	}{
		{"done", frame.ExitStatus{}, nil, 0, ""},
		{"status", frame.ExitStatus{Code: 42}, nil, 42, ""},
		{"signal", frame.ExitStatus{Code: 139, Signal: 11}, nil, 139, ""},
		{"status out of range", frame.ExitStatus{Code: 256 + 3}, nil, 3, ""},
		{"timeout", frame.ExitStatus{Code: 137, Signal: 9, Reason: frame.ReasonTimeout}, []string{"--timeout", "1m30s"}, 124,
			"cove: exec: a: killed: its time was up (--timeout 1m30s)\n"},
		{"oom", frame.ExitStatus{Code: 137, Signal: 9, Reason: frame.ReasonOOM}, nil, 137,
			"cove: exec: a: killed: out of memory (limit 64MiB)\n"},
		{"gone", frame.ExitStatus{Code: 137, Signal: 9, Reason: frame.ReasonGone}, nil, 137,
			"cove: exec: a: killed: the sandbox was stopped (start it with: cove start a)\n"},
		{"gone for good", frame.ExitStatus{Code: 137, Signal: 9, Reason: frame.ReasonGone}, nil, 137,
			"cove: exec: a: killed: the sandbox was stopped and deleted\n"},
		{"not found", frame.ExitStatus{Code: 127, Error: "no such \x1b[31mprogram\n"}, nil, 127,
			"cove: exec: a: no such [31mprogram\n"},
		{"not runnable", frame.ExitStatus{Code: 126, Error: "permission denied"}, nil, 126,
			"cove: exec: a: permission denied\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStandIn(t)
			s.execEnds(c.st)
			s.mux.HandleFunc("GET /v1/sandboxes/{ref}", func(w http.ResponseWriter, _ *http.Request) {
				spec := config.Spec{Resources: config.Resources{Memory: 64 * config.MiB}, Automation: config.Automation{AutoDelete: config.Never}}
				if c.name == "gone for good" {
					spec.Automation.AutoDelete = 0
				}
				reply(w, http.StatusOK, api.Detail{Spec: spec})
			})
			args := append([]string{"exec", "a"}, append(c.args, "--", "true")...)
			out, stderr, status := s.cove(nil, args...)
			if out != "" || stderr != c.line || status != c.status {
				t.Errorf("status %d, %q on stdout, %q on stderr; want %d, %q", status, out, stderr, c.status, c.line)
			}
		})
	}
}

func TestExecLostConnection(t *testing.T) {
	s := newStandIn(t)
	s.mux.HandleFunc("POST /v1/sandboxes/{ref}/exec", func(w http.ResponseWriter, r *http.Request) {
		_, conn, _, err := upgrade(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write(frame.Append(nil, frame.Stdout, []byte("half")))
		closeQuietly(conn)
	})
	out, stderr, status := s.cove(nil, "exec", "a", "--", "true")
	if out != "half" || status != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "lost") {
		t.Errorf("status %d, %q, %q", status, out, stderr)
	}
}

func TestExecStreamsApartAndUnchanged(t *testing.T) {
	s := newStandIn(t)
	s.execHere()
	out, stderr, status := s.cove(nil, "exec", "a", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
	if out != "out\n" || stderr != "err\n" || status != 7 {
		t.Errorf("status %d, %q, %q", status, out, stderr)
	}
	if out, _, _ := s.cove(strings.NewReader("input"), "exec", "a", "--", "cat"); out != "" {
		t.Errorf("without -i the program reads %q", out)
	}
	big := make([]byte, 64<<20+123)
	rng := rand.NewChaCha8([32]byte{1})
	if _, err := rng.Read(big); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	out, stderr, status = s.cove(bytes.NewReader(big), "exec", "a", "-i", "--", "cat")
	took := time.Since(begin)
	if status != 0 || sha256.Sum256([]byte(out)) != sha256.Sum256(big) {
		t.Errorf("status %d, %d of %d bytes came back, %q", status, len(out), len(big), stderr)
	}
	t.Logf("%d MiB there and back in %v", len(big)>>20, took.Round(time.Millisecond))
}

// A program that ends while input is left ends us, too.
func TestExecProgramEndsBeforeItsInput(t *testing.T) {
	s := newStandIn(t)
	s.execHere()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(r)
	defer closeQuietly(w)
	if out, stderr, status := s.cove(r, "exec", "a", "-i", "--", "echo", "done"); out != "done\n" || status != 0 {
		t.Errorf("status %d, %q, %q", status, out, stderr)
	}
}

func TestExecPassesSignalsOn(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			s := newStandIn(t)
			s.execHere()
			signaled(t, s.command("exec", "a", "--", "sh", "-c",
				"trap 'echo got; exit 5' TERM INT HUP QUIT; echo ready; while :; do sleep 0.05; done"), sig)
		})
	}
}

// nohup(1) has a program go on when the terminal goes: what cove runs goes on too.
func TestExecUnderNohup(t *testing.T) {
	s := newStandIn(t)
	s.execHere()
	cmd := s.command("exec", "a", "--", "sh", "-c",
		"trap 'echo hup' HUP; trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
	cmd.Args = append([]string{"bash", "-c", `trap "" HUP; exec -a cove "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/bash"
	signaled(t, cmd, syscall.SIGHUP, syscall.SIGTERM)
}

// signaled sends signals to a command once it has said that it is ready: of the
// program inside, "got" and status 5 are all that comes then.
func signaled(t *testing.T, cmd *exec.Cmd, signals ...syscall.Signal) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	for _, sig := range signals {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	rest, err := io.ReadAll(lines)
	if status := exitStatus(t, cmd.Wait()); status != 5 || string(rest) != "got\n" || err != nil {
		t.Errorf("status %d, %q, %v", status, rest, err)
	}
}

// Nobody reads the output: the program is told as a pipe would tell it.
func TestExecClosedPipe(t *testing.T) {
	s := newStandIn(t)
	s.execHere()
	mark := s.run + "/mark"
	cmd := s.command("exec", "a", "--", "sh", "-c", "trap '' HUP; trap 'echo pipe > "+mark+"; exit 0' PIPE; while :; do echo y; sleep 0.01; done")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	closeQuietly(stdout)
	if status := exitStatus(t, cmd.Wait()); status != statusPipe {
		t.Errorf("status %d, want %d", status, statusPipe)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := os.Stat(mark); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the program was not told")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// With -t the terminal is raw, follows its size, and is given back.
func TestExecOnTerminal(t *testing.T) {
	s := newStandIn(t)
	sizes := make(chan string, 8)
	s.mux.HandleFunc("POST /v1/sandboxes/{ref}/exec", func(w http.ResponseWriter, r *http.Request) {
		req, conn, rw, err := upgrade(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer closeQuietly(conn)
		if !req.TTY || !req.Stdin || req.Term != "xterm" || req.Cols != 80 || req.Rows != 24 {
			t.Errorf("the request is %+v", req)
		}
		frames := frame.NewReader(rw)
		for {
			typ, p, err := frames.Next()
			if err != nil {
				t.Errorf("the stream ended: %v", err)
				return
			}
			switch typ {
			case frame.Resize:
				cols, rows, _ := frame.ParseSize(p)
				sizes <- fmt.Sprint(cols, " x ", rows)
			case frame.Stdin:
				// ^C is a key like any other.
				if bytes.Equal(p, []byte("\x03")) {
					_, _ = conn.Write(exitFrame(frame.ExitStatus{Code: 9}))
					return
				}
			}
		}
	})
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(master)
	defer closeQuietly(tty)
	if err := pty.Setsize(master, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	before := termios(t, tty)
	cmd := s.command("exec", "a", "-t", "--", "sh")
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	want := func(size string) {
		t.Helper()
		select {
		case got := <-sizes:
			if got != size {
				t.Errorf("size %s, want %s", got, size)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no size came, want %s", size)
		}
	}
	want("80 x 24")
	if err := pty.Setsize(master, &pty.Winsize{Cols: 100, Rows: 40}); err != nil {
		t.Fatal(err)
	}
	want("100 x 40")
	if termios(t, tty) == before {
		t.Error("the terminal is not raw")
	}
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if status := exitStatus(t, cmd.Wait()); status != 9 {
		t.Errorf("status %d, want 9", status)
	}
	if termios(t, tty) != before {
		t.Error("the terminal is not as it was")
	}
}

// What the program itself costs on top of a process, most of exec's budget.
func BenchmarkVersion(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := os.StartProcess(self, []string{"cove", "version"}, &os.ProcAttr{Env: os.Environ()})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
