package main

import (
	"errors"
	"fmt"
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
	oomScore string // of programs; empty: as inherited

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

func newChildren() *children {
	own := 0
	if b, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		own, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	return &children{oomScore: strconv.Itoa(min(own+oomRaise, 1000)), live: map[int]*child{}}
}

// start forks and executes. Its error is the errno of what failed in the child.
func (c *children) start(path string, argv []string, attr *syscall.ProcAttr) (*child, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errStopping
	}
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	// Only now can it be raised without a helper between fork and exec. What
	// the program forks in the microseconds before keeps our score, which
	// matters little: the kernel also goes by size.
	if c.oomScore != "" {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(c.oomScore), 0)
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
