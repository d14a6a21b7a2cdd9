package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

// process is a program that runs: a child of ours, or one below a supervisor.
type process interface {
	// pid is the program's process id.
	program() int
	// ended is closed when the program has ended.
	ended() <-chan struct{}
	// exit is valid after that.
	exit() frame.ExitStatus
	// signal goes to the program's process group.
	signal(unix.Signal)
	// killAll ends the program and all that it started.
	killAll()
}

func (k *child) program() int           { return k.pid }
func (k *child) ended() <-chan struct{} { return k.done }
func (k *child) exit() frame.ExitStatus { return exitStatus(k.status) }
func (k *child) signal(s unix.Signal)   { k.signalGroup(s) }
func (k *child) killAll()               { k.signalGroup(unix.SIGKILL) }

func exitStatus(s unix.WaitStatus) frame.ExitStatus {
	if s.Signaled() {
		return frame.ExitStatus{Code: 128 + int(s.Signal()), Signal: int(s.Signal())}
	}
	return frame.ExitStatus{Code: s.ExitStatus()}
}

// run starts a program, below a supervisor if its time is limited.
func (s *server) run(p *program, files [3]uintptr, timeout time.Duration) (process, *startError) {
	if timeout > 0 {
		return s.runSupervised(p, files)
	}
	k, err := p.start(s.children, files)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// exec carries out an Exec, a Code or a Files request.
func (s *server) exec(p *peer, conf *settings, req *guest.Request) {
	var prog *program
	var err *startError
	remove := func() {}
	switch req.Kind {
	case guest.Files:
		prog, err = newFiles(conf, req)
	case guest.Code:
		prog, remove, err = s.newCode(conf, req)
	default:
		prog, err = newProgram(conf, req, req.TTY)
	}
	if err != nil {
		p.fail(err)
		return
	}
	defer remove()
	if req.TTY {
		s.execTTY(p, prog, req)
		return
	}
	e, err := s.startExec(p, prog, req)
	if err != nil {
		p.fail(err)
		return
	}
	e.serve(req.Timeout)
}

// execution is a program whose streams go over one connection.
type execution struct {
	peer  *peer
	proc  process
	stdin *stdin // nil: /dev/null
	ended func(frame.ExitStatus)
	// outputs end when all that the program wrote has been sent.
	outputs []*output
}

func (s *server) startExec(p *peer, prog *program, req *guest.Request) (*execution, *startError) {
	e := &execution{peer: p}
	var theirs [3]int
	defer func() {
		for _, fd := range theirs {
			if fd > 0 {
				_ = unix.Close(fd)
			}
		}
	}()
	in, out, errs, err := openPipes(&theirs, req.Stdin)
	if err != nil {
		return nil, notExecutable("make pipes: %v", err)
	}
	e.outputs = []*output{newOutput(out, frame.Stdout, p), newOutput(errs, frame.Stderr, p)}
	if in != nil {
		if e.stdin, err = newStdin(in, p.send, true); err != nil {
			e.close()
			return nil, notExecutable("make pipes: %v", err)
		}
	}
	var serr *startError
	e.proc, serr = s.run(prog, [3]uintptr{uintptr(theirs[0]), uintptr(theirs[1]), uintptr(theirs[2])}, req.Timeout)
	if serr != nil {
		e.close()
		return nil, serr
	}
	e.ended = s.keepOutput(req, prog, e.outputs)
	return e, nil
}

// keepOutput has the journal keep what a program prints. What it returns is to be
// told how the program ended.
func (s *server) keepOutput(req *guest.Request, prog *program, outputs []*output) (ended func(frame.ExitStatus)) {
	if req.Unlogged || req.Kind == guest.Files {
		return func(frame.ExitStatus) {}
	}
	id := s.journal.begin(commandLine(prog.Argv))
	for i, o := range outputs {
		kind := byte(kindStdout + i)
		o.keep = func(p []byte) { s.journal.add(id, kind, p) }
	}
	return func(status frame.ExitStatus) { s.journal.add(id, kindEnd, []byte(ending(status))) }
}

// maxCommandLine is how much of a command line the journal keeps.
const maxCommandLine = 1 << 10

func commandLine(argv []string) string {
	line := strings.Join(argv, " ")
	return line[:min(len(line), maxCommandLine)]
}

// ending says how a program ended.
func ending(s frame.ExitStatus) string {
	switch {
	case s.Reason == frame.ReasonTimeout:
		return "its time was up"
	case s.Signal != 0:
		return "ended by signal " + strconv.Itoa(s.Signal)
	}
	return "status " + strconv.Itoa(s.Code)
}

// openPipes opens what the program gets as its descriptors (theirs) and our
// ends of it. in is nil when it reads /dev/null.
func openPipes(theirs *[3]int, stdin bool) (in, out, errs *os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range []*os.File{in, out, errs} {
				if f != nil {
					_ = f.Close()
				}
			}
		}
	}()
	if stdin {
		theirs[0], in, err = pipe(false)
	} else {
		theirs[0], err = openNull()
	}
	if err != nil {
		return in, nil, nil, err
	}
	if theirs[1], out, err = pipe(true); err != nil {
		return in, nil, nil, err
	}
	theirs[2], errs, err = pipe(true)
	return in, out, errs, err
}

// pipe makes a pipe of which we read, or write, one end.
func pipe(weRead bool) (theirs int, ours *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, nil, err
	}
	theirs, our := p[0], p[1]
	if weRead {
		theirs, our = p[1], p[0]
	}
	if err := unix.SetNonblock(our, true); err != nil {
		_ = unix.Close(theirs)
		_ = unix.Close(our)
		return 0, nil, err
	}
	return theirs, os.NewFile(uintptr(our), "pipe"), nil
}

// openNull opens the sandbox's /dev/null, which must be one.
func openNull() (int, error) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3)) {
		err = errors.New("/dev/null is not the null device")
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// close gives back what a program that did not start would have used.
func (e *execution) close() {
	for _, o := range e.outputs {
		_ = o.f.Close()
	}
	if e.stdin != nil {
		_ = e.stdin.q.f.Close()
	}
}

// serve connects the program to the connection until it has ended.
func (e *execution) serve(timeout time.Duration) {
	if e.peer.sendJSON(frame.Started, frame.StartedInfo{Pid: e.proc.program()}) != nil {
		e.proc.signal(unix.SIGHUP)
	}
	for _, o := range e.outputs {
		go o.pump()
	}
	go e.receive()
	status := await(e.proc, timeout)
	for _, o := range e.outputs {
		o.end()
	}
	if e.stdin != nil {
		_ = e.stdin.q.f.Close()
	}
	e.ended(status)
	_ = e.peer.sendJSON(frame.Exit, status)
	// The connection is closed by the caller, which ends receive.
}

// await waits for the end of a program, for timeout at most if that is not 0.
func await(proc process, timeout time.Duration) frame.ExitStatus {
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		select {
		case <-proc.ended():
			return proc.exit()
		case <-t.C:
			proc.killAll()
			<-proc.ended()
			return frame.ExitStatus{Code: guest.CodeTimeout, Reason: frame.ReasonTimeout}
		}
	}
	<-proc.ended()
	return proc.exit()
}

// receive takes the daemon's frames until the connection ends.
func (e *execution) receive() {
	for {
		t, p, err := e.peer.r.Next()
		if err == nil {
			err = e.take(t, p)
		}
		if err != nil {
			// No-one is there any more, or one who breaks the protocol. A
			// program that has ended is not signalled.
			e.proc.signal(unix.SIGHUP)
			_ = e.peer.f.SetDeadline(time.Unix(1, 0))
			return
		}
	}
}

var errFrame = errors.New("unexpected frame")

func (e *execution) take(t frame.Type, p []byte) error {
	switch t {
	case frame.Stdin:
		if e.stdin == nil {
			return nil
		}
		return e.stdin.put(p)
	case frame.Signal:
		sig, err := signalOf(p)
		if err == nil {
			e.proc.signal(sig)
		}
		return err
	case frame.Resize:
		return nil
	}
	return errFrame
}

func signalOf(p []byte) (unix.Signal, error) {
	if len(p) != 1 || p[0] < 1 || p[0] > 64 {
		return 0, errFrame
	}
	return unix.Signal(p[0]), nil
}
