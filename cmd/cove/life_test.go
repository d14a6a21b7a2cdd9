package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cove/runtime/lifecycle"
)

func TestFilesSurvive(t *testing.T) {
	h := realHost(t)
	if got := h.must("create", "-p", "python", "-n", "a"); got != "a\n" {
		t.Errorf("create prints %q", got)
	}
	if got := h.must("exec", "a", "--", "python3", "-c", "print(6*7)"); got != "42\n" {
		t.Errorf("python says %q", got)
	}
	if got := h.must("exec", "a", "--", "sh", "-c", "command -v python3; echo kept > ~/file; sudo -n touch /usr/bin/newtool && sudo -n chmod 755 /usr/bin/newtool"); !strings.Contains(got, ".venv/bin/python3") {
		t.Errorf("python3 is not the venv's: %q", got)
	}
	kept := func(when string) {
		t.Helper()
		if got := h.must("exec", "a", "--", "sh", "-c", "cat ~/file; ls /usr/bin/newtool"); got != "kept\n/usr/bin/newtool\n" {
			t.Errorf("after %s the files read %q", when, got)
		}
	}
	h.must("stop", "a")
	if d := h.inspect("a"); d.State != lifecycle.Stopped || d.Reason == nil || d.Reason.Kind != lifecycle.ReasonUser {
		t.Errorf("after stop: %s, reason %v", d.State, d.Reason)
	}
	h.must("start", "a")
	kept("stop and start")
	h.must("restart", "a")
	kept("restart")
	h.kill()
	kept("a killed daemon")

	h.reboot("a")
	if d := h.inspect("a"); d.State != lifecycle.Stopped || d.Reason == nil || d.Reason.Kind != lifecycle.ReasonReboot {
		t.Errorf("after a reboot: %s, reason %v", d.State, d.Reason)
	}
	h.must("start", "a")
	kept("a reboot")
	if _, err := os.Stat("/usr/bin/newtool"); err == nil {
		t.Error("the sandbox's file is in the host's /usr")
	}
}

func TestInside(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "base", "-n", "in")
	in := func(script string) string {
		t.Helper()
		return strings.TrimSpace(h.must("exec", "in", "--", "sh", "-c", script))
	}
	if got := in("id -un"); got != "dev" {
		t.Errorf("the user is %q", got)
	}
	d := h.inspect("in")
	if d.Running == nil {
		t.Fatal("inspect of a started sandbox has no running part")
	}
	if got := in("cat /proc/self/uid_map | tr -s ' '"); got != fmt.Sprintf("0 %d 65536", d.Running.UIDBase) {
		t.Errorf("uid_map is %q, its base %d", got, d.Running.UIDBase)
	}
	if n := in("wc -l < /proc/self/uid_map"); n != "1" {
		t.Errorf("uid_map has %s lines", n)
	}
	if out, _, code := h.cove("exec", "in", "-u", "0", "--", "sh", "-c", "setpriv --reuid 65536 --clear-groups true"); code == 0 {
		t.Errorf("uid 65536 exists inside: %s", out)
	}
	if got := in("ls -A /home; sudo -n ls -A /root | grep -v '^\\.' | wc -l; ls -d /proc/[0-9]* | wc -l"); !regexp.MustCompile(`^dev\n0\n\d$`).MatchString(got) {
		t.Errorf("/home, /root and the processes are %q", got)
	}
	if got := in("ls /dev/kmsg /dev/mem /dev/sda /dev/vda /dev/loop0 2>/dev/null; true"); got != "" {
		t.Errorf("host devices inside: %q", got)
	}
	hostShadow, err := os.ReadFile("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	if got := in("sudo -n cat /etc/shadow"); bytes.Equal([]byte(got), bytes.TrimSpace(hostShadow)) {
		t.Error("/etc/shadow is the host's")
	}
	if got := in("for f in /etc/ssh /etc/sudoers.d/README /etc/ssl/private; do sudo -n test -e $f && echo $f; done; true"); got != "" {
		t.Errorf("of the host's /etc there is %q", got)
	}
	if got := in("ls /sys/class/net; hostname; cat /proc/1/comm"); got != "eth0\nlo\nin\ninit" {
		t.Errorf("network, host name and PID 1 are %q", got)
	}
	if got := in("nproc >/dev/null; grep -c Seccomp:.2 /proc/self/status"); got != "1" {
		t.Errorf("no seccomp filter: %q", got)
	}
	// PID 1 is out of reach for its own sandbox's root.
	if out, _, code := h.cove("exec", "in", "-u", "0", "--", "sh", "-c", "cat /proc/1/environ || ls -l /proc/1/fd/3"); code == 0 {
		t.Errorf("root inside reads PID 1: %q", out)
	}
	// What outside sees of it.
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Running.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(fmt.Sprintf(`(?m)^Uid:\s+%d\s`, d.Running.UIDBase)).Match(status) || d.Running.UIDBase < 65536 {
		t.Errorf("root inside is not an unprivileged uid outside:\n%s", status)
	}
	info, err := os.Stat(h.state)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state directory has mode %v, %v", info.Mode(), err)
	}
	if out, err := asUID(1001, nil, "/bin/ls", h.state); err == nil {
		t.Errorf("uid 1001 lists the state directory: %s", out)
	}
}

func TestExecStreams(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "x")
	out, stderr, code := h.cove("exec", "x", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
	if out != "out\n" || stderr != "err\n" || code != 7 {
		t.Errorf("stdout %q, stderr %q, status %d", out, stderr, code)
	}
	if _, _, code := h.cove("exec", "x", "--", "sh", "-c", "kill -TERM $$"); code != 143 {
		t.Errorf("status of a program ended by SIGTERM is %d", code)
	}
	if _, stderr, code := h.cove("exec", "x", "--", "no-such-program"); code != 127 || !strings.Contains(stderr, "no-such-program") {
		t.Errorf("a missing program: status %d, %q", code, stderr)
	}
	if got := h.must("exec", "x", "-e", "A=b c", "-w", "/tmp", "--", "sh", "-c", `printf '%s %s' "$A" "$PWD"`); got != "b c /tmp" {
		t.Errorf("-e and -w give %q", got)
	}
	if got := h.must("exec", "x", "-u", "0", "--", "id", "-u"); got != "0\n" {
		t.Errorf("-u 0 gives %q", got)
	}
	big := make([]byte, 256<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	back, stderr, code := h.coveIn(big, "exec", "x", "-i", "--", "cat")
	if code != 0 || sha256.Sum256([]byte(back)) != sha256.Sum256(big) {
		t.Errorf("256 MiB: status %d, %d bytes came back, %s", code, len(back), stderr)
	}
	t.Logf("256 MiB through cat in %v", time.Since(begin).Round(time.Millisecond))
}

func TestTimeoutKillsAll(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "x")
	begin := time.Now()
	_, stderr, code := h.cove("exec", "x", "--timeout", "1s", "--", "sh", "-c",
		"setsid sleep 1001 & (setsid setsid sleep 1002 &) ; nohup sleep 1003 >/dev/null 2>&1 & sleep 1004")
	if code != 124 || !strings.Contains(stderr, "1s") {
		t.Errorf("status %d, %q", code, stderr)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := h.must("exec", "x", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 100' || true"); got != "1\n" && got != "0\n" {
		t.Errorf("processes are left: %s", got)
	}
	left := h.must("exec", "x", "--", "sh", "-c", "for p in /proc/[0-9]*; do cat $p/comm 2>/dev/null; done")
	if strings.Contains(left, "sleep") {
		t.Errorf("left after the time-out:\n%s", left)
	}
}

func TestOOMAndForkBomb(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "small", "--memory", "64MiB")
	term := h.attach("small", 100, 30)
	term.Send("survivor=yes; echo ready-$((1+1))\r")
	term.See("ready-2")
	_, stderr, code := h.cove("exec", "small", "--", "python3", "-c", "b = bytearray(200 << 20); print(len(b))")
	if code != 137 || !strings.Contains(stderr, "memory") {
		t.Errorf("a program that eats 200 MiB: status %d, %q", code, stderr)
	}
	if s := stateOf(h, "small"); s != lifecycle.Started {
		t.Errorf("the sandbox is %s", s)
	}
	term.Send("echo still-$survivor\r")
	term.See("still-yes")
	term.detach()

	profile := filepath.Join(filepath.Dir(h.run), "few.toml")
	if err := os.WriteFile(profile, []byte("extends = \"shell\"\n[resources]\npids = 64\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.must("create", "-p", profile, "-n", "few")
	out, _, _ := h.cove("exec", "few", "--timeout", "20s", "--", "python3", "-c", `
import os, sys, time
n = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(30); os._exit(0)
        n += 1
except OSError as e:
    print(e.errno, n)
    os.killpg(0, 9) if n > 64 else None
`)
	var errno, n int
	if _, err := fmt.Sscan(out, &errno, &n); err != nil || errno != 11 || n >= 64 {
		t.Errorf("the fork bomb ended with %q", out)
	}
	h.must("stop", "few")
}

func TestReasons(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "r")
	pid := h.inspect("r").Running.Pid
	if err := killPid(pid); err != nil {
		t.Fatal(err)
	}
	h.eventually("the stop", func() bool { return stateOf(h, "r") == lifecycle.Stopped })
	if r := h.inspect("r").Reason; r == nil || r.String() != "signal(KILL)" && r.Kind != lifecycle.ReasonCrash {
		t.Errorf("reason %v", r)
	}
	h.must("start", "r")
	// While nobody watches.
	pid = h.inspect("r").Running.Pid
	h.kill()
	if err := killPid(pid); err != nil {
		t.Fatal(err)
	}
	h.must("daemon", "start")
	h.eventually("the stop", func() bool { return stateOf(h, "r") == lifecycle.Stopped })
	if r := h.inspect("r").Reason; r == nil || r.String() != "signal(KILL)" && r.Kind != lifecycle.ReasonCrash {
		t.Errorf("reason %v", r)
	}
	// Ephemeral ones are gone when they stop.
	h.must("create", "-p", "untrusted", "-n", "once")
	h.must("stop", "once")
	if s := stateOf(h, "once"); s != lifecycle.Destroyed {
		t.Errorf("an ephemeral sandbox is %s after stop", s)
	}
	if got := h.must("run", "--rm", "-p", "untrusted", "--", "sh", "-c", "grep NoNewPrivs /proc/self/status"); !strings.Contains(got, "1") {
		t.Errorf("untrusted lets setuid programs gain: %q", got)
	}
	if n := len(h.list()); n != 1 {
		t.Errorf("%d sandboxes are left, want 1", n)
	}
}

// What cannot be understood is shown, not touched, and can be deleted.
func TestUnknown(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "odd")
	id := h.inspect("odd").ID
	h.must("stop", "odd")
	h.must("daemon", "stop")
	if err := os.WriteFile(filepath.Join(h.state, "sandboxes", id, "sandbox.json"), []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("daemon", "start")
	list := h.list()
	if len(list) != 1 || list[0].State != lifecycle.Unknown || list[0].ID != id || list[0].Reason == nil || list[0].Reason.Detail == "" {
		t.Fatalf("a damaged sandbox is shown as %+v", list)
	}
	h.refuse(1, []string{"unknown"}, "start", id)
	h.must("rm", id)
	h.must("create", "-p", "shell", "-n", "odd") // its name is free again
}

// rm works in every state, also while creating.
func TestDeleteWhileCreating(t *testing.T) {
	h := realHost(t)
	h.must("daemon", "start")
	profile := h.profile("slow", "extends = \"shell\"\nsetup = [\"touch /tmp/begun; sleep 1000\"]\n")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := range 5 {
		cmd := h.command(ctx, "create", "-p", profile, "-n", "slow")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		h.eventually("creating", func() bool { return stateOf(h, "slow") == lifecycle.Creating })
		if i%2 == 1 {
			h.eventually("the setup", func() bool { return strings.HasPrefix(h.inspect("slow").Progress, "setup 1/1: touch") })
		}
		h.must("rm", "slow")
		if err := cmd.Wait(); err == nil {
			t.Error("create of a sandbox that was deleted meanwhile succeeds")
		}
		if !strings.Contains(stderr.String(), "delete") {
			t.Errorf("create says %q", stderr.String())
		}
	}
	if n := len(h.list()); n != 0 {
		t.Errorf("%d sandboxes are left", n)
	}
}
