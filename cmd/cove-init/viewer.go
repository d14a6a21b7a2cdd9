package main

import (
	"time"

	"cove/runtime/frame"
)

// How much may wait for a client that reads slowly, and for how long it may
// read nothing at all. Up to the limit it costs nobody anything. Behind it the
// program waits, as it does for any terminal; but one client must not stop
// the others.
const (
	viewerLimit    = 256 << 10
	lonePatience   = 10 * time.Second
	sharedPatience = 250 * time.Millisecond
)

// viewer is a client of a session.
type viewer struct {
	x    *session
	peer *peer
	out  *queue // all that it is sent
	in   *stdin

	cols, rows int // under the session's lock; 0: not told
}

// send queues one frame.
func (v *viewer) send(t frame.Type, payload []byte) error {
	v.out.put(frame.Append(nil, t, payload))
	return nil
}

// sendAll queues output of any length.
func (v *viewer) sendAll(p []byte) {
	for len(p) > 0 {
		n := min(len(p), frame.Chunk)
		_ = v.send(frame.Stdout, p[:n])
		p = p[n:]
	}
}

// receive takes the client's frames until it or the session is gone.
func (v *viewer) receive() {
	defer v.x.leave(v)
	for {
		t, p, err := v.peer.r.Next()
		if err != nil {
			return
		}
		if v.take(t, p) != nil {
			return
		}
	}
}

func (v *viewer) take(t frame.Type, p []byte) error {
	switch t {
	case frame.Stdin:
		// Who types decides the size.
		v.resize(0, 0)
		if len(p) == 0 && v.x.name != "" {
			return nil // a client's end of input does not end a session
		}
		return v.in.put(p)
	case frame.Resize:
		cols, rows, ok := frame.ParseSize(p)
		if !ok {
			return errFrame
		}
		v.resize(cols, rows)
		return nil
	case frame.Signal:
		sig, err := signalOf(p)
		if err == nil {
			v.x.signal(sig)
		}
		return err
	}
	return errFrame
}

// resize sets the client's size, if it is not 0, and gives it to the terminal.
func (v *viewer) resize(cols, rows int) {
	v.x.mu.Lock()
	defer v.x.mu.Unlock()
	if cols > 0 && rows > 0 {
		v.cols, v.rows = cols, rows
	}
	if !v.x.over {
		v.x.resize(v.cols, v.rows)
	}
}

// throttle waits for clients that have too much before them, and parts with
// those that do not read at all. They get no Exit: the session goes on.
func (x *session) throttle() {
	for {
		v, patience := x.slowest()
		if v == nil {
			return
		}
		if !v.out.waitBelow(viewerLimit, patience) {
			x.leave(v)
			v.out.end(func() {})
			// Ends its reads and writes, and so its goroutines.
			_ = v.peer.f.SetDeadline(time.Unix(1, 0))
		}
	}
}

func (x *session) slowest() (*viewer, time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	patience := lonePatience
	if len(x.viewers) > 1 {
		patience = sharedPatience
	}
	for _, v := range x.viewers {
		if n, broken := v.out.waits(); n > viewerLimit && !broken {
			return v, patience
		}
	}
	return nil, 0
}

// nudge makes a full-screen program draw again: only a change of size does, and
// most look at the size before they draw. So the terminal is made one row
// smaller until the program has answered, which is when it writes something.
type nudge struct {
	x      *session
	active bool
	seen   bool // the program wrote something since
	rested bool // and nudgeMin has passed
	least  *time.Timer
	most   *time.Timer
}

const (
	// nudgeMin is how long the smaller size stays at least: what the program
	// writes first may be something that it was writing anyway.
	nudgeMin = 50 * time.Millisecond
	// nudgeMax is for programs that do not answer.
	nudgeMax = 250 * time.Millisecond
)

// start, stop, output and restore are called with the session's lock.
func (n *nudge) start(x *session) {
	if n.active {
		return
	}
	rows := x.rows - 1
	if rows == 0 {
		rows = 2
	}
	*n = nudge{x: x, active: true}
	_ = x.term.resize(x.cols, rows)
	var least, most *time.Timer
	least = time.AfterFunc(nudgeMin, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if n.least == least {
			n.rested = true
			n.restore()
		}
	})
	most = time.AfterFunc(nudgeMax, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if n.most == most {
			n.seen = true
			n.restore()
		}
	})
	n.least, n.most = least, most
}

func (n *nudge) output() {
	if n.active {
		n.seen = true
		n.restore()
	}
}

func (n *nudge) restore() {
	if n.active && n.seen && n.rested {
		x := n.x
		n.stop()
		_ = x.term.resize(x.cols, x.rows)
	}
}

func (n *nudge) stop() {
	if n.active {
		n.least.Stop()
		n.most.Stop()
		*n = nudge{}
	}
}
