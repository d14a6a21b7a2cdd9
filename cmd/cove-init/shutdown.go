package main

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lastWait is how long PID 1 waits for what was killed. What hangs in the
// kernel for longer dies with PID 1, or is the host's to deal with.
const lastWait = 2 * time.Second

// supervisors are the pids of the supervisors, which nobody asks to end: they
// do with their programs.
type supervisors struct {
	mu   sync.Mutex
	pids map[int]struct{}
}

func (s *supervisors) add(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pids[pid] = struct{}{}
}

func (s *supervisors) remove(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pids, pid)
}

func (s *supervisors) has(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.pids[pid]
	return ok
}

// shutdown ends everything in the sandbox but PID 1: it asks, and after timeout
// kills. Who calls it while it is under way waits for the same end.
func (s *server) shutdown(timeout time.Duration) {
	s.down.once.Do(func() {
		defer close(s.down.done)
		empty := s.children.close()
		s.askToEnd()
		if waitFor(empty, timeout) {
			return
		}
		// -1 is everything that we may signal, in one step that no fork escapes.
		_ = unix.Kill(-1, unix.SIGKILL)
		waitFor(empty, lastWait)
	})
	<-s.down.done
}

func waitFor(ch <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		return false
	}
}

// askToEnd sends SIGHUP to what runs in terminal sessions, as terminals do that
// are closed, because shells do not end at SIGTERM; and SIGTERM to the rest.
// What is stopped is continued: else it would not notice.
func (s *server) askToEnd() {
	terminals := map[int]bool{}
	for _, x := range s.sessions.all() {
		terminals[x.proc.program()] = true
	}
	table, err := processes()
	if err != nil {
		_ = unix.Kill(-1, unix.SIGTERM)
		_ = unix.Kill(-1, unix.SIGCONT)
		return
	}
	for _, p := range table {
		if p.pid == 1 || p.dead() || s.supervisors.has(p.pid) {
			continue
		}
		sig := unix.SIGTERM
		if terminals[p.sid] {
			sig = unix.SIGHUP
		}
		p.signal(sig)
		p.signal(unix.SIGCONT)
	}
}
