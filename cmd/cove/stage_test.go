package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// TestKilledAtEveryStage kills the daemon at each stage that an operation
// records, and says what the next daemon makes of it. The sandboxes have disks,
// which are one more thing to give back.
func TestKilledAtEveryStage(t *testing.T) {
	h := realHost(t)
	for _, c := range []struct {
		op, stage string
		want      lifecycle.State
	}{
		// Nobody was told of the sandbox: it is rolled back, its name is free.
		{"create", "named", lifecycle.Destroyed},
		{"create", "formatted", lifecycle.Destroyed},
		{"create", "made", lifecycle.Destroyed},
		{"create", "leased", lifecycle.Destroyed},
		{"create", "opened", lifecycle.Destroyed},
		{"create", "prepared", lifecycle.Destroyed},
		{"create", "created", lifecycle.Destroyed},
		{"create", "running", lifecycle.Destroyed},
		{"create", "configured", lifecycle.Destroyed},
		// What does not run yet is rolled back, what does is adopted.
		{"start", "leased", lifecycle.Stopped},
		{"start", "opened", lifecycle.Stopped},
		{"start", "prepared", lifecycle.Stopped},
		{"start", "created", lifecycle.Stopped},
		{"start", "running", lifecycle.Stopped},
		{"start", "configured", lifecycle.Started},
		// What was to end ends.
		{"stop", "ended", lifecycle.Stopped},
		{"stop", "released", lifecycle.Stopped},
		{"restart", "ended", lifecycle.Stopped},
		{"restart", "released", lifecycle.Stopped},
		{"restart", "created", lifecycle.Stopped},
		{"restart", "configured", lifecycle.Started},
		{"delete", "released", lifecycle.Destroyed},
		{"pause", "pausing", lifecycle.Paused},
		{"pause", "frozen", lifecycle.Paused},
		{"resume", "resuming", lifecycle.Started},
		{"resume", "thawed", lifecycle.Started},
		// A copy leaves it as it was.
		{"cp", "leased", lifecycle.Stopped},
		{"cp", "prepared", lifecycle.Stopped},
		{"cp", "created", lifecycle.Stopped},
		{"cp", "running", lifecycle.Stopped},
		{"cp", "configured", lifecycle.Stopped},
		{"cp", "open", lifecycle.Stopped},
		// The limits are the one or the other, and those of the record.
		{"resize", "resizing", lifecycle.Started},
		{"resize", "pids", lifecycle.Started},
		{"resize", "memory", lifecycle.Started},
		{"resize", "cpu", lifecycle.Started},
		{"resize", "recorded", lifecycle.Started},
		// The files are where they were, or in the archive.
		{"archive", "archiving", lifecycle.Stopped},
		{"archive", "saved", lifecycle.Stopped},
		{"archive", "recorded", lifecycle.Archived},
		{"restore", "restoring", lifecycle.Archived},
		{"restore", "restored", lifecycle.Archived},
		{"restore", "recorded", lifecycle.Stopped},
		// What is kept, or copied, leaves it as it was.
		{"snapshot", "pending", lifecycle.Stopped},
		{"snapshot", "committed", lifecycle.Stopped},
		{"snapshot", "kept", lifecycle.Stopped},
		{"snapshot live", "frozen", lifecycle.Started},
		{"snapshot live", "thawed", lifecycle.Started},
		{"fork", "committed", lifecycle.Stopped},
		{"fork live", "frozen", lifecycle.Started},
		{"rename", "linked", lifecycle.Started},
		{"rename", "recorded", lifecycle.Destroyed},
	} {
		t.Run(c.op+"."+c.stage, func(t *testing.T) {
			h := h.in(t)
			h.must("daemon", "start")
			f := &fate{name: "s"}
			if c.op != "create" {
				h.must("create", "-p", "shell", "--disk", "32MiB", "-n", f.name)
				mark(h, f)
				if c.op == "start" || c.op == "cp" || c.op == "archive" || c.op == "snapshot" || c.op == "fork" {
					h.must("stop", f.name)
				}
				if c.op == "restore" {
					h.must("archive", "--stop", f.name)
				}
				if c.op == "resume" {
					h.must("pause", f.name)
				}
			}
			h.must("daemon", "stop")
			if c.op == "restore" {
				c.op = "start"
			}
			c.op = strings.TrimSuffix(c.op, " live")
			ended := h.daemonThatDies(c.op + "." + c.stage)
			args := map[string][]string{
				"create": {"create", "-p", "shell", "--disk", "32MiB", "-n", f.name}, "delete": {"rm", f.name}, "rename": {"rename", f.name, "renamed"}, "cp": {"cp", f.name + ":/etc/hostname", "-"},
				"snapshot": {"snapshot", "create", f.name},
				"resize":   {"resize", f.name, "--cpu", "1.5", "--memory", "1GiB", "--pids", "128"},
			}[c.op]
			if args == nil {
				args = []string{c.op, f.name}
			}
			if out, stderr, code := h.cove(args...); code != 1 || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%s while the daemon dies: status %d\n%s%s", c.op, code, out, stderr)
			}
			ended()
			h.must("daemon", "start")
			settle(h)
			if got := stateOf(h, f.name); got != c.want {
				t.Errorf("it is %s, want %s", got, c.want)
			}
			if c.op == "resize" {
				if got := agree(t, h, f.name); (got.Memory == config.GiB) != (c.stage == "recorded") {
					t.Errorf("killed at %s its limits are %+v", c.stage, got)
				}
			}
			if c.op == "rename" && c.want == lifecycle.Destroyed {
				h.must("rename", "renamed", f.name) // which is free
			} else if c.want == lifecycle.Destroyed {
				h.must("create", "-p", "shell", "--disk", "32MiB", "-n", f.name)
				mark(h, f)
			}
			verify(t, h, f)
			h.must("rm", f.name)
			if out, stderr, code := h.cove("doctor", "--leaks"); code != 0 {
				t.Errorf("leaks:\n%s%s", out, stderr)
			}
		})
	}
}

// daemonThatDies starts a daemon that kills itself at one stage of one
// operation. The function it returns waits for its end.
func (h *host) daemonThatDies(at string) func() {
	h.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := h.command(ctx, "daemon", "run", "--ready-fd", "3")
	cmd.Env = append(cmd.Env, "COVE_FAILPOINT="+at)
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	_ = w.Close()
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		h.t.Fatalf("the daemon says %q, %v", line, err)
	}
	return func() {
		h.t.Helper()
		defer cancel()
		err := cmd.Wait()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ProcessState.String() != "signal: killed" || ctx.Err() != nil {
			h.t.Fatalf("the daemon did not kill itself at %s: %v", at, err)
		}
	}
}
