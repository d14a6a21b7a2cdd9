package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/frame"
)

// standIn answers on a daemon's socket in the daemon's place, where a test
// needs answers that a real one gives only by chance: late ones, and ends of
// programs that take a kernel out of memory to come about. What it is asked to
// exec it runs as a plain process.
type standIn struct {
	t   *testing.T
	mux *http.ServeMux
	run string

	mu    sync.Mutex
	calls []string
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{t: t, mux: http.NewServeMux(), run: openDir(t)}
	l, err := net.Listen("unix", filepath.Join(s.run, api.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls = append(s.calls, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		s.mux.ServeHTTP(w, r)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		_ = srv.Close()
		wg.Wait()
	})
	return s
}

func (s *standIn) called(want string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c == want {
			return true
		}
	}
	return false
}

// command is cove as a process of its own, which talks to the stand-in.
func (s *standIn) command(args ...string) *exec.Cmd {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = "cove"
	cmd.Env = append(os.Environ(), "COVE_RUN_DIR="+s.run, "COVE_STATE_DIR="+filepath.Join(s.run, "state"))
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// cove runs a command to its end.
func (s *standIn) cove(stdin io.Reader, args ...string) (stdout, stderr string, status int) {
	s.t.Helper()
	cmd := s.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	status = exitStatus(s.t, cmd.Run())
	return out.String(), errs.String(), status
}

func exitStatus(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// upgrade takes a request over as a stream of frames.
func upgrade(w http.ResponseWriter, r *http.Request) (api.ExecRequest, net.Conn, *bufio.ReadWriter, error) {
	var req api.ExecRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return req, nil, nil, err
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return req, nil, nil, err
	}
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+api.StreamProtocol+"\r\n\r\n")
	return req, conn, rw, err
}

// execHere answers exec by running the program right here.
func (s *standIn) execHere() {
	s.mux.HandleFunc("POST /v1/sandboxes/{ref}/exec", func(w http.ResponseWriter, r *http.Request) {
		req, conn, rw, err := upgrade(w, r)
		if err != nil {
			s.t.Error(err)
			return
		}
		defer closeQuietly(conn)
		if err := runHere(req, conn, rw.Reader); err != nil {
			s.t.Error(err)
		}
	})
}

// execEnds answers exec with an end and nothing else.
func (s *standIn) execEnds(st frame.ExitStatus) {
	s.mux.HandleFunc("POST /v1/sandboxes/{ref}/exec", func(w http.ResponseWriter, r *http.Request) {
		_, conn, _, err := upgrade(w, r)
		if err != nil {
			s.t.Error(err)
			return
		}
		defer closeQuietly(conn)
		_, _ = conn.Write(exitFrame(st))
	})
}

func exitFrame(st frame.ExitStatus) []byte {
	text, err := json.Marshal(st)
	must(err)
	return frame.Append(nil, frame.Exit, text)
}

// frameWriter makes frames of what is written to it.
type frameWriter struct {
	mu *sync.Mutex
	w  io.Writer
	t  frame.Type
}

func (f frameWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), frame.Chunk)
		f.mu.Lock()
		_, err := f.w.Write(frame.Append(nil, f.t, rest[:n]))
		f.mu.Unlock()
		if err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// runHere runs a program and joins it to a stream of frames.
func runHere(req api.ExecRequest, conn net.Conn, in io.Reader) error {
	var mu sync.Mutex
	cmd := exec.Command(req.Argv[0], req.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = frameWriter{&mu, conn, frame.Stdout}, frameWriter{&mu, conn, frame.Stderr}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if !req.Stdin {
		_ = stdin.Close()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		frames := frame.NewReader(in)
		for {
			t, p, err := frames.Next()
			if err != nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGHUP)
				return
			}
			switch {
			case t == frame.Signal:
				_ = syscall.Kill(-cmd.Process.Pid, syscall.Signal(p[0]))
			case t == frame.Stdin && len(p) == 0:
				_ = stdin.Close()
			case t == frame.Stdin:
				_, _ = stdin.Write(p)
				mu.Lock()
				_, _ = conn.Write(frame.Append(nil, frame.Ack, binary.BigEndian.AppendUint32(nil, uint32(len(p)))))
				mu.Unlock()
			}
		}
	})
	_ = cmd.Wait()
	st := frame.ExitStatus{Code: cmd.ProcessState.ExitCode()}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		st = frame.ExitStatus{Code: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
	}
	mu.Lock()
	_, _ = conn.Write(exitFrame(st))
	mu.Unlock()
	_ = conn.Close()
	wg.Wait()
	return nil
}
