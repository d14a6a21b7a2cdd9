package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// oomRaise is added to the OOM score of every program, so that under memory
// pressure the kernel takes them before PID 1, with which all would end.
const oomRaise = 500

var errStopping = errors.New("the sandbox is stopping")

// children starts and reaps all processes. One lock covers both: a process is
// known here before anybody can reap it, and a pid is only signalled while the
// process has not been reaped.
type children struct {
	score *oomScore // nil: programs inherit ours

	mu     sync.Mutex
	live   map[int]*child
	closed bool
	empty  chan struct{} // closed when no child is left; nil: nobody asks
}

// child is a process that was started here.
type child struct {
	pid    int
	done   chan struct{} // closed when it has been reaped
	status unix.WaitStatus
	c      *children
}

func newChildren(score *oomScore) *children {
	return &children{score: score, live: map[int]*child{}}
}

// oomScore changes this process's own OOM score, which a child has from its
// first moment: raising the child's afterwards would be too late for what it
// forks at once. For the millisecond of a fork PID 1 is no better off than the
// programs; all of them being larger, it is still not taken first. Going back
// needs no privilege (oom_score_adj_min).
type oomScore struct {
	f           *os.File
	own, raised []byte
}

// newOOMScore returns nil where there is no such thing.
func newOOMScore() *oomScore {
	f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0)
	own, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		_ = f.Close()
		return nil
	}
	return &oomScore{f: f, own: strconv.AppendInt(nil, int64(own), 10), raised: strconv.AppendInt(nil, int64(min(own+oomRaise, 1000)), 10)}
}

// raise raises the score until the function that it returns is called.
func (o *oomScore) raise() (lower func()) {
	if o == nil {
		return func() {}
	}
	_, _ = o.f.WriteAt(o.raised, 0)
	return func() { _, _ = o.f.WriteAt(o.own, 0) }
}

// start forks and executes. Its error is the errno of what failed in the child.
func (c *children) start(path string, argv []string, attr *syscall.ProcAttr) (*child, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errStopping
	}
	lower := c.score.raise()
	pid, err := syscall.ForkExec(path, argv, attr)
	lower()
	if err != nil {
		return nil, err
	}
	k := &child{pid: pid, done: make(chan struct{}), c: c}
	c.live[pid] = k
	return k, nil
}

// reap collects all processes that have ended, also those that were left to
// PID 1 by others.
func (c *children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			if c.empty != nil {
				close(c.empty)
				c.empty = nil
			}
			return
		case err != nil || pid <= 0:
			return
		}
		if k := c.live[pid]; k != nil {
			delete(c.live, pid)
			k.status = status
			close(k.done)
		}
	}
}

// close lets nothing new be started and returns a channel that is closed when
// no process is left.
func (c *children) close() <-chan struct{} {
	c.mu.Lock()
	c.closed = true
	empty := make(chan struct{})
	c.empty = empty
	c.mu.Unlock()
	// There may be nothing already, and so no signal to come.
	c.reap()
	return empty
}

// signalGroup signals the process group that the process leads, unless it has
// ended.
func (k *child) signalGroup(sig unix.Signal) {
	k.locked(func() { _ = unix.Kill(-k.pid, sig) })
}

// locked calls f, unless the process has ended, while its pid cannot become
// another's.
func (k *child) locked(f func()) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	select {
	case <-k.done:
	default:
		f()
	}
}
