package main

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// queue writes to a file in the order it is given things, without ever blocking
// who gives them: what the kernel does not take at once is kept, and written by
// a goroutine that lives as long as there is something.
type queue struct {
	f  *os.File
	rc syscall.RawConn
	// taken is called, without locks, when n bytes more were written, or
	// thrown away because the file is broken. It may be nil.
	taken func(n int)

	mu       sync.Mutex
	buf      []byte // waits
	pending  int    // waits or is being written
	draining bool
	broken   bool
	finish   func() // called when nothing waits any more, once
	// moved gets a value when something was written or the file broke.
	moved chan struct{}
}

func newQueue(f *os.File, taken func(n int)) (*queue, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &queue{f: f, rc: rc, taken: taken, moved: make(chan struct{}, 1)}, nil
}

// put writes p or keeps it, and returns how many bytes wait now. After the file
// broke, or after end, p is thrown away.
func (q *queue) put(p []byte) int {
	n := len(p)
	q.mu.Lock()
	switch {
	case q.broken || q.finish != nil:
		q.mu.Unlock()
		q.report(n)
		return 0
	case !q.draining:
		k := q.try(p)
		p = p[k:]
		if q.broken {
			p = nil
		}
	}
	if len(p) > 0 {
		q.buf = append(q.buf, p...)
		q.pending += len(p)
		if !q.draining {
			q.draining = true
			go q.drain()
		}
	}
	waits := q.pending
	q.mu.Unlock()
	q.report(n - len(p))
	return waits
}

func (q *queue) report(n int) {
	if n > 0 && q.taken != nil {
		q.taken(n)
	}
}

// try writes as much as fits now. Not by way of q.f.Write, whose lock a
// goroutine that waits for room may hold.
func (q *queue) try(p []byte) int {
	done := 0
	err := q.rc.Control(func(fd uintptr) {
		for done < len(p) {
			n, err := unix.Write(int(fd), p[done:])
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return
			case err != nil:
				q.broken = true
				return
			}
			done += n
		}
	})
	if err != nil {
		q.broken = true
	}
	return done
}

// drainChunk bounds one write, so that progress is seen.
const drainChunk = 64 << 10

func (q *queue) drain() {
	var spare []byte
	for {
		q.mu.Lock()
		if len(q.buf) == 0 || q.broken {
			n := q.pending
			q.buf, q.pending, q.draining = nil, 0, false
			finish := q.finish
			q.mu.Unlock()
			q.report(n)
			if finish != nil {
				finish()
			}
			return
		}
		work := q.buf
		q.buf = spare[:0]
		q.mu.Unlock()
		for rest := work; len(rest) > 0; {
			n, err := q.f.Write(rest[:min(len(rest), drainChunk)])
			rest = rest[n:]
			q.mu.Lock()
			q.pending -= n
			if err != nil {
				q.broken = true
			}
			q.mu.Unlock()
			select {
			case q.moved <- struct{}{}:
			default:
			}
			q.report(n)
			if err != nil {
				break
			}
		}
		spare = work
	}
}

// end takes no more; f is called once everything was written or the file broke.
func (q *queue) end(f func()) {
	q.mu.Lock()
	if q.finish != nil {
		q.mu.Unlock()
		return
	}
	q.finish = f
	idle := !q.draining
	q.mu.Unlock()
	if idle {
		f()
	}
}

// waits returns how many bytes are not written yet, and whether the file is broken.
func (q *queue) waits() (n int, broken bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending, q.broken
}

// waitBelow waits until at most limit bytes wait. It reports false when nothing
// at all was written for as long as patience.
func (q *queue) waitBelow(limit int, patience time.Duration) bool {
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		if n, broken := q.waits(); n <= limit || broken {
			return true
		}
		select {
		case <-q.moved:
			t.Reset(patience)
		case <-t.C:
			return false
		}
	}
}
