package cgroup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests on real control groups use those of the machine, below a group of a
// random instance, and remove it again.

const (
	helperVar = "COVE_CGROUP_TEST_HELPER"
	// enough is far more than anything here takes, on a loaded machine too.
	enough = 20 * time.Second
)

func TestMain(m *testing.M) {
	switch os.Getenv(helperVar) {
	case "eat":
		eat()
	case "hold":
		hold()
	}
	os.Exit(m.Run())
}

// eat waits for a line on stdin, then uses 256 MiB.
func eat() {
	var line [1]byte
	_, _ = os.Stdin.Read(line[:])
	var kept [][]byte
	for range 256 {
		page := bytes.Repeat([]byte{1}, 1<<20)
		kept = append(kept, page)
	}
	fmt.Println(len(kept))
	os.Exit(0)
}

// hold waits for a line on stdin, takes 64 MiB, says so, and keeps them until
// stdin ends.
func hold() {
	var line [1]byte
	_, _ = os.Stdin.Read(line[:])
	kept := bytes.Repeat([]byte{1}, 64<<20)
	fmt.Println("held")
	_, _ = os.Stdin.Read(line[:])
	os.Exit(int(kept[0]) - 1)
}

func randomHex(t testing.TB, n int) string {
	t.Helper()
	raw := make([]byte, n/2)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(raw)
}

// realTree is a tree over what keep leaves of the machine's hierarchies.
func realTree(t testing.TB, keep func(Hierarchy) bool) *Tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make control groups")
	}
	l, err := Detect()
	if errors.Is(err, ErrNone) {
		t.Skip("no control groups here")
	}
	if err != nil {
		t.Fatal(err)
	}
	if keep != nil {
		l.Hierarchies = slices.DeleteFunc(l.Hierarchies, func(h Hierarchy) bool { return !keep(h) })
		if len(l.Hierarchies) == 0 {
			t.Skip("no such hierarchy here")
		}
	}
	tree, err := New(l, randomHex(t, 6))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, tree) })
	if err := tree.Delegate(); err != nil { // on a v2 host; nothing elsewhere
		t.Fatal(err)
	}
	return tree
}

func removeAll(t testing.TB, tree *Tree) {
	ctx, cancel := context.WithTimeout(context.Background(), enough)
	defer cancel()
	ids, err := tree.List()
	for _, id := range ids {
		err = errors.Join(err, tree.Kill(ctx, id), tree.Remove(ctx, id))
	}
	if err := errors.Join(err, tree.RemoveTop()); err != nil {
		t.Errorf("clean up: %v", err)
	}
	for _, h := range tree.layout.Hierarchies {
		if _, err := os.Lstat(filepath.Join(h.Path, tree.top())); err == nil {
			t.Errorf("%s is left in %s", tree.top(), h.Path)
		}
	}
}

// mkdir makes the sandbox's group, and cpusets that processes can enter.
func mkdir(t testing.TB, tree *Tree, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(dir, "/cpuset/") {
			fillCpuset(t, dir)
		}
	}
}

// fillCpuset gives a v1 cpuset, which begins empty, what the one above has.
func fillCpuset(t testing.TB, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "cgroup.clone_children")); err != nil {
		return // v2
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(data)) != "" {
			continue
		}
		fillCpuset(t, filepath.Dir(dir))
		if data, err = os.ReadFile(filepath.Join(filepath.Dir(dir), file)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// start runs a command and puts it into groups before it does anything: it
// waits for the end of its stdin.
func start(t testing.TB, dirs []string, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", `read _; exec "$@"`, "sh"}, argv...)...)
	return enter(t, cmd, dirs)
}

func enter(t testing.TB, cmd *exec.Cmd, dirs []string) *exec.Cmd {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for _, dir := range dirs {
			// Nothing dies frozen; mostly it is gone by now.
			_ = writeFile(filepath.Join(dir, "freezer.state"), "THAWED")
		}
		_ = cmd.Wait()
	})
	for _, dir := range dirs {
		if err := writeFile(filepath.Join(dir, "cgroup.procs"), fmt.Sprint(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func kill(t testing.TB, tree *Tree, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	if err := tree.Kill(ctx, id); err != nil {
		t.Fatal(err)
	}
	pids, err := tree.Procs(id)
	if err != nil || len(pids) > 0 {
		t.Fatalf("after Kill: %v, %v", pids, err)
	}
}

func remove(t testing.TB, tree *Tree, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	if err := tree.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
	for _, dir := range tree.dirs(id) {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

func killedBySignal(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(exit.Error(), "killed") {
		t.Errorf("the process ended with %v, want a kill", err)
	}
}
