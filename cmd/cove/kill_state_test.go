package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// TestStateKillRounds kills the daemon with SIGKILL at random moments of a pull, a
// build, an archive, a restore and an undo: nothing is lost, and all of it works the
// next time.
func TestStateKillRounds(t *testing.T) {
	h := realHost(t)
	h.registry()
	h.push("busybox:1", busybox(t))
	ref := registryAddr + "/busybox:1"
	dir := buildContext(t, map[string]string{"Dockerfile": "FROM host\nARG N\nCOPY f /opt/f\nRUN echo $N > /opt/n; head -c 3000000 /dev/urandom > /opt/big\nRUN cat /opt/n /opt/f\n", "f": "f\n"})
	const marker = "cat /home/dev/marker; sha256sum /home/dev/big"
	h.must("create", "-p", "shell", "-n", "s", "--block-all", "--label", "k=v", "--disk", "256MiB")
	h.must("exec", "s", "--", "sh", "-c", "echo kept > ~/marker; head -c 20000000 /dev/urandom > ~/big")
	want := h.must("exec", "s", "--", "sh", "-c", marker)
	h.must("stop", "s")
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 2))
	t.Logf("seed %d", seed)
	counts := map[string]int{}
	for i := range rounds(8) {
		op := []string{"pull", "build", "archive", "restore", "undo"}[rng.IntN(5)]
		name := fmt.Sprintf("b%d", i)
		var args []string
		within := 400 * time.Millisecond
		switch op {
		case "pull":
			args = []string{"image", "pull", ref}
			h.cove("image", "rm", ref)
			within = 60 * time.Millisecond
		case "build":
			args = []string{"snapshot", "build", "-p", "shell", "-n", name, "--build-arg", "N=" + name, dir}
		case "archive":
			args = []string{"archive", "s"}
		case "restore":
			h.must("archive", "s")
			args = []string{"start", "s"}
		case "undo":
			h.must("rm", "s")
			args = []string{"undo", "s"}
			within = 30 * time.Millisecond
		}
		answered := make(chan int, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			answered <- map[bool]int{true: 0, false: 1}[h.command(ctx, args...).Run() == nil]
		}()
		<-time.After(time.Duration(rng.Int64N(int64(within))))
		h.kill()
		ok := <-answered == 0
		h.must("daemon", "start")
		settle(h)
		outcome := "was cut off"
		if ok {
			outcome = "was done"
		}
		counts[op+" "+outcome]++
		switch op {
		case "pull":
			h.must("create", "-p", "shell", "-n", name, "--image", ref, "--block-all")
			h.must("rm", "--now", name)
		case "build":
			if left := slices.DeleteFunc(h.list(), func(s api.Sandbox) bool { return s.Name == "s" }); len(left) > 0 {
				t.Errorf("left of a build is %+v", left)
			}
			out := h.must("snapshot", "ls")
			if strings.Contains(out, name+" ") {
				h.must("snapshot", "rm", name)
			}
			h.must("snapshot", "build", "-q", "-p", "shell", "-n", name, "--build-arg", "N="+name, dir)
			h.must("snapshot", "rm", name)
		case "undo":
			if stateOf(h, "s") == lifecycle.Destroyed {
				h.must("undo", "s")
			}
		}
		if s := stateOf(h, "s"); s != lifecycle.Stopped && s != lifecycle.Archived && s != lifecycle.Started {
			t.Errorf("it is %s", s)
		}
		h.must("start", "s")
		if got := h.must("exec", "s", "--", "sh", "-c", marker); got != want || h.inspect("s").Labels["k"] != "v" {
			t.Fatalf("round %d, %s %s: in it is %q, want %q", i, op, outcome, got, want)
		}
		h.must("stop", "s")
		if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
			t.Fatalf("round %d, %s %s: %s%s", i, op, outcome, out, stderr)
		}
	}
	h.must("rm", "--now", "s")
	h.cove("image", "prune")
	h.leaveNoLayer()
	if left, err := filepath.Glob(filepath.Join(h.state, "layers", ".making*")); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	keys := make([]string, 0, len(counts))
	for k, v := range counts {
		keys = append(keys, fmt.Sprintf("%s: %d", k, v))
	}
	slices.Sort(keys)
	t.Logf("%s", strings.Join(keys, ", "))
}
