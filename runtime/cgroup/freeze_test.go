package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFreezeAndThaw freezes a program that makes processes and one that counts,
// in every way that this machine has.
func TestFreezeAndThaw(t *testing.T) {
	for name, keep := range variants() {
		t.Run(name, func(t *testing.T) {
			tree := realTree(t, keep)
			id := randomHex(t, 12)
			mkdir(t, tree, tree.dirs(id)...)
			counter := ticking(t, tree.dirs(id))
			counter.next(t)
			ctx, cancel := context.WithTimeout(t.Context(), enough)
			defer cancel()
			for range 3 {
				if err := tree.Freeze(ctx, id); err != nil {
					t.Fatal(err)
				}
				frozen(t, tree, id, true)
				counter.quiet(t)
				if err := tree.Freeze(ctx, id); err != nil {
					t.Errorf("freeze what is frozen: %v", err)
				}
				if err := tree.Thaw(ctx, id); err != nil {
					t.Fatal(err)
				}
				frozen(t, tree, id, false)
				counter.next(t)
			}
			if err := tree.Thaw(ctx, id); err != nil {
				t.Errorf("thaw what is not frozen: %v", err)
			}
			// What is frozen can be killed.
			if err := tree.Freeze(ctx, id); err != nil {
				t.Fatal(err)
			}
			kill(t, tree, id)
			killedBySignal(t, counter.cmd)
			remove(t, tree, id)
			frozen(t, tree, id, false)
			if err := tree.Thaw(ctx, id); err != nil {
				t.Errorf("thaw what is gone: %v", err)
			}
		})
	}
}

func frozen(t *testing.T, tree *Tree, id string, want bool) {
	t.Helper()
	if got, err := tree.Frozen(id); err != nil || got != want {
		t.Errorf("Frozen: %v, %v; want %v", got, err, want)
	}
}

// tick is a program that writes a line as often as somebody reads one.
type tick struct {
	cmd *exec.Cmd
	out *os.File
	r   *bufio.Reader
}

func ticking(t *testing.T, dirs []string) *tick {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	cmd := start(t, dirs, "sh", "-c", fmt.Sprintf("while :; do true & wait; echo tick > /proc/%d/fd/%d; done", os.Getpid(), w.Fd()))
	t.Cleanup(func() { _ = w.Close() })
	return &tick{cmd, r, bufio.NewReader(r)}
}

func (c *tick) next(t *testing.T) {
	t.Helper()
	if err := c.out.SetReadDeadline(time.Now().Add(enough)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if line, err := c.r.ReadString('\n'); err != nil || strings.TrimSpace(line) != "tick" {
			t.Fatalf("it says %q, %v", line, err)
		}
	}
}

// quiet reads what was said before, and then nothing comes.
func (c *tick) quiet(t *testing.T) {
	t.Helper()
	c.r.Reset(c.out)
	if err := c.out.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(c.out, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("what is frozen goes on: %v", err)
	}
}

func TestFreezeNowhere(t *testing.T) {
	tree := fixture(t, Legacy, map[string][]string{"memory": {"memory"}}, map[string]string{"cg/memory/cove-0c0ffe/0123456789ab/x": ""})
	if err := tree.Freeze(t.Context(), testID); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "freezer controller") {
		t.Errorf("Freeze: %v", err)
	}
	if err := tree.Thaw(t.Context(), testID); err != nil {
		t.Errorf("Thaw: %v", err)
	}
	frozen(t, tree, testID, false)
}

// TestFreezeGivesUp has a group that never gets frozen: it is left thawed.
func TestFreezeGivesUp(t *testing.T) {
	const group = "cg/freezer/cove-" + testInst + "/" + testID
	tree := fixture(t, Legacy, map[string][]string{"freezer": {"freezer"}}, map[string]string{group + "/freezer.state": "FREEZING"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	// A plain file keeps what is written over what it had, so it never reads as asked for.
	if err := tree.Freeze(ctx, testID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Freeze: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(tree.layout.Hierarchies[0].Path, "cove-"+testInst, testID, "freezer.state"))
	if err != nil || !strings.HasPrefix(string(data), "THAWED") {
		t.Errorf("it is left %q, %v", data, err)
	}
}
