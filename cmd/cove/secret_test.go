package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secretProfile takes a key from the environment and has every occasion to lose it.
const secretProfile = `
extends = "shell"
setup = [
  "printf %s \"$COVE_KEY\" | sha256sum >/tmp/sum; echo the key is $COVE_KEY",
  "test -e /home/dev/.mended || { touch /home/dev/.mended; printf %s \"$COVE_KEY\" >&2; exit 9; }",
]
[env]
COVE_KEY = { from = "env" }
COVE_LATER = { from = "env", optional = true }
`

// A key from the environment is visible to what runs inside, and is in no file
// below the state and run directories, in no argv, no log and nothing that cove
// prints, whatever becomes of the sandbox and its daemon.
func TestSecretIsKeptNowhere(t *testing.T) {
	var raw [24]byte
	if _, err := rand.Read(raw[:]); err != nil {
		t.Fatal(err)
	}
	key := "sk-" + hex.EncodeToString(raw[:])
	sum := fmt.Sprintf("%x  -", sha256.Sum256([]byte(key)))
	h := realHost(t)
	p := h.profile("secret", secretProfile)
	without := h.env
	h.env = append(h.env[:len(h.env):len(h.env)], "COVE_KEY="+key)
	nowhere := func(when string) {
		t.Helper()
		for _, dir := range []string{h.state, h.run} {
			for _, file := range filesWith(t, dir, key) {
				t.Errorf("%s: it is in %s", when, file)
			}
		}
		for pid, argv := range commandLines(t) {
			if bytes.Contains(argv, []byte(key)) {
				t.Errorf("%s: process %s has it among its arguments: %q", when, pid, argv)
			}
		}
		if environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", h.pid())); err != nil || bytes.Contains(environ, []byte(key)) {
			t.Errorf("%s: the daemon's own environment: %v", when, err)
		}
		for _, args := range [][]string{{"ls", "--json"}, {"events"}, {"inspect", "s"}, {"profile", "show", p}} {
			out, stderr, _ := h.cove(args...)
			if strings.Contains(out+stderr, key) {
				t.Errorf("%s: cove %s prints it", when, strings.Join(args, " "))
			}
		}
	}
	visible := func(when string) {
		t.Helper()
		if got := h.sh("s", "echo $COVE_KEY"); got != key {
			t.Errorf("%s: exec sees %q", when, got)
		}
		tt := h.attach("s", 120, 24, "--session", "x")
		tt.Send("clear; echo [$COVE_KEY]\r")
		tt.See("[" + key + "]")
		tt.Send("exit\r")
		_ = tt.Exit()
	}

	// The second step fails and says the key, the first time. This starts the
	// daemon too, in the environment that has it.
	_, stderr, code := h.cove("create", "-p", p, "-n", "s")
	if code != 1 || strings.Contains(stderr, key) || !strings.Contains(stderr, "setup step 2/2") || !strings.Contains(stderr, "exit status 9: [COVE_KEY]") {
		t.Errorf("a failing step: status %d, %q", code, stderr)
	}
	nowhere("after a failed setup")
	h.must("start", "s")
	visible("after setup")
	if got := h.sh("s", "cat /tmp/sum"); got != sum {
		t.Errorf("the setup saw something else: %q", got)
	}
	nowhere("while it runs")

	// Nor has PID 1 got it where others inside can read it, and a program that
	// dies leaves no memory behind.
	got := h.sh("s", `cat /proc/1/environ /proc/1/cmdline 2>/dev/null | tr '\0' ' '; sudo -n cat /proc/1/environ 2>/dev/null | tr '\0' ' '
cd $(mktemp -d); ulimit -c unlimited 2>/dev/null; sh -c 'kill -ABRT $$'; sleep 0.2; ls`)
	if strings.Contains(got, key) || strings.Contains(got, "core") {
		t.Errorf("inside: %q", got)
	}
	inspected := h.inspect("s")
	if environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", inspected.Running.Pid)); err != nil || bytes.Contains(environ, []byte(key)) {
		t.Errorf("PID 1's environment: %v", err)
	}
	nowhere("after a crash inside")

	h.kill()
	visible("behind the next daemon")
	nowhere("behind the next daemon")

	// A start without it names it; the optional one is not missed.
	h.must("stop", "s")
	nowhere("when it is stopped")
	h.env = without
	h.refuse(1, []string{"COVE_KEY", "export COVE_KEY"}, "start", "s")
	h.refuse(1, []string{"COVE_KEY"}, "create", "-p", p, "-n", "other")
	h.env = append(h.env[:len(h.env):len(h.env)], "COVE_KEY="+key, "COVE_LATER="+key+"-2")
	h.must("start", "s")
	if got := h.sh("s", "echo $COVE_LATER"); got != key+"-2" {
		t.Errorf("the optional one is %q", got)
	}
	nowhere("with both")
	// The flag takes it as the profile does.
	h.must("create", "-p", "shell", "-n", "flag", "-e", "COVE_KEY")
	if got := h.sh("flag", "echo $COVE_KEY"); got != key {
		t.Errorf("by the flag: %q", got)
	}
	nowhere("by the flag")
	h.must("rm", "s", "flag")
	nowhere("when it is deleted")
}

// filesWith are the files below dir that hold text.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	read := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			return err
		case !d.Type().IsRegular():
			if target, err := os.Readlink(path); err == nil && strings.Contains(target, text) {
				found = append(found, path)
			}
			return nil
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		read++
		if bytes.Contains(data, []byte(text)) || strings.Contains(path, text) {
			found = append(found, path)
		}
		return err
	})
	if err != nil || read == 0 {
		t.Errorf("look through %s: %d files, %v", dir, read, err)
	}
	return found
}

// commandLines are the arguments of all processes, by pid.
func commandLines(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d processes, %v", len(files), err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		if argv, err := os.ReadFile(f); err == nil {
			all[filepath.Base(filepath.Dir(f))] = argv
		}
	}
	return all
}
