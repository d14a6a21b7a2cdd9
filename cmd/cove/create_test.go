package main

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/frame"
	"cove/runtime/lifecycle"
)

func termios(t *testing.T, tty *os.File) unix.Termios {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *state
}

// slowCreate answers a create when it is let, and takes deletes.
func (s *standIn) slowCreate() (asked, let chan struct{}) {
	asked, let = make(chan struct{}, 1), make(chan struct{})
	s.mux.HandleFunc("POST /v1/sandboxes", func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-let
		reply(w, http.StatusCreated, api.Sandbox{ID: "0123456789ab", Name: "made", State: lifecycle.Started})
	})
	s.mux.HandleFunc("DELETE /v1/sandboxes/{ref}", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, api.Sandbox{State: lifecycle.Destroyed})
	})
	return asked, let
}

// An interrupted create leaves no sandbox that nobody knows the name of.
func TestCreateInterrupted(t *testing.T) {
	for _, args := range [][]string{{"create", "-p", "shell"}, {"run", "-p", "shell", "--", "true"}, {"run", "--rm", "-p", "shell", "--", "true"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			s := newStandIn(t)
			asked, let := s.slowCreate()
			cmd := s.command(args...)
			line := startWithStderr(t, cmd)
			<-asked
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if got := line(); !strings.Contains(got, "interrupted") {
				t.Errorf("it says %q", got)
			}
			close(let)
			if got := line(); !strings.HasSuffix(got, ": interrupted\n") {
				t.Errorf("in the end it says %q", got)
			}
			if status := exitStatus(t, cmd.Wait()); status != statusInterrupted {
				t.Errorf("status %d, want %d", status, statusInterrupted)
			}
			if !s.called("DELETE /v1/sandboxes/0123456789ab") {
				t.Errorf("what was made is still there: %q", s.calls)
			}
			if s.called("POST /v1/sandboxes/made/exec") {
				t.Error("it ran the program all the same")
			}
		})
	}
}

// The second interrupt does not wait.
func TestCreateInterruptedTwice(t *testing.T) {
	s := newStandIn(t)
	asked, let := s.slowCreate()
	defer close(let)
	cmd := s.command("create", "-p", "shell")
	line := startWithStderr(t, cmd)
	<-asked
	for range 2 {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if got := line(); !strings.Contains(got, "interrupted") {
			t.Errorf("it says %q", got)
		}
	}
	if status := exitStatus(t, cmd.Wait()); status != statusInterrupted {
		t.Errorf("status %d, want %d", status, statusInterrupted)
	}
}

// startWithStderr starts a command; what it returns reads a line of its stderr.
func startWithStderr(t *testing.T, cmd *exec.Cmd) (line func() string) {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	return func() string {
		t.Helper()
		text, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%q, %v", text, err)
		}
		return text
	}
}

// run --rm deletes however the program ends, and its status stays.
func TestRunRemoves(t *testing.T) {
	for _, c := range []struct {
		name   string
		st     frame.ExitStatus
		status int
	}{
		{"done", frame.ExitStatus{}, 0},
		{"failed", frame.ExitStatus{Code: 3}, 3},
		{"not found", frame.ExitStatus{Code: 127, Error: "no such program"}, 127},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStandIn(t)
			_, let := s.slowCreate()
			close(let)
			s.execEnds(c.st)
			if _, stderr, status := s.cove(nil, "run", "--rm", "-p", "shell", "--", "true"); status != c.status {
				t.Errorf("status %d, want %d: %s", status, c.status, stderr)
			}
			if !s.called("DELETE /v1/sandboxes/0123456789ab") {
				t.Errorf("the sandbox is kept: %q", s.calls)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		s := newStandIn(t)
		_, let := s.slowCreate()
		close(let)
		s.execHere()
		cmd := s.command("run", "--rm", "-p", "shell", "--", "sh", "-c", "echo ready; exec sleep 100")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := stdout.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if status := exitStatus(t, cmd.Wait()); status != statusInterrupted {
			t.Errorf("status %d", status)
		}
		if !s.called("DELETE /v1/sandboxes/0123456789ab") {
			t.Errorf("the sandbox is kept: %q", s.calls)
		}
	})
	t.Run("kept", func(t *testing.T) {
		s := newStandIn(t)
		_, let := s.slowCreate()
		close(let)
		s.execEnds(frame.ExitStatus{})
		if out, stderr, status := s.cove(nil, "run", "-p", "shell", "--", "true"); status != 0 || out+stderr != "" {
			t.Errorf("status %d, %q, %q", status, out, stderr)
		}
		if s.called("DELETE /v1/sandboxes/0123456789ab") {
			t.Error("without --rm the sandbox is deleted")
		}
	})
}

// Several names: every one is tried, each failure is a line, in their order.
func TestEachTriesAll(t *testing.T) {
	s := newStandIn(t)
	s.mux.HandleFunc("POST /v1/sandboxes/{ref}/stop", func(w http.ResponseWriter, r *http.Request) {
		if ref := r.PathValue("ref"); strings.HasPrefix(ref, "no") {
			reply(w, http.StatusNotFound, api.Error{Code: api.CodeNotFound, Message: "no such sandbox"})
			return
		}
		<-time.After(time.Duration(len(r.PathValue("ref"))) * time.Millisecond)
		reply(w, http.StatusOK, api.Sandbox{})
	})
	out, stderr, status := s.cove(nil, "stop", "no1", "yes", "no2", "also")
	want := "cove: stop: no1: no such sandbox (see: cove ls)\ncove: stop: no2: no such sandbox (see: cove ls)\n"
	if status != 1 || out != "" || stderr != want {
		t.Errorf("status %d, %q, %q", status, out, stderr)
	}
	for _, ref := range []string{"no1", "yes", "no2", "also"} {
		if !s.called("POST /v1/sandboxes/" + ref + "/stop") {
			t.Errorf("%s was not tried", ref)
		}
	}
}

// Following outlives the daemon: it goes on behind what it saw.
func TestEventsGoOn(t *testing.T) {
	s := newStandIn(t)
	since := make(chan string, 4)
	s.mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		at := r.URL.Query().Get("since")
		since <- at
		box := api.Sandbox{Name: "a", State: lifecycle.Started}
		switch at {
		case "":
			reply(w, http.StatusOK, api.Event{Type: api.EventSnapshot, Cursor: api.Cursor{Epoch: "e", Seq: 4}, Sandboxes: []api.Sandbox{box}})
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write([]byte(`{"type":"ping"}` + "\n")) // moves nothing
		case "e:4":
			box.State = lifecycle.Stopped
			reply(w, http.StatusOK, api.Event{Type: api.EventSandbox, Cursor: api.Cursor{Epoch: "e", Seq: 5}, Sandbox: &box})
		default:
			<-r.Context().Done()
		}
	})
	cmd := s.command("events", "-f")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", "e:4", "e:5"} {
		select {
		case got := <-since:
			if got != want {
				t.Errorf("it asks for what is after %q, want %q", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("it does not ask for what is after %q", want)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "  a  started") || !strings.HasSuffix(lines[1], "  a  stopped") {
		t.Errorf("it printed %q", lines)
	}
}
