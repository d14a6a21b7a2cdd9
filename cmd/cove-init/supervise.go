package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/frame"
)

// superviseArg makes this program a supervisor: the parent of one program whose
// time is limited, and of all that it leaves behind, so that they can be found
// and killed. It is started by PID 1 with the program's descriptors 0, 1 and 2,
// and a socket as descriptor 3 on which it is told what to run.
const (
	superviseArg = "supervise"
	superviseFD  = 3
	// superviseTimeout is how long a program may take to start below it.
	superviseTimeout = 30 * time.Second
)

// supervise is the supervisor's main function. Its peer is PID 1, with which it ends.
func supervise() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	signals := notify()
	if err := unix.SetNonblock(superviseFD, true); err != nil {
		return fmt.Errorf("use the control socket: %w", err)
	}
	f := os.NewFile(superviseFD, "control")
	p := &peer{f: f, r: frame.NewReader(f)}
	t, b, err := p.r.Next()
	if err != nil {
		return fmt.Errorf("read the program: %w", err)
	}
	var prog program
	if err := json.Unmarshal(b, &prog); err != nil || t != frame.Request {
		return errors.New("read the program: malformed")
	}
	c := newChildren(nil) // ours was raised, and is inherited
	k, serr := prog.start(c, [3]uintptr{0, 1, 2})
	if serr != nil {
		p.fail(serr)
		return nil
	}
	dropStreams()
	if err := p.sendJSON(frame.Started, frame.StartedInfo{Pid: k.pid}); err != nil {
		return err
	}
	go reapOn(signals, c, func(os.Signal) {})
	// What ended before the signals were watched.
	c.reap()
	go relaySignals(p, k)
	<-k.done
	return p.sendJSON(frame.Exit, exitStatus(k.status))
}

// dropStreams gives up the program's descriptors, so that their other ends see
// when the program closes them.
func dropStreams() {
	null, err := openNull()
	for fd := range 3 {
		if err != nil || unix.Dup3(null, fd, unix.O_CLOEXEC) != nil {
			_ = unix.Close(fd)
		}
	}
	if err == nil {
		_ = unix.Close(null)
	}
}

func relaySignals(p *peer, k *child) {
	for {
		t, b, err := p.r.Next()
		if err != nil {
			return
		}
		if sig, err := signalOf(b); err == nil && t == frame.Signal {
			k.signalGroup(sig)
		}
	}
}

// supervised is a program below a supervisor, seen from PID 1.
type supervised struct {
	s      *server
	super  *child
	peer   *peer
	pid    int
	start  uint64 // of pid
	done   chan struct{}
	status frame.ExitStatus
}

func (v *supervised) program() int           { return v.pid }
func (v *supervised) ended() <-chan struct{} { return v.done }
func (v *supervised) exit() frame.ExitStatus { return v.status }

func (v *supervised) signal(sig unix.Signal) {
	select {
	case <-v.done:
	default:
		_ = v.peer.send(frame.Signal, []byte{byte(sig)})
	}
}

// runSupervised starts a program below a supervisor.
func (s *server) runSupervised(prog *program, files [3]uintptr) (process, *startError) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, notExecutable("make a supervisor: %v", err)
	}
	defer unix.Close(pair[1])
	if err := unix.SetNonblock(pair[0], true); err != nil {
		_ = unix.Close(pair[0])
		return nil, notExecutable("make a supervisor: %v", err)
	}
	f := os.NewFile(uintptr(pair[0]), "supervisor")
	// Our own file, by the kernel's link to it: readable for this process
	// itself although it is not dumpable. The environment is not for it.
	super, err := s.children.start("/proc/self/exe", []string{"cove-init", superviseArg}, &syscall.ProcAttr{
		Dir: "/", Files: []uintptr{files[0], files[1], files[2], uintptr(pair[1])}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		_ = f.Close()
		return nil, notExecutable("start a supervisor: %v", err)
	}
	v := &supervised{s: s, super: super, peer: &peer{f: f, r: frame.NewReader(f)}, done: make(chan struct{})}
	s.supervisors.add(super.pid)
	if serr := v.begin(prog); serr != nil {
		v.killAll()
		v.close()
		return nil, serr
	}
	go v.watch()
	return v, nil
}

// begin tells the supervisor what to run, and waits until it runs.
func (v *supervised) begin(prog *program) *startError {
	// The sandbox's root could have stopped it.
	_ = v.peer.f.SetDeadline(time.Now().Add(superviseTimeout))
	defer func() { _ = v.peer.f.SetDeadline(time.Time{}) }()
	err := v.peer.sendJSON(frame.Request, prog)
	if err != nil {
		return notExecutable("start a supervisor: %v", err)
	}
	t, b, err := v.peer.r.Next()
	if err != nil {
		return notExecutable("start a supervisor: %v", err)
	}
	switch t {
	case frame.Started:
		var info frame.StartedInfo
		if err = json.Unmarshal(b, &info); err == nil {
			v.pid = info.Pid
			p, _ := readProc(v.pid)
			v.start = p.start
			return nil
		}
	case frame.Exit:
		var e frame.ExitStatus
		if err = json.Unmarshal(b, &e); err == nil {
			return &startError{e.Code, e.Error}
		}
	}
	return notExecutable("start a supervisor: unexpected answer")
}

// watch waits for the program's end.
func (v *supervised) watch() {
	defer v.close()
	t, b, err := v.peer.r.Next()
	if err != nil || t != frame.Exit || json.Unmarshal(b, &v.status) != nil {
		// Somebody ended the supervisor, which only the sandbox's root can.
		// What the program started is ours to reap now, and no longer to be
		// told from the rest; what is still in its session is ended.
		killTable(v.inSession)
		v.status = frame.ExitStatus{Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL), Error: "the supervisor was killed"}
	}
	close(v.done)
}

func (v *supervised) close() {
	_ = v.peer.f.Close()
	<-v.super.done
	v.s.supervisors.remove(v.super.pid)
}

// killAll ends all that descends from the program. The supervisor is stopped
// meanwhile: so it neither ends, by which its children would become ours, nor
// reaps them, by which their numbers would become free.
func (v *supervised) killAll() {
	v.super.locked(func() { _ = unix.Kill(v.super.pid, unix.SIGSTOP) })
	killTable(func(table []proc) []proc {
		return append(below(v.super.pid, table), v.inSession(table)...)
	})
	v.super.locked(func() { _ = unix.Kill(v.super.pid, unix.SIGKILL) })
}

// inSession returns the processes of the program's session, with what descends
// from them.
func (v *supervised) inSession(table []proc) []proc {
	if v.pid == 0 {
		return nil // not started; and 0 stands for all sessions from outside
	}
	var out []proc
	for _, p := range table {
		if p.pid == v.pid && p.start != v.start {
			return nil // the number is another's by now, and so is the session
		}
		if p.sid == v.pid {
			out = append(append(out, p), below(p.pid, table)...)
		}
	}
	return out
}
