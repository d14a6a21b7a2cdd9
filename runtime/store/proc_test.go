package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// stat is a line of /proc/PID/stat.
func stat(comm string, state byte, start uint64) string {
	return fmt.Sprintf("42 (%s) %c 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 %d 100 1 18446744073709551615\n", comm, state, start)
}

func TestParseStat(t *testing.T) {
	for _, comm := range []string{"sleep", "a b", ")", "(", ") S 1 1", "x) R (y", "))))", "", "\n) Z"} {
		state, start, err := parseStat([]byte(stat(comm, 'S', 77)))
		if err != nil || state != 'S' || start != 77 {
			t.Errorf("%q: %c, %d, %v", comm, state, start, err)
		}
	}
	for _, text := range []string{"", "42", "42 (x", "42 (x)", "42 (x) S", "42 (x) SS " + strings.Repeat("1 ", 30), strings.Replace(stat("x", 'S', 77), "77", "-7", 1)} {
		if _, _, err := parseStat([]byte(text)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("a) b(", uint64(1))
	f.Fuzz(func(t *testing.T, comm string, start uint64) {
		if _, got, err := parseStat([]byte(stat(comm, 'R', start))); err != nil || got != start {
			t.Errorf("%d, %v", got, err)
		}
		_, _, _ = parseStat([]byte(comm))
	})
}

func TestProcStart(t *testing.T) {
	me := must[uint64](t)(ProcStart(os.Getpid()))
	cmd := exec.Command("sleep", "1000")
	ok(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	pid := cmd.Process.Pid
	child := must[uint64](t)(ProcStart(pid))
	if child < me || me == 0 {
		t.Errorf("this process began at %d, its child at %d", me, child)
	}
	if !alive(pid, child) || alive(pid, child+1) || alive(0, child) || alive(-1, child) {
		t.Error("alive is wrong about a living process")
	}
	ok(t, cmd.Process.Kill())
	// It is a zombie until Wait.
	within(t, enough, func() bool { _, err := ProcStart(pid); return errors.Is(err, ErrGone) })
	_ = cmd.Wait()
	if _, err := ProcStart(pid); !errors.Is(err, ErrGone) || alive(pid, child) {
		t.Errorf("after its end: %v", err)
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		if _, err := ProcStart(pid); !errors.Is(err, ErrGone) {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
}

func TestBootID(t *testing.T) {
	a, b := must[string](t)(BootID()), must[string](t)(BootID())
	if a != b || len(a) != 36 {
		t.Errorf("%q, %q", a, b)
	}
}
