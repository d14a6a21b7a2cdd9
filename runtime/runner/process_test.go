package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// makeOrphan is another process: it starts `sh -c $ORPHAN`, tells its pid and
// exits, so that the child is nobody's that the test could wait for.
func makeOrphan() {
	cmd := exec.Command("/bin/sh", "-c", os.Getenv("ORPHAN"))
	cmd.Stdin = os.Stdin
	if err := cmd.Start(); err != nil {
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
}

// orphan starts a shell that is no child of ours; it ends when the returned
// file is closed.
func orphan(t *testing.T, script string) (pid int, release func()) {
	t.Helper()
	read, write, err := os.Pipe()
	must(t, err)
	cmd := exec.Command("/proc/self/exe", "be-orphan-maker")
	cmd.Env = append(os.Environ(), "ORPHAN=read x <&0; "+script)
	cmd.Stdin = read
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line := make([]byte, 16)
	n, err := out.Read(line)
	must(t, err)
	pid, err = strconv.Atoi(strings.TrimSpace(string(line[:n])))
	must(t, err)
	must(t, cmd.Wait())
	_ = read.Close()
	t.Cleanup(func() { _ = write.Close() })
	return pid, func() { _ = write.Close() }
}

// The kernel tells the status of those that were reaped, too, since 6.15.
func TestReapedStatus(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 3")
	must(t, cmd.Start())
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	must(t, err)
	defer func() { _ = unix.Close(fd) }()
	if _, ok := reapedStatus(uintptr(fd)); ok {
		t.Error("a status before it was reaped")
	}
	_ = cmd.Wait()
	status, ok := reapedStatus(uintptr(fd))
	if !ok {
		if kernelTells(t) {
			t.Error("no status")
		}
		t.Skip("this kernel does not tell")
	}
	if got := exitOf(status); got != (Exit{Known: true, Code: 3}) {
		t.Errorf("exit = %+v", got)
	}
}

// kernelTells tells whether the kernel keeps the status of what was reaped.
func kernelTells(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	must(t, unix.Uname(&name))
	var major, minor int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 15
}

// forgotten tells whether an exit that is not known is no fault: PID 1 has
// reaped the process before we could look, on a kernel that forgets.
func forgotten(t *testing.T, e Exit) bool { return e == (Exit{}) && !kernelTells(t) }

func TestWatchExit(t *testing.T) {
	for script, want := range map[string]Exit{
		"exit 0":        {Known: true},
		"exit 42":       {Known: true, Code: 42},
		"kill -9 $$":    {Known: true, Signal: int(unix.SIGKILL)},
		"kill -TERM $$": {Known: true, Signal: int(unix.SIGTERM)},
	} {
		t.Run(script, func(t *testing.T) {
			pid, release := orphan(t, script)
			p, err := Watch(pid, 0)
			must(t, err)
			defer func() { _ = p.Close() }()
			again, err := Watch(pid, p.StartTime())
			must(t, err)
			must(t, again.Close())
			if _, err := again.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Wait after Close = %v", err)
			}

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Wait with an ended context = %v", err)
			}
			release()
			got, err := p.Wait(t.Context())
			must(t, err)
			if got != want && !forgotten(t, got) {
				t.Errorf("exit = %+v, want %+v", got, want)
			}
			if err := p.Signal(0); !errors.Is(err, ErrGone) {
				t.Errorf("Signal to the dead = %v", err)
			}
			must(t, p.Kill())
			// It may not be reaped yet: then its status is still there.
			dead, err := Watch(pid, p.StartTime())
			if err == nil {
				if again, err := dead.Wait(t.Context()); err != nil || again != want && !forgotten(t, again) {
					t.Errorf("watch of the dead: %+v, %v", again, err)
				}
				must(t, dead.Close())
			} else if !errors.Is(err, ErrGone) {
				t.Errorf("Watch of the dead = %v", err)
			}
		})
	}
}

func TestWatchKill(t *testing.T) {
	pid, _ := orphan(t, "exit 0")
	p, err := Watch(pid, 0)
	must(t, err)
	defer func() { _ = p.Close() }()
	must(t, p.Kill())
	got, err := p.Wait(t.Context())
	must(t, err)
	if got != (Exit{Known: true, Signal: int(unix.SIGKILL)}) && !forgotten(t, got) {
		t.Errorf("exit = %+v", got)
	}
}

// A pid that was used again is not the process that was meant.
func TestWatchIdentity(t *testing.T) {
	self, err := procStat(os.Getpid())
	must(t, err)
	start := self.starttime
	for name, c := range map[string]struct {
		pid   int
		start uint64
	}{
		"another start": {os.Getpid(), start + 1},
		"no process":    {0x3fffffff, 0},
		"zero":          {0, 0},
		"negative":      {-1, 0},
	} {
		if p, err := Watch(c.pid, c.start); !errors.Is(err, ErrGone) {
			t.Errorf("%s: Watch = %v, %v", name, p, err)
		}
	}
	p, err := Watch(os.Getpid(), start)
	must(t, err)
	must(t, p.Close())
	if err := p.Signal(0); err == nil {
		t.Error("Signal after Close succeeded")
	}
}

// A child that nobody waits for has ended all the same, and a watch of it tells
// how at once.
func TestWatchZombie(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 5")
	must(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	must(t, unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	p, err := Watch(cmd.Process.Pid, 0)
	must(t, err)
	defer func() { _ = p.Close() }()
	exit, err := p.Wait(t.Context())
	must(t, err)
	if exit != (Exit{Known: true, Code: 5}) {
		t.Errorf("exit = %+v", exit)
	}
}

// A thousand watches cost no threads.
func TestWatchThreads(t *testing.T) {
	before := pprof.Lookup("threadcreate").Count()
	var all []*Process
	for range 1000 {
		p, err := Watch(os.Getpid(), 0)
		must(t, err)
		all = append(all, p)
	}
	if grown := pprof.Lookup("threadcreate").Count() - before; grown > 20 {
		t.Errorf("%d more threads", grown)
	}
	for _, p := range all {
		must(t, p.Close())
	}
}

func TestParseStat(t *testing.T) {
	tail := " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711" + strings.Repeat(" 0", 29) + " 256"
	for name, c := range map[string]struct {
		text string
		want stat
		ok   bool
	}{
		"hostile name":      {"7 (a) Z 1 (b) 2\n3 4) S" + tail, stat{'S', 4711, 256}, true},
		"zombie":            {"7 (a) Z" + tail + "\n", stat{'Z', 4711, 256}, true},
		"empty":             {"", stat{}, false},
		"short":             {"7 (a) S 1 2 3", stat{}, false},
		"no name":           {"7 S" + tail, stat{}, false},
		"not a start time":  {"7 (a) S" + strings.Replace(tail, "4711", "-1", 1), stat{}, false},
		"not a wait status": {"7 (a) S" + strings.Replace(tail, "256", "65536", 1), stat{}, false},
	} {
		got, err := parseStat([]byte(c.text))
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if self, err := procStat(os.Getpid()); err != nil || self.starttime == 0 || self.ended() {
		t.Errorf("our own: %+v %v", self, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) S" + strings.Repeat(" 1", 49)))
	f.Add([]byte(")"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseStat(data) })
}
