package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

func pidfdOpen(pid int) (int, error) { return unix.PidfdOpen(pid, 0) }

func waitPidfd(fd int, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return context.DeadlineExceeded
		default:
			return nil
		}
	}
}

// fate is what the test knows of one sandbox: its name and what its file must hold.
type fate struct {
	name   string
	marker string
}

// TestKillRounds kills the daemon with SIGKILL at random moments of create, start,
// stop, snapshot, fork and delete, and finds every sandbox in a true state afterwards:
// with its file, able to start, and gone when it was deleted.
func TestKillRounds(t *testing.T) {
	killRounds(t, realHost(t), rounds(10), 120*time.Millisecond)
}

// killRounds is so many rounds, in each of which the daemon dies within a time
// that the operations take.
func killRounds(t *testing.T, h *host, n int, within time.Duration) {
	h.must("daemon", "start")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	alive := map[string]*fate{}
	counts := map[string]int{}
	for i := range n {
		op := []string{"create", "start", "stop", "rm", "snapshot", "fork"}[rng.IntN(6)]
		var target *fate
		if len(alive) > 0 && op != "create" {
			names := make([]string, 0, len(alive))
			for name := range alive {
				names = append(names, name)
			}
			slices.Sort(names)
			target = alive[names[rng.IntN(len(names))]]
		} else {
			op = "create"
			target = &fate{name: fmt.Sprintf("k%d", i)}
		}
		state := stateOf(h, target.name)
		if op == "start" && state == lifecycle.Started {
			h.must("stop", target.name)
		}
		args := []string{op, target.name}
		switch op {
		case "create":
			args = createArgs(target.name)
		case "snapshot":
			args = []string{op, "create", target.name}
		case "fork":
			args = append(args, forkOf(target))
		}
		answered := make(chan int, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			cmd := h.command(ctx, args...)
			if err := cmd.Run(); err != nil {
				answered <- 1
				return
			}
			answered <- 0
		}()
		<-time.After(time.Duration(rng.Int64N(int64(within))))
		h.kill()
		ok := <-answered == 0
		h.must("daemon", "start")
		settle(h)
		outcome := check(t, h, op, target, ok, alive)
		counts[op+" "+outcome]++
		if t.Failed() {
			t.Fatalf("round %d: %s", i, op)
		}
	}
	for name, f := range alive {
		verify(t, h, f)
		h.must("rm", name)
	}
	keys := make([]string, 0, len(counts))
	for k, v := range counts {
		keys = append(keys, fmt.Sprintf("%s: %d", k, v))
	}
	slices.Sort(keys)
	t.Logf("%d rounds: %s", n, strings.Join(keys, ", "))
}

// settle waits until no operation is under way.
func settle(h *host) {
	h.t.Helper()
	h.eventually("rest", func() bool {
		return !slices.ContainsFunc(h.list(), func(s api.Sandbox) bool { return s.Op != "" || s.State.Passing() })
	})
}

func stateOf(h *host, name string) lifecycle.State {
	for _, s := range h.list() {
		if s.Name == name {
			return s.State
		}
	}
	return lifecycle.Destroyed
}

// createArgs makes every other one with a disk of its own.
func createArgs(name string) []string {
	args := []string{"create", "-p", "shell", "-n", name}
	if strings.ContainsAny(name[len(name)-1:], "13579") {
		args = append(args, "--disk", "32MiB")
	}
	return args
}

// check judges what became of the sandbox that was worked on.
func check(t *testing.T, h *host, op string, f *fate, answered bool, alive map[string]*fate) string {
	t.Helper()
	state := stateOf(h, f.name)
	switch op {
	case "create":
		if state == lifecycle.Destroyed {
			if answered {
				t.Errorf("%s was made, and is gone", f.name)
			}
			// Its name is free again.
			h.must(createArgs(f.name)...)
			mark(h, f)
			alive[f.name] = f
			return "rolled back"
		}
		alive[f.name] = f
		if state != lifecycle.Started && state != lifecycle.Stopped {
			t.Errorf("%s is %s after create", f.name, state)
		}
		if state == lifecycle.Stopped {
			h.must("start", f.name)
		}
		mark(h, f)
		return "kept " + string(state)
	case "rm":
		if state == lifecycle.Destroyed {
			delete(alive, f.name)
			h.must(createArgs(f.name)...)
			h.must("rm", f.name)
			return "gone"
		}
		if answered {
			t.Errorf("%s was deleted, and is %s", f.name, state)
		}
		verify(t, h, f)
		return "not begun"
	case "fork":
		// It is there whole, or not at all.
		switch stateOf(h, forkOf(f)) {
		case lifecycle.Destroyed:
			if answered {
				t.Errorf("%s was made, and is gone", forkOf(f))
			}
		default:
			verify(t, h, &fate{name: forkOf(f), marker: f.marker})
			h.must("rm", "--now", forkOf(f))
		}
	case "stop":
		if answered && state != lifecycle.Stopped {
			t.Errorf("%s was stopped, and is %s", f.name, state)
		}
	case "start":
		if answered && state != lifecycle.Started {
			t.Errorf("%s was started, and is %s", f.name, state)
		}
	}
	if state != lifecycle.Started && state != lifecycle.Stopped {
		t.Errorf("%s is %s after %s", f.name, state, op)
	}
	verify(t, h, f)
	return string(state)
}

func forkOf(f *fate) string { return f.name + "-fork" }

func mark(h *host, f *fate) {
	h.t.Helper()
	f.marker = fmt.Sprintf("%s-%d", f.name, time.Now().UnixNano())
	h.must("exec", f.name, "--", "sh", "-c", "printf %s "+f.marker+" > /home/dev/marker && sync /home/dev/marker")
}

// verify starts the sandbox where it is stopped or paused, and finds its file.
func verify(t *testing.T, h *host, f *fate) {
	t.Helper()
	switch stateOf(h, f.name) {
	case lifecycle.Stopped, lifecycle.Archived:
		h.must("start", f.name)
	case lifecycle.Paused:
		h.must("resume", f.name)
	}
	if got := h.must("exec", f.name, "--", "cat", "/home/dev/marker"); got != f.marker {
		t.Errorf("%s: its file holds %q, want %q", f.name, got, f.marker)
	}
}

// reboot is what a reboot does to a cove with one running sandbox: no process
// is left, and the run directory, a tmpfs, is gone. The daemon is started then.
func (h *host) reboot(name string) {
	h.t.Helper()
	pid := h.inspect(name).Running.Pid
	h.kill()
	h.thaw(pid)
	pids := []int{pid}
	var gate struct{ Pid int }
	switch data, err := os.ReadFile(filepath.Join(h.run, "gate.json")); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		h.t.Fatal(err)
	default:
		if err := json.Unmarshal(data, &gate); err != nil {
			h.t.Fatal(err)
		}
		pids = append(pids, gate.Pid)
	}
	for _, pid := range pids {
		if err := killPid(pid); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := os.RemoveAll(h.run); err != nil {
		h.t.Fatal(err)
	}
	h.must("daemon", "start")
	settle(h)
}
