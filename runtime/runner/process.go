package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reapWait bounds the search for the exit status of a process that is being
// reaped as we look: it is in one place or the other at once.
const reapWait = 100 * time.Millisecond

// Process is a process that need not be a child of ours, named by a file
// descriptor: it never becomes another one, as pids do.
type Process struct {
	pid       int
	starttime uint64
	file      *os.File // pidfd, in the runtime's poller
	done      chan struct{}
	exit      Exit  // set before done is closed
	err       error // set before done is closed
}

// Exit is how a process ended.
type Exit struct {
	// Known is false where the process was reaped before we could look, by
	// a kernel before 6.15, which forgets.
	Known bool
	// Code is the exit status; where a signal ended it, Signal is that and
	// Code is 0.
	Code   int
	Signal int
}

// Watch observes the process with that pid that started at starttime (field 22
// of /proc/PID/stat, clock ticks since boot; 0 takes the process as it is now).
// ErrGone: there is none. One that has ended, but was not reaped, is there. It
// costs one file descriptor and one goroutine, no thread, until Close.
func Watch(pid int, starttime uint64) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	// EINVAL: of a process that is being reaped just now, before Linux 6.15.
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd_open %d: %w", pid, err)
	}
	// Non-blocking, so that the runtime's poller takes it.
	p := &Process{pid: pid, file: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{})}
	if err := p.identify(starttime); err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	conn, err := p.file.SyscallConn()
	if err == nil {
		// What the poller did not take has no deadlines either.
		err = p.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	go p.watch(conn)
	return p, nil
}

// identify reads when the process started. The pid was looked up twice, for the
// descriptor and for /proc; when the descriptor's process has not been reaped
// after the second, both were the same.
func (p *Process) identify(want uint64) error {
	st, err := procStat(p.pid)
	if err != nil {
		return err
	}
	if err := p.send(0); err != nil {
		return err
	}
	if want != 0 && st.starttime != want {
		return ErrGone
	}
	p.starttime = st.starttime
	return nil
}

// watch waits for the end of the process. It ends with it, or with Close.
func (p *Process) watch(conn syscall.RawConn) {
	defer close(p.done)
	ended := false
	_ = conn.Read(func(fd uintptr) bool {
		ended = pollEvents(fd)&unix.POLLIN != 0
		return ended
	})
	if !ended {
		p.err = fmt.Errorf("watch process %d: %w", p.pid, os.ErrClosed)
		return
	}
	if p.find(conn) || p.file.SetReadDeadline(time.Now().Add(reapWait)) != nil {
		return
	}
	// Neither a zombie nor quite reaped; kernels since 6.9 hang up when it is.
	_ = conn.Read(func(fd uintptr) bool { return pollEvents(fd)&unix.POLLHUP != 0 })
	p.find(conn)
}

// find looks for the exit status of the ended process: with the zombie until
// its parent has waited for it, which takes some parents seconds, and then
// with our descriptor of it.
func (p *Process) find(conn syscall.RawConn) bool {
	if status, ok := zombieStatus(p.pid, p.starttime); ok {
		p.exit = exitOf(status)
		return true
	}
	_ = conn.Control(func(fd uintptr) {
		if status, ok := reapedStatus(fd); ok {
			p.exit = exitOf(status)
		}
	})
	return p.exit.Known
}

// Pid is the process's id; it is another's once the process was reaped.
func (p *Process) Pid() int { return p.pid }

// StartTime is when the process started, as in /proc/PID/stat.
func (p *Process) StartTime() uint64 { return p.starttime }

// Done is closed when the process has ended or Close was called.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns how the process ended, when it has. It fails with ctx's error,
// or with os.ErrClosed after Close.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-p.done:
		return p.exit, p.err
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

// Signal sends sig to the process and to no other. ErrGone: it has ended.
func (p *Process) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		// A zombie would take it.
		if p.err != nil {
			return p.err
		}
		return ErrGone
	default:
		return p.send(sig)
	}
}

func (p *Process) send(sig syscall.Signal) error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(sent, unix.ESRCH) {
		return ErrGone
	}
	return sent
}

// Kill ends the process. One that has ended is no error.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, ErrGone) {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	return nil
}

// Close ends the watch, not the process, and returns when its goroutine has
// ended.
func (p *Process) Close() error {
	err := p.file.Close()
	<-p.done
	return err
}
