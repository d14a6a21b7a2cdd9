package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"cove/config"
)

// TestMain makes this test binary stand in for cove: a script that calls cove
// runs the code under test, with the race detector when that is on.
func TestMain(m *testing.M) {
	// Run by nohup(1), what the tests start would ignore it too.
	if filepath.Base(os.Args[0]) != "cove" && signal.Ignored(unix.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	}
	if err := leaveNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, "a network namespace for the tests:", err)
		os.Exit(1)
	}
	testscript.Main(m, map[string]func(){"cove": main})
}

// TestScript runs the scripts of testdata/script. Those that need a daemon say
// so with [!daemon] skip; each of them has one of its own, with private
// directories, and must leave nothing behind.
func TestScript(t *testing.T) {
	home := installation(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setup(t, env, home) },
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "daemon":
				return home != "", nil
			case "root":
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  cmdStatus,
			"oneline": cmdOneLine,
			"daemon2": cmdSecondDaemon,
			"killd":   cmdKillDaemon,
			"fields":  cmdFields,
			"waitfor": cmdWaitFor,
		},
	})
}

// installation makes a directory as `make install` does, with this test binary
// as cove, and returns it; "" where there is no cove-init or runc to put beside
// it, or no root.
func installation(t *testing.T) string {
	t.Helper()
	// Where make puts cove-init and runc.
	bin, err := filepath.Abs(cmp.Or(os.Getenv("COVE_BIN"), "../../bin"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return ""
	}
	home := openDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"cove": self, "cove-init": filepath.Join(bin, "cove-init"), "runc": filepath.Join(bin, "runc")} {
		data, err := os.ReadFile(from)
		if errors.Is(err, os.ErrNotExist) {
			t.Logf("no %s: scripts that need a daemon are skipped", from)
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// openDir is a temporary directory with a short name that every uid may pass:
// below it lie a socket (107 bytes at most) and the roots of sandboxes.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "cove-t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// setup gives a script its own daemon directories, and sees to it that what
// the script leaves is stopped and audited.
func setup(t *testing.T, env *testscript.Env, home string) error {
	dir, err := os.MkdirTemp("/tmp", "cove-s")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	env.Setenv("COVE_STATE_DIR", filepath.Join(dir, "state"))
	env.Setenv("COVE_RUN_DIR", filepath.Join(dir, "run"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "user-state"))
	env.Setenv("TERM", "dumb")
	if home != "" {
		env.Setenv("PATH", home+":"+env.Getenv("PATH"))
	}
	vars := func() []string { return env.Vars }
	env.Defer(func() {
		if home != "" {
			windUp(t, filepath.Join(home, "cove"), vars(), filepath.Join(dir, "state"), filepath.Join(dir, "run"))
			windUp(t, filepath.Join(home, "cove"), vars(), filepath.Join(dir, "state2"), filepath.Join(dir, "run2"))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return nil
}

// windUp deletes every sandbox of a state directory that was used, demands
// that nothing of it is left, and stops its daemon.
func windUp(t *testing.T, cove string, env []string, state, run string) {
	t.Helper()
	if _, err := os.Stat(state); errors.Is(err, os.ErrNotExist) {
		return
	}
	env = append(env[:len(env):len(env)], "COVE_STATE_DIR="+state, "COVE_RUN_DIR="+run)
	call := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, cove, args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("cove %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return string(out), err
	}
	list, err := call("ls")
	if err != nil {
		t.Error(err)
	}
	var names []string
	for i, line := range strings.Split(strings.TrimSpace(list), "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 0 {
			names = append(names, f[0])
		}
	}
	if len(names) > 0 {
		if _, err := call(append([]string{"rm", "--now"}, names...)...); err != nil {
			t.Error(err)
		}
	}
	if _, err := call("doctor", "--leaks"); err != nil {
		t.Error(err)
	}
	if _, err := call("daemon", "stop"); err != nil {
		t.Error(err)
	}
}

// cmdStatus runs a program and demands an exit status:
//
//	status 2 cove frobnicate
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	default:
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: exit status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// cmdOneLine demands that stderr is exactly one line in cove's form.
func cmdOneLine(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stderr")
	if neg || len(args) != 0 {
		ts.Fatalf("usage: oneline")
	}
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "cove: ") || !strings.HasSuffix(text, "\n") {
		ts.Fatalf("stderr is not one line that begins with cove: %q", text)
	}
}

// cmdFields demands that a file holds a JSON object, or an array of at least one,
// with these keys:
//
//	fields stdout id name state
func cmdFields(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fields file key...")
	}
	text := []byte(ts.ReadFile(args[0]))
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		var array []map[string]any
		ts.Check(json.Unmarshal(text, &array))
		if len(array) == 0 {
			ts.Fatalf("an empty array")
		}
		object = array[0]
	}
	for _, key := range args[1:] {
		if _, ok := object[key]; !ok {
			ts.Fatalf("no key %q in %s", key, text)
		}
	}
}

// cmdWaitFor waits until a file that a program is writing holds a match:
//
//	waitfor log '"state":"stopped"'
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor file regexp")
	}
	want, err := regexp.Compile(args[1])
	ts.Check(err)
	deadline := time.Now().Add(30 * time.Second)
	for !want.MatchString(ts.ReadFile(args[0])) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s holds no %s:\n%s", args[0], want, ts.ReadFile(args[0]))
		}
		<-time.After(20 * time.Millisecond)
	}
}

// cmdSecondDaemon points what follows at a second pair of directories, or back
// at the first: daemon2 on, daemon2 off.
func cmdSecondDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "on" && args[0] != "off" {
		ts.Fatalf("usage: daemon2 on|off")
	}
	for _, name := range []string{"COVE_STATE_DIR", "COVE_RUN_DIR"} {
		dir := strings.TrimSuffix(ts.Getenv(name), "2")
		if args[0] == "on" {
			dir += "2"
		}
		ts.Setenv(name, dir)
	}
}

// cmdKillDaemon ends the daemon of the script with SIGKILL and waits until it
// is gone.
func cmdKillDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: killd")
	}
	dirs, err := config.DirsFromEnv(ts.Getenv)
	ts.Check(err)
	a := &app{dirs: dirs}
	conn, err := a.dialDaemon()
	ts.Check(err)
	pid, err := listenerPid(conn)
	ts.Check(err)
	ts.Check(conn.Close())
	pidfd, err := unix.PidfdOpen(pid, 0)
	ts.Check(err)
	defer func() { ts.Check(unix.Close(pidfd)) }()
	ts.Check(unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0))
	ts.Check(awaitEnd(pidfd, pid))
}
