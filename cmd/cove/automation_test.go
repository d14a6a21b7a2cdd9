package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cove/runtime/lifecycle"
)

// ended waits until the sandboxes are stopped, and checks why.
func (h *host) ended(reason lifecycle.ReasonKind, names ...string) {
	h.t.Helper()
	for _, name := range names {
		h.eventually("the end of "+name, func() bool { return stateOf(h, name) == lifecycle.Stopped }, name)
		if d := h.inspect(name); d.Reason == nil || d.Reason.Kind != reason || d.Desired != lifecycle.Stopped {
			h.t.Errorf("%s stopped for %v, desired %s; want %s", name, d.Reason, d.Desired, reason)
		}
	}
}

// runs checks that the sandboxes run.
func (h *host) runs(names ...string) {
	h.t.Helper()
	for _, name := range names {
		if s := stateOf(h, name); s != lifecycle.Started {
			h.t.Errorf("%s is %s", name, s)
		}
	}
}

// TestAutoStop leaves sandboxes with a short auto_stop alone, with one thing going
// on in each.
func TestAutoStop(t *testing.T) {
	h := realHost(t)
	const stop = 2 * time.Second
	create := func(name string, more ...string) {
		t.Helper()
		h.must(append([]string{"create", "-p", "shell", "-n", name, "--auto-stop", stop.String()}, more...)...)
	}
	background := func(name, script string) {
		t.Helper()
		h.must("exec", name, "--", "sh", "-c", "nohup sh -c '"+script+"' > /dev/null 2>&1 &")
	}
	began := time.Now()
	create("idle")
	h.ended(lifecycle.ReasonIdle, "idle")
	if d := time.Since(began); d < stop {
		t.Errorf("an idle one was stopped after %v", d)
	}

	create("build")
	background("build", "while :; do :; done")
	create("attached")
	attached := h.attach("attached", 80, 24)
	attached.Send("echo $((40+2))\r")
	attached.See("42")
	create("agent")
	agent := h.attach("agent", 80, 24)
	agent.Send("echo on; cat\r")
	agent.See("on")
	agent.Send("\x1d")
	_ = agent.Exit()
	create("shell")
	shell := h.attach("shell", 80, 24)
	shell.Send("echo $((40+2))\r")
	shell.See("42")
	shell.Send("\x1d")
	_ = shell.Exit()
	create("command")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	command := h.command(ctx, "exec", "command", "--", "sleep", "1000")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	create("prints")
	prints := h.attach("prints", 80, 24, "--session", "x")
	prints.Send("(while :; do echo tick; sleep 0.5; done) &\r")
	prints.See("tick")
	prints.Send("\x1d")
	_ = prints.Exit()
	create("sends")
	background("sends", `while :; do head -c 1200 /dev/zero; sleep 0.02; done | bash -c "while head -c 1200 > /dev/udp/192.0.2.1/9; do :; done"`)

	h.ended(lifecycle.ReasonIdle, "shell")
	time.Sleep(2 * stop) // in which nothing must happen
	h.runs("build", "attached", "agent", "command", "prints", "sends")
	for name, want := range map[string]string{"build": "cpu", "attached": "terminal", "agent": "terminal", "command": "exec"} {
		d := h.inspect(name)
		if d.Due == nil || !d.Due.At.IsZero() || !strings.Contains(fmt.Sprint(d.Due.Busy), want) || !strings.HasPrefix(d.Due.Text(time.Now()), "stops when idle; now: ") {
			t.Errorf("%s: due %+v, want it busy with %s", name, d.Due, want)
		}
	}
	// What went on ends, and so do they.
	h.must("exec", "build", "--", "pkill", "-f", "while")
	h.must("exec", "sends", "--", "pkill", "-f", "while")
	attached.Send("\x1d")
	_ = attached.Exit()
	cancel()
	_ = command.Wait()
	back := h.attach("agent", 80, 24)
	back.See("on")
	back.Send("\x03")
	back.See("^C")
	back.Send("echo off-$((1+1))\r")
	back.See("off-2")
	back.Send("\x1d")
	_ = back.Exit()
	h.must("stop", "prints")
	h.ended(lifecycle.ReasonIdle, "build", "attached", "command", "agent", "sends")
}

// TestAutomationWithoutDaemon: a time that is over when a daemon comes is acted on
// once, for the right reason, and not where something went on meanwhile.
func TestAutomationWithoutDaemon(t *testing.T) {
	h := realHost(t)
	const stop = 3 * time.Second
	for _, n := range []string{"idle", "build", "frozen"} {
		h.must("create", "-p", "shell", "-n", n, "--auto-stop", stop.String())
	}
	h.must("create", "-p", "shell", "-n", "gone", "--auto-delete", "3s")
	h.must("create", "-p", "shell", "-n", "ttl", "--ttl", "4s")
	h.must("stop", "gone")
	h.must("pause", "frozen")
	h.must("exec", "build", "--", "sh", "-c", "nohup sh -c 'while :; do :; done' > /dev/null 2>&1 &")
	// Long enough to be seen to be idle.
	time.Sleep(time.Second)
	h.kill()
	time.Sleep(stop + time.Second)
	h.must("daemon", "start")
	h.ended(lifecycle.ReasonIdle, "idle", "frozen")
	h.ended(lifecycle.ReasonTTL, "ttl")
	h.runs("build")
	h.eventually("the end of one that was stopped for long", func() bool { return stateOf(h, "gone") == lifecycle.Destroyed })
	h.refuse(1, []string{"its ttl of 4s was over", "cove automation ttl --ttl never"}, "start", "ttl")
	h.must("automation", "ttl", "--ttl", "never")
	for _, n := range []string{"ttl", "idle"} {
		h.must("start", n)
		h.runs(n)
	}
	h.must("exec", "build", "--", "pkill", "-f", "while")
	h.ended(lifecycle.ReasonIdle, "build", "idle")

	// After a reboot what was stopped for long is spared for a while.
	h.must("automation", "ttl", "--auto-delete", "1s")
	h.reboot("ttl")
	time.Sleep(2 * time.Second)
	if d := h.inspect("ttl"); d.Due == nil || d.Due.Action != lifecycle.OpDelete || time.Until(d.Due.At) < 3*time.Minute {
		t.Errorf("after a reboot: due %+v", d.Due)
	}
}

// TestEphemeralLeavesNothing: what stops by itself is gone like what is stopped.
func TestEphemeralLeavesNothing(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "e", "--rm", "--auto-stop", "1s")
	h.must("create", "-p", "shell", "-n", "f", "--rm", "--ttl", "2s")
	h.must("create", "-p", "shell", "-n", "g", "--auto-stop", "1s", "--auto-delete", "1s")
	h.eventually("nothing to be left", func() bool { return len(h.list()) == 0 })
	for _, dir := range []string{"sandboxes", "names"} {
		if left, err := os.ReadDir(filepath.Join(h.state, dir)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v %v", dir, left, err)
		}
	}
}

// TestPreStop runs the command before stops of every kind.
func TestPreStop(t *testing.T) {
	h := realHost(t)
	dir := filepath.Join(filepath.Dir(h.run), "config", "cove", "profiles")
	lay(t, dir, map[string]string{
		"hook.toml": "extends = \"shell\"\n[automation]\nauto_pause = \"0\"\n" +
			"pre_stop = [\"sh\", \"-c\", \"echo hook says $COVE_SANDBOX; id -un; date >> /workspace/log; sleep $(cat /workspace/wait 2>/dev/null || echo 0); exit $(cat /workspace/exit 2>/dev/null || echo 0)\"]\n" +
			"pre_stop_timeout = \"2s\"\n",
	})
	h.must("create", "-p", "hook", "-n", "a")
	ran := 0
	count := func(what string, want int) {
		t.Helper()
		ran += want
		h.must("start", "a")
		if got := strings.Count(h.must("exec", "a", "--", "sh", "-c", "cat /workspace/log 2>/dev/null || true"), "\n"); got != ran {
			t.Errorf("after %s the hook has run %d times, want %d", what, got, ran)
		}
	}
	logs := func(want ...string) {
		t.Helper()
		got := h.must("logs", "a")
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("logs lack %q:\n%s", w, got)
			}
		}
	}
	h.must("stop", "a")
	logs("pre_stop   hook says a", "pre_stop   dev")
	count("stop", 1)
	h.must("restart", "a")
	count("restart", 1)
	h.must("stop", "--force", "a")
	count("stop --force", 0)
	h.must("pause", "a")
	h.must("stop", "a")
	count("the stop of a paused one", 1)
	h.must("automation", "a", "--auto-stop", "1s")
	h.ended(lifecycle.ReasonIdle, "a")
	count("an automatic stop", 1)
	h.must("automation", "a", "--auto-stop", "0")

	// How it ends is no reason not to stop; a hanging one is killed.
	h.must("exec", "a", "--", "sh", "-c", "echo 3 > /workspace/exit")
	h.must("stop", "a")
	logs("pre_stop   cove: exit status 3")
	count("a failing hook", 1)
	h.must("exec", "a", "--", "sh", "-c", "echo 1000 > /workspace/wait")
	began := time.Now()
	h.must("stop", "a")
	if d := time.Since(began); d < 2*time.Second || d > 20*time.Second {
		t.Errorf("a hook that hangs held the stop up for %v", d)
	}
	logs("pre_stop   hook says a", "pre_stop   cove: killed: it took longer than 2s")
	count("a hanging hook", 1)

	// A delete waits for none.
	began = time.Now()
	h.must("rm", "a")
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("rm took %v", d)
	}
}

// TestAutomationCommand looks at what cove automation and cove touch do.
func TestAutomationCommand(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "a", "--auto-stop", "1h")
	h.must("create", "-p", "shell", "-n", "b")
	if got := h.must("automation", "a"); !strings.Contains(got, "auto_stop     1h\n") || !strings.Contains(got, "due           stops in 59m5") ||
		!strings.Contains(got, ": no terminal, exec, cpu, network\n") {
		t.Errorf("automation a:\n%s", got)
	}
	if got := h.must("automation", "b"); !strings.Contains(got, "due           nothing\n") {
		t.Errorf("automation b:\n%s", got)
	}
	h.must("automation", "a", "--auto-stop", "30m", "--ttl", "10m", "--auto-delete", "7d", "--auto-pause", "20m")
	var view struct {
		AutoStop  float64 `json:"auto_stop"`
		AutoPause float64 `json:"auto_pause"`
		TTL       float64
		Due       struct {
			Key, Text string
			In        float64
		}
	}
	if err := json.Unmarshal([]byte(h.must("automation", "a", "--json")), &view); err != nil {
		t.Fatal(err)
	}
	if view.AutoStop != 1800 || view.AutoPause != 1200 || view.TTL != 600 || view.Due.Key != "ttl" || view.Due.In < 500 || view.Due.In > 600 || !strings.HasSuffix(view.Due.Text, ": ttl") {
		t.Errorf("as JSON: %+v", view)
	}
	// It is on disk, and in the statistics.
	h.kill()
	h.must("daemon", "start")
	if d := h.inspect("a"); d.Spec.Automation.TTL.Std() != 10*time.Minute || d.Due == nil || d.Due.Key != "ttl" {
		t.Errorf("after a killed daemon: %+v, due %+v", d.Spec.Automation, d.Due)
	}
	h.must("automation", "a", "--ttl", "never", "--auto-pause", "0")
	if got := h.must("stats", "--json", "a"); !strings.Contains(got, `"key":"auto_stop"`) && !strings.Contains(got, `"key": "auto_stop"`) {
		t.Errorf("statistics: %s", got)
	}
	before := h.inspect("a").Due.At
	h.must("touch", "a", "b")
	if after := h.inspect("a").Due.At; !after.After(before) {
		t.Errorf("touch: due at %v, before at %v", after, before)
	}
	h.must("stop", "a")
	if got := h.must("automation", "a"); !strings.Contains(got, "due           deleted in 6d23h: auto_delete\n") {
		t.Errorf("a stopped one:\n%s", got)
	}
	h.refuse(2, []string{"--auto-stop", "soon"}, "automation", "a", "--auto-stop", "soon")
	h.refuse(1, []string{"is over already"}, "automation", "a", "--ttl", "1ms")
	h.refuse(1, []string{"none", "no such sandbox"}, "automation", "none", "--ttl", "1h")
	h.refuse(1, []string{"none", "no such sandbox"}, "touch", "none")
}
