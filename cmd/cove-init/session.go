package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
	"cove/runtime/guest"
	"cove/runtime/screen"
)

const (
	// maxPast is the most of the past that is shown again: two full screens
	// of a large terminal with colours.
	maxPast = 128 << 10
	// maxRest is the most that is read of a terminal whose program has
	// ended, while others may still write to it.
	maxRest = 1 << 20
	// exitPatience is how long a client may take for what it was not sent
	// yet when the session ends.
	exitPatience = 10 * time.Second
)

// errEnded: the session ended before it could be joined.
var errEnded = errors.New("the session has ended")

// session is a program on a terminal that outlives its clients. One lock covers
// the terminal's state and the clients, so that each client gets, after the
// redraw, every byte once.
type session struct {
	name    string // empty: of an Exec
	command []string
	created time.Time
	named   bool // its program was named by who made it: it is no shell
	timeout time.Duration
	term    *terminal
	proc    process
	remove  func(*session)
	gone    chan struct{} // closed when nothing is left of it
	readEnd chan struct{} // closed when the terminal is not read any more

	mu         sync.Mutex
	reading    bool
	over       bool
	cols, rows int
	activity   time.Time
	tracker    screen.Tracker
	// past is the output of the main screen only: what full-screen programs
	// draw is not worth keeping, and would push out what was there before.
	past    *ring
	seq     uint64 // bytes of output so far
	viewers []*viewer
	nudge   nudge
}

// newSession starts a program on a terminal. Nothing is read before the first client joins.
func (s *server) newSession(name string, prog *program, req *guest.Request) (*session, *startError) {
	now := time.Now().UTC()
	x := &session{
		name: name, command: prog.Argv, named: len(req.Argv) > 0, created: now, activity: now, timeout: req.Timeout,
		cols: cmp.Or(req.Cols, defaultCols), rows: cmp.Or(req.Rows, defaultRows),
		gone: make(chan struct{}), readEnd: make(chan struct{}),
		remove: s.sessions.remove,
	}
	var err error
	if x.term, err = openTerminal(prog.UID, x.cols, x.rows); err != nil {
		return nil, notExecutable("%v", err)
	}
	if name != "" {
		x.timeout = 0
		if x.past, err = newRing(); err != nil {
			x.term.close()
			return nil, notExecutable("keep the output: %v", err)
		}
	}
	if prog.notice != "" {
		// A line fits in the terminal's own buffer: nothing reads it yet.
		_, _ = unix.Write(x.term.slave, []byte(prog.notice))
	}
	fd := uintptr(x.term.slave)
	var serr *startError
	if x.proc, serr = s.run(prog, [3]uintptr{fd, fd, fd}, x.timeout); serr != nil {
		x.close()
		return nil, serr
	}
	return x, nil
}

func (x *session) close() {
	x.term.close()
	if x.past != nil {
		x.past.close()
	}
}

// join adds a client: it is sent Started, what it must be shown to be where the
// others are, and then the live stream.
func (x *session) join(p *peer, cols, rows int, created bool) (*viewer, error) {
	v := &viewer{x: x, peer: p, cols: cols, rows: rows}
	var err error
	if v.out, err = newQueue(p.f, nil); err != nil {
		return nil, err
	}
	if v.in, err = newStdin(x.term.master, v.send, false); err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return nil, errEnded
	}
	started, err := json.Marshal(frame.StartedInfo{Pid: x.proc.program(), Session: x.name, Created: created, Seq: x.seq})
	if err != nil {
		return nil, err
	}
	_ = v.send(frame.Started, started)
	if !created {
		lines := x.past.last(2*cmp.Or(rows, x.rows), maxPast)
		v.sendAll(x.tracker.AppendRestore(nil, lines))
	}
	x.viewers = append(x.viewers, v)
	if resized := x.resize(cols, rows); !resized && !created && x.tracker.Alt() {
		x.nudge.start(x)
	}
	x.start()
	return v, nil
}

// begin starts the session without a client.
func (x *session) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.start()
}

// start is called with the lock.
func (x *session) start() {
	if !x.reading {
		x.reading = true
		go x.read()
		go x.await()
	}
}

// leave takes a client away. It is called once for each.
func (x *session) leave(v *viewer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.viewers = slices.DeleteFunc(x.viewers, func(o *viewer) bool { return o == v })
}

// resize gives the terminal another size, and reports whether it was another.
// The program gets SIGWINCH. It is called with the lock.
func (x *session) resize(cols, rows int) bool {
	cols, rows = min(cols, guest.MaxCols), min(rows, guest.MaxCols)
	if cols <= 0 || rows <= 0 || cols == x.cols && rows == x.rows {
		return false
	}
	x.cols, x.rows = cols, rows
	x.nudge.stop()
	_ = x.term.resize(cols, rows)
	x.tracker.Resized()
	return true
}

// read passes the terminal's output on until the program has ended.
func (x *session) read() {
	defer close(x.readEnd)
	buf := make([]byte, frame.HeaderLen+4<<10)
	data := buf[frame.HeaderLen:]
	for {
		n, err := x.term.master.Read(data)
		if n > 0 {
			x.output(buf, n)
			x.throttle()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return
		}
	}
	for total := 0; total < maxRest; {
		p, ok := x.term.rest(data)
		if !ok {
			return
		}
		total += len(p)
		x.output(buf, len(p))
		x.throttle()
	}
}

// output takes n bytes of output, which lie in buf behind room for a header.
func (x *session) output(buf []byte, n int) {
	p := buf[frame.HeaderLen : frame.HeaderLen+n]
	frame.PutHeader(buf, frame.Stdout, n)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seq += uint64(n)
	x.activity = time.Now().UTC()
	for rest := p; x.past != nil && len(rest) > 0; {
		alt := x.tracker.Alt()
		k := x.tracker.Write(rest)
		if !alt {
			x.past.write(rest[:k])
		}
		rest = rest[k:]
	}
	for _, v := range x.viewers {
		v.out.put(buf[:frame.HeaderLen+n])
	}
	x.nudge.output()
}

// await waits for the program's end and ends the session.
func (x *session) await() {
	status := await(x.proc, x.timeout)
	_ = x.term.master.SetReadDeadline(time.Unix(1, 0))
	<-x.readEnd
	status = x.explained(status)
	exit, err := json.Marshal(status)
	x.mu.Lock()
	x.over = true
	x.nudge.stop()
	viewers := slices.Clone(x.viewers) // they leave meanwhile
	x.mu.Unlock()
	for _, v := range viewers {
		if err == nil {
			_ = v.send(frame.Exit, exit)
		}
		_ = v.peer.f.SetWriteDeadline(time.Now().Add(exitPatience))
		v.out.end(func() { _ = v.peer.f.Close() })
	}
	x.close()
	x.remove(x)
	close(x.gone)
}

// signal signals the program, and what runs in the terminal's foreground.
func (x *session) signal(sig unix.Signal) {
	x.proc.signal(sig)
	if fg := x.term.foreground(); fg > 1 && fg != x.proc.program() {
		_ = unix.Kill(-fg, sig)
	}
}

// hangup ends a session that nobody can come back to, as a terminal does that
// is closed.
func (x *session) hangup() {
	select {
	case <-x.gone:
		return
	default:
	}
	x.signal(unix.SIGHUP)
	x.signal(unix.SIGCONT)
	x.term.close()
}

func (x *session) info() guest.SessionInfo {
	x.mu.Lock()
	defer x.mu.Unlock()
	return guest.SessionInfo{
		Name: x.name, Command: x.command, Cols: x.cols, Rows: x.rows,
		Clients: len(x.viewers), Created: x.created, Activity: x.activity, Idle: x.idle(),
	}
}

// idle tells whether the session's shell waits for a person, with nothing else in
// the terminal's foreground. A program that was asked for by name is none: it
// may be an agent that waits for an answer.
func (x *session) idle() bool {
	return !x.named && x.term.foreground() == x.proc.program()
}
