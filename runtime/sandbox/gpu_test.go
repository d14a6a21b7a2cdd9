package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/cgroup"
	"cove/runtime/gpu"
	"cove/runtime/lifecycle"
)

// cards are the GPUs of a machine: /dev/null and its like, found as real ones are.
type cards struct {
	*gpu.Driver
	// boom fails Prepare.
	boom error
	busy float64
}

func (c *cards) Prepare(dir string, base uint32, devices []gpu.Device) (gpu.Edits, error) {
	if c.boom != nil {
		return gpu.Edits{}, c.boom
	}
	return c.Driver.Prepare(dir, base, devices)
}

func (c *cards) Use(claims []gpu.Claim) []gpu.Use {
	uses := make([]gpu.Use, len(claims))
	for i := range uses {
		uses[i] = gpu.Use{Utilization: c.busy, Memory: 1, MemoryTotal: 2}
	}
	return uses
}

func gpuCove(t *testing.T) (*cove, *cards) {
	c := newCove(t)
	c.abandon()
	dir := t.TempDir()
	spec := `{"cdiVersion": "0.6.0", "kind": "v.example/gpu", "devices": [
		{"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}]}},
		{"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/zero"}]}},
		{"name": "GPU-one", "containerEdits": {"deviceNodes": [{"path": "/dev/zero"}]}}]}`
	if err := os.WriteFile(filepath.Join(dir, "v.json"), []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	g := &cards{Driver: gpu.New(gpu.Options{Dirs: []string{dir}})}
	c.gpus = g
	c.open()
	return c, g
}

func gpuSpec(count int, shared bool, names ...string) config.Spec {
	s := testSpec()
	s.Resources.GPU, s.Resources.GPUShared = config.GPURequest{Count: count, IDs: names}, shared
	return s
}

func (c *cove) withGPU(who Caller, name string, s config.Spec) error {
	return c.do(func(ctx context.Context) error {
		_, err := c.m.Create(ctx, who, CreateRequest{Name: name, Spec: s})
		return err
	})
}

// holds are the GPUs of a sandbox that is started.
func (c *cove) holds(name string) string {
	c.t.Helper()
	i, err := c.m.Get(everybody, name)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Join(i.GPUs, " ")
}

func (c *cove) noGPULeak() {
	c.t.Helper()
	running := map[string]bool{}
	for _, i := range c.m.List(everybody) {
		running[i.ID] = i.Pid != 0
	}
	if leaks := c.m.gpuLeaks(running); len(leaks) > 0 {
		c.t.Errorf("leaks: %v", leaks)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.Contains(string(mounts), c.dir) {
		c.t.Errorf("device nodes are mounted still:\n%s", mounts)
	}
}

// Who holds a GPU is told as far as one may know, and nothing is left of who was
// refused.
func TestGPUHolders(t *testing.T) {
	c, _ := gpuCove(t)
	alice, bob := Caller{UID: 1001}, Caller{UID: 1002}
	if err := c.withGPU(alice, "a", gpuSpec(2, false)); err != nil {
		t.Fatal(err)
	}
	if got := c.holds("a"); got != "v.example/gpu=0 v.example/gpu=1" {
		t.Errorf("it holds %q", got)
	}
	for _, w := range []struct {
		who  Caller
		spec config.Spec
		want string
	}{
		{alice, gpuSpec(0, false, "GPU-one"), "gpu 1 (v.example/gpu=1) is held by a"},
		{everybody, gpuSpec(0, true, "1"), "gpu 1 (v.example/gpu=1) is held by a"},
		{bob, gpuSpec(0, false, "1"), "gpu 1 (v.example/gpu=1) is held by a sandbox of another user"},
		{bob, gpuSpec(2, false), "2 GPUs are asked for and none is free: gpu 0 (v.example/gpu=0) is held by a sandbox of another user, gpu 1 (v.example/gpu=1) is held by a sandbox of another user"},
	} {
		var held *GPUError
		if err := c.withGPU(w.who, "b", w.spec); !errors.As(err, &held) || held.Message != w.want || held.Hint == "" {
			t.Errorf("%v\nwant %q", err, w.want)
		}
	}
	var invalid *InvalidError
	for _, s := range []config.Spec{gpuSpec(3, false), gpuSpec(0, false, "2"), gpuSpec(0, false, "1", "GPU-one")} {
		if err := c.withGPU(bob, "b", s); !errors.As(err, &invalid) || !invalid.Unsupported || invalid.Problems[0].Key != "resources.gpu" {
			t.Errorf("%v", err)
		}
	}
	if n := len(c.m.List(everybody)); n != 1 {
		t.Errorf("%d sandboxes", n)
	}
	for who, want := range map[Caller]string{alice: "a 1", bob: " 1", everybody: "a 1"} {
		for _, g := range c.m.GPUs(t.Context(), who) {
			if got := strings.Join(g.Holders, ",") + " " + string(rune('0'+g.Held)); got != want || g.Shared {
				t.Errorf("uid %d sees %q, want %q", who.UID, got, want)
			}
		}
	}
	c.noGPULeak()
}

// GPUs go back whatever way a sandbox ends or fails to start, and those it had
// are the first that it gets again.
func TestGPUsGoBack(t *testing.T) {
	c, g := gpuCove(t)
	free := func(after string) {
		t.Helper()
		c.noGPULeak()
		for _, d := range c.m.GPUs(t.Context(), everybody) {
			if d.Held != 0 {
				t.Errorf("after %s %s is held", after, d.ID)
			}
		}
	}
	for _, call := range []string{"mount", "connect", "create", "start"} {
		c.fail(call, errors.New("boom"))
		if err := c.withGPU(everybody, "a", gpuSpec(1, false)); err == nil {
			t.Errorf("%s does not fail", call)
		}
		c.fail(call, nil)
		free("a failed " + call)
	}
	g.boom = &gpu.StaleError{Path: "/dev/nvidia-uvm", Source: "x"}
	var stale *GPUError
	if err := c.withGPU(everybody, "a", gpuSpec(1, false)); !errors.As(err, &stale) || !strings.Contains(stale.Message, "/dev/nvidia-uvm") {
		t.Errorf("stale: %v", err)
	}
	g.boom = nil
	free("a stale description")

	if err := c.withGPU(everybody, "a", gpuSpec(1, false)); err != nil {
		t.Fatal(err)
	}
	if err := c.withGPU(everybody, "b", gpuSpec(1, false)); err != nil {
		t.Fatal(err)
	}
	equalText(t, "v.example/gpu=1", c.holds("b"))
	for _, op := range []string{"stop", "delete"} {
		if err := c.operate(op, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.operate("stop", "b"); err != nil {
		t.Fatal(err)
	}
	free("stop and delete")
	if err := c.operate("start", "b"); err != nil {
		t.Fatal(err)
	}
	equalText(t, "v.example/gpu=1", c.holds("b"))
	// Its PID 1 ends by itself.
	i, err := c.m.Get(everybody, "b")
	if err != nil {
		t.Fatal(err)
	}
	c.end(i.ID)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		i, err := c.m.Get(everybody, "b")
		if err == nil && i.State == lifecycle.Stopped && i.Op == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v %s", err, i.State)
		}
	}
	free("a crash")
}

func equalText(t *testing.T, want, got string) {
	t.Helper()
	if want != got {
		t.Errorf("%q, want %q", got, want)
	}
}

// The next daemon knows what is held, and gives back what was only being taken.
func TestGPUsOfTheDaemonBefore(t *testing.T) {
	c, _ := gpuCove(t)
	if err := c.withGPU(everybody, "a", gpuSpec(1, false)); err != nil {
		t.Fatal(err)
	}
	c.dies("prepared")
	if err := c.withGPU(everybody, "b", gpuSpec(1, false)); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	c.dies("")
	c.abandon()
	c.open()
	c.rest() // what it rolls back, it does apart
	var held *GPUError
	if err := c.withGPU(everybody, "c", gpuSpec(0, false, "0")); !errors.As(err, &held) || !strings.Contains(held.Message, "is held by a") {
		t.Errorf("%v", err)
	}
	if err := c.withGPU(everybody, "d", gpuSpec(0, false, "1")); err != nil {
		t.Errorf("of one that never was: %v", err)
	}
	c.noGPULeak()
}

// A restart gives its GPU to nobody else, and one that fails to everybody.
func TestGPURestart(t *testing.T) {
	c, _ := gpuCove(t)
	if err := c.withGPU(everybody, "a", gpuSpec(0, false, "0")); err != nil {
		t.Fatal(err)
	}
	other := func() error {
		devices := c.gpus.Devices(t.Context()).Devices
		_, _, err := c.m.gpus.take("other", devices, gpu.Request{IDs: []string{"0"}})
		c.m.gpus.give("other")
		return err
	}
	var between error
	c.m.opt.OnStage = func(op, stage string) {
		if op == "restart" && stage == "released" {
			between = other()
		}
	}
	restart := func() error {
		return c.do(func(ctx context.Context) error {
			_, err := c.m.Restart(ctx, everybody, "a", nil, true)
			return err
		})
	}
	if err := restart(); err != nil {
		t.Fatal(err)
	}
	if between == nil || other() == nil {
		t.Errorf("others get it in a restart: %v, after: %v", between, other())
	}
	equalText(t, "v.example/gpu=0", c.holds("a"))
	for _, call := range []string{"mount", "create", "start"} {
		c.fail(call, errors.New("boom"))
		if err := restart(); err == nil {
			t.Errorf("%s does not fail", call)
		}
		c.fail(call, nil)
		if err := other(); err != nil {
			t.Errorf("after a %s that failed: %v", call, err)
		}
		c.noGPULeak()
		if err := c.operate("start", "a"); err != nil {
			t.Fatal(err)
		}
	}
}

// A claim of nobody's is found.
func TestGPULeak(t *testing.T) {
	c, _ := gpuCove(t)
	c.m.gpus.adopt("0123456789ab", []gpu.Claim{{ID: "v.example/gpu=0", Keys: []string{"c1:3"}}})
	leaks := c.m.gpuLeaks(map[string]bool{"0123456789ab": false})
	equalText(t, "v.example/gpu=0 held for 0123456789ab", strings.Join(leaks, ", "))
	equalText(t, "", strings.Join(c.m.gpuLeaks(map[string]bool{"0123456789ab": true}), ", "))
}

// History has the mean of what its GPUs did, and looks often at who has one.
func TestGPUHistory(t *testing.T) {
	at := time.Unix(1e9, 0)
	rec := &recording{interval: sampleSpan}
	for i := range 3 {
		use := gpu.Use{Utilization: []float64{0, 0.4, 0.8}[i]}
		rec.take(&Stats{Usage: cgroup.Usage{}, GPUs: []GPUUse{{Use: use}, {Use: gpu.Use{Missing: []string{gpu.Utilization}}}}}, at.Add(time.Duration(i)*sampleSpan/2))
	}
	if len(rec.fine) != 1 || rec.fine[0].GPU < 0.599 || rec.fine[0].GPU > 0.601 || rec.interval != sampleSpan {
		t.Errorf("%+v", rec)
	}
}
