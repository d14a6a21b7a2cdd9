package main

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"cove/tui/tuitest"
)

// killPid ends a process that a test's own sandbox consists of.
func killPid(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }

// asUID runs a program as another user, without any group but its own.
func asUID(uid uint32, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{uid}}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// terminal is the real program on a terminal of its own.
type terminal struct {
	*tuitest.Terminal
	t testing.TB
}

// attach runs `cove attach NAME` on a terminal.
func (h *host) attach(name string, cols, rows int, more ...string) *terminal {
	h.t.Helper()
	return h.terminal(cols, rows, append([]string{"attach", name}, more...)...)
}
