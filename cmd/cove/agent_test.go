package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/lifecycle"
)

// profile writes a profile of the user's own, which nobody has to trust, and
// returns its name.
func (h *host) profile(name, text string) string {
	h.t.Helper()
	dir := filepath.Join(filepath.Dir(h.run), "config", "cove", "profiles")
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".toml"), []byte(text), 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return name
}

// An agent: a program that asks, and has its key.
const agentProfile = `
extends = "shell"
command = ["sh", "-c", "echo key=$KEY dir=$PWD; while read -r line; do [ \"$line\" = quit ] && exit 7; echo heard-$line; done"]
[env]
KEY = { from = "env", optional = true }
`

// One line makes a sandbox and enters its agent, which runs on behind the
// terminal that left it.
func TestRunAgent(t *testing.T) {
	h := realHost(t)
	h.env = append(h.env, "KEY=k-1")
	p := h.profile("agent", agentProfile)
	tt := h.terminal(100, 24, "run", "-p", p, "-n", "a")
	tt.See("key=k-1 dir=/workspace")
	tt.Send("one\r")
	tt.See("heard-one")
	tt.detach()
	if s := stateOf(h, "a"); s != lifecycle.Started {
		t.Errorf("it is %s", s)
	}
	again := h.attach("a", 100, 24)
	again.See("heard-one")
	again.Send("two\r")
	again.See("heard-two")
	again.detach()

	// A shell stands beside it.
	shell := h.attach("a", 100, 24, "--session", "shell")
	shell.Send("echo in-$0-$KEY\r")
	shell.See("in-/bin/bash-k-1")
	shell.detach()

	// When the agent has ended, entering begins it anew; so does a start.
	last := h.attach("a", 100, 24)
	last.Send("quit\r")
	last.See("the session ended with status 7")
	_ = last.Exit()
	h.must("restart", "a")
	fresh := h.attach("a", 100, 24)
	fresh.See("key=k-1")
	if text := fresh.Screen().Text(); strings.Contains(text, "heard") {
		t.Errorf("it goes on where it was:\n%s", text)
	}
	fresh.detach()
}

// The whole of it: one line gives an agent the project, its key and whose commits
// it makes; what it commits is the owner's, outside too.
func TestAgentInProject(t *testing.T) {
	need(t, "/usr/bin/git")
	h := realHost(t)
	project := filepath.Join(filepath.Dir(h.run), "project")
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", project}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.Mkdir(project, 0o755); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	if out, err := exec.Command("chown", "-R", "1001:1001", project).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(h.run), ".gitconfig"), []byte("[user]\nname = Ann\nemail = ann@example.org\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.env = append(h.env, "KEY=k-2")
	p := h.profile("agent", strings.Replace(agentProfile, "while read", "echo $KEY >made && git add made && git commit -q -m by-the-agent && echo committed; while read", 1))
	tt := h.terminal(100, 24, "run", "-p", p, "--mount", project+":/workspace:rw")
	tt.See("committed")
	tt.Send("quit\r")
	_ = tt.Exit()
	if got := git("log", "--format=%an %ae %s"); got != "Ann ann@example.org by-the-agent" {
		t.Errorf("the commit is %q", got)
	}
	if got := git("status", "--short"); got != "" {
		t.Errorf("the tree has %q", got)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(project, "made"), &st); err != nil || st.Uid != 1001 || st.Gid != 1001 {
		t.Errorf("it belongs to %d:%d, %v", st.Uid, st.Gid, err)
	}
}

// run exits with the agent's status; --rm deletes when the agent has ended, and
// not when it was left.
func TestRunAgentRemoves(t *testing.T) {
	h := realHost(t)
	p := h.profile("agent", agentProfile)
	tt := h.terminal(100, 24, "run", "--rm", "-p", p, "-n", "gone")
	tt.See("key= dir")
	tt.Send("quit\r")
	if err := tt.Exit(); err == nil || err.Error() != "exit status 7" {
		t.Errorf("it ended with %v", err)
	}
	left := h.terminal(100, 24, "run", "--rm", "-p", p, "-n", "left")
	left.See("key= dir")
	left.detach()
	if list := h.list(); len(list) != 1 || list[0].Name != "left" {
		t.Errorf("there is %+v", list)
	}
}

// Where the agent is not there, run says so before it makes anything, and who
// has made the sandbox all the same gets in to install it.
func TestAgentIsMissing(t *testing.T) {
	h := realHost(t)
	for _, name := range []string{"claude", "codex", "opencode"} {
		if _, err := os.Stat("/usr/bin/" + name); err == nil {
			continue
		}
		if _, err := os.Stat("/usr/local/bin/" + name); err == nil {
			continue
		}
		tt := h.terminal(300, 10, "run", "-p", name, "-n", "mine", "--lan", "--mount", "/tmp:/workspace:ro", "--env", "KEY=secret", "--rm")
		tt.See("cove: run: " + name + " is not installed on this machine")
		tt.See("npm install -g ")
		tt.See("in one: cove create -p " + name + " -n mine --env KEY=... --mount /tmp:/workspace:ro --lan=true, cove exec mine -- ")
		if err := tt.Exit(); err == nil || err.Error() != "exit status 1" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(h.list()); n != 0 {
		t.Errorf("%d sandboxes were made", n)
	}
	// In the caller's own directories it does not help.
	mine := filepath.Join(filepath.Dir(h.run), "mine")
	if err := os.MkdirAll(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mine, "fakeagent"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := h.profile("fake", "extends = \"node\"\ncommand = [\"fakeagent\"]\ninstall = \"make it\"\n")
	h.env = append(h.env, "PATH="+mine+":"+os.Getenv("PATH"))
	tt := h.terminal(300, 10, "run", "-p", p)
	tt.See("fakeagent is at " + mine + "/fakeagent, which sandboxes do not see")
	_ = tt.Exit()

	h.must("create", "-p", p, "-n", "f")
	inside := h.attach("f", 100, 24)
	inside.See("cove: fakeagent is not installed here; to install it: make it")
	inside.Send(`mkdir -p ~/.local/bin; printf '#!/bin/sh\necho agent-%s $((6*7)); read x\n' runs >~/.local/bin/fakeagent; chmod +x ~/.local/bin/fakeagent; exit` + "\r")
	_ = inside.Exit()
	now := h.attach("f", 100, 24)
	now.See("agent-runs 42")
	now.detach()
}

// An agent that fails takes its terminal with it: what it said is told.
func TestAgentFails(t *testing.T) {
	h := realHost(t)
	p := h.profile("broken", `
extends = "shell"
command = ["sh", "-c", "printf 'working\\n\\033]0;title\\007\\033[31mE: no \\342\\230\\203 node\\033[0m\\n\\033[2K\\r'; exit 127"]
`)
	tt := h.terminal(100, 24, "run", "-p", p, "-n", "b")
	tt.See("cove: b: the session ended with status 127: E: no ☃ node")
	if err := tt.Exit(); err == nil || err.Error() != "exit status 127" {
		t.Errorf("run ended with %v", err)
	}
	// A shell that is left with a status has nothing to tell.
	shell := h.attach("b", 100, 24, "--session", "sh")
	shell.Send("exit 3\r")
	shell.See("cove: b: the session ended with status 3")
	_ = shell.Exit()
}

// What run without a command is refused with.
func TestRunWithoutCommand(t *testing.T) {
	h := realHost(t)
	p := h.profile("agent", agentProfile)
	h.refuse(2, []string{"takes a command", "shell has none"}, "run", "-p", "shell")
	h.refuse(2, []string{"terminal"}, "run", "-p", p)
	h.refuse(2, []string{"--user is for a command"}, "run", "-p", p, "-u", "root")
	h.refuse(2, []string{"takes nothing before --"}, "run", "-p", p, "x", "--", "y")
	h.refuse(2, []string{"takes nothing before --"}, "run", "-p", p, "x", "--")
	if n := len(h.list()); n != 0 {
		t.Errorf("%d sandboxes were made", n)
	}
}
