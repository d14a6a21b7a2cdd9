package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/network/nettest"
)

// host is one private cove: its own state and run directory, its own daemon,
// the real binaries. Whatever a test leaves behind fails it.
type host struct {
	t          testing.TB
	bin        string
	state, run string
	env        []string
	net        *os.File      // the network namespace that all of it runs in; nil is the test binary's
	mounts     *os.File      // the same for mounts
	patience   time.Duration // how long a terminal waits; 0 is the usual time
}

// realHost gives a test a cove of its own. It skips where there is no root or
// where the binaries were not built.
func realHost(t testing.TB) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("real sandboxes need root")
	}
	bin := binDir(t)
	base, err := os.MkdirTemp("", "cove-test-")
	if err != nil {
		t.Fatal(err)
	}
	// The sandbox's own root must be able to pass through.
	if err := os.Chmod(base, 0o711); err != nil {
		t.Fatal(err)
	}
	h := hostAt(t, bin, base, filepath.Join(base, "state"))
	t.Cleanup(func() {
		h.leave()
		if err := os.RemoveAll(base); err != nil {
			t.Errorf("remove the test's directory: %v", err)
		}
	})
	return h
}

// hostAt is a cove in directories that the caller gives back, and in a network
// namespace of its own.
func hostAt(t testing.TB, bin, base, state string) *host {
	t.Helper()
	h := &host{t: t, bin: bin, state: state, run: filepath.Join(base, "run"), net: nettest.NewNS(t)}
	h.env = append(os.Environ(),
		"COVE_STATE_DIR="+h.state, "COVE_RUN_DIR="+h.run, "HOME="+base, "XDG_CONFIG_HOME="+filepath.Join(base, "config"),
		"TERM=xterm-256color", "PATH="+bin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	return h
}

// binDir is where make puts cove, cove-init and runc.
func binDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("COVE_BIN")
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(wd, "..", "..", "bin")
	}
	for _, f := range []string{"cove", "cove-init", "runc"} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Skipf("build first (make build): %v", err)
		}
	}
	return dir
}

// in is the same cove for a subtest, whose failures are its own.
func (h *host) in(t testing.TB) *host {
	sub := *h
	sub.t = t
	return &sub
}

// leave deletes every sandbox, audits, stops the daemon and audits again.
func (h *host) leave() {
	h.t.Helper()
	h.must("daemon", "start")
	settle(h)
	for _, s := range h.list() {
		h.must("rm", "--now", s.ID)
	}
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
		h.t.Errorf("leaks after the test:\n%s%s", out, stderr)
	}
	h.cove("daemon", "stop")
	if h.pid() != 0 {
		h.t.Error("the daemon is still there after daemon stop")
	}
	if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
		h.t.Errorf("leaks after the daemon's end:\n%s%s", out, stderr)
	}
	h.cove("daemon", "stop")
}

// cove runs the program and returns what it printed and its exit status.
func (h *host) cove(args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	return h.coveIn(nil, args...)
}

func (h *host) coveIn(stdin []byte, args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := h.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		code = exit.ExitCode()
	default:
		h.t.Fatalf("cove %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), code
}

func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	return h.program(ctx, filepath.Join(h.bin, "cove"), args...)
}

// program is a program that sees what this cove sees.
func (h *host) program(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	enter(h.net, h.mounts, cmd)
	cmd.Env, cmd.Dir = h.env, filepath.Dir(h.run)
	// Grandchildren that keep an output open must not hold up the test.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// must runs the program and fails the test when it fails.
func (h *host) must(args ...string) string {
	h.t.Helper()
	out, stderr, code := h.cove(args...)
	if code != 0 {
		h.t.Fatalf("cove %s: exit %d\n%s%s", strings.Join(args, " "), code, out, stderr)
	}
	return out
}

// refuse runs the program, which must fail with status want and one line that
// holds every word.
func (h *host) refuse(want int, words []string, args ...string) string {
	h.t.Helper()
	out, stderr, code := h.cove(args...)
	name := strings.Join(args, " ")
	if code != want {
		h.t.Errorf("cove %s: exit %d, want %d\n%s%s", name, code, want, out, stderr)
	}
	if lines := strings.Count(strings.TrimRight(stderr, "\n"), "\n"); lines != 0 {
		h.t.Errorf("cove %s: %d lines on stderr, want one:\n%s", name, lines+1, stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			h.t.Errorf("cove %s: stderr lacks %q: %s", name, w, stderr)
		}
	}
	return stderr
}

func (h *host) list() []api.Sandbox {
	h.t.Helper()
	var list []api.Sandbox
	out := h.must("ls", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		h.t.Fatalf("ls --json: %v\n%s", err, out)
	}
	return list
}

func (h *host) inspect(ref string) api.Detail {
	h.t.Helper()
	var d api.Detail
	out := h.must("inspect", ref)
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		h.t.Fatalf("inspect %s: %v\n%s", ref, err, out)
	}
	return d
}

// pid is the daemon's, or 0.
func (h *host) pid() int {
	h.t.Helper()
	out, _, _ := h.cove("daemon", "status", "--json")
	var s struct{ Pid *int }
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Pid == nil {
		return 0
	}
	return *s.Pid
}

// kill ends the daemon with SIGKILL and waits until it is gone.
func (h *host) kill() {
	h.t.Helper()
	pid := h.pid()
	if pid == 0 {
		return
	}
	fd, err := pidfdOpen(pid)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.t.Fatalf("kill the daemon: %v", err)
	}
	if err := waitPidfd(fd, 10*time.Second); err != nil {
		h.t.Fatalf("wait for the daemon's end: %v", err)
	}
}

// rounds is how many rounds a repeated test makes: COVE_ROUNDS, else few.
func rounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("COVE_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return few
}

// eventually waits, by the daemon's own events, until ok holds.
func (h *host) eventually(what string, ok func() bool, about ...string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	events, err := api.New(filepath.Join(h.run, "cove.sock")).Events(ctx, nil, true)
	if err != nil {
		h.t.Fatal(err)
	}
	defer events.Close()
	for {
		if ok() {
			return
		}
		if _, err := events.Next(); err != nil {
			for _, name := range about {
				d := h.inspect(name)
				h.t.Logf("%s is %s, %+v, due %+v", name, d.State, d.Running, d.Due)
			}
			h.t.Fatalf("%s did not come about: %v", what, err)
		}
	}
}

func (h *host) String() string { return fmt.Sprintf("state %s, run %s", h.state, h.run) }

// until waits for what the kernel counts, of which it tells nobody.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
	}
}
