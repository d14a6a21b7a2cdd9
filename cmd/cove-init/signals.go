package main

import (
	"os"
	"os/signal"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownTimeout is how long programs have to end when it is a signal that asks
// for the shutdown and so nobody says how long.
const ownTimeout = 5 * time.Second

// notify makes all signals that have an effect on a Go program arrive here,
// where most are ignored: nobody inside can end PID 1 by a stray kill. Handlers,
// in place of what was inherited as ignored (SIGHUP below nohup), also have the
// effect that the programs we start get the default.
func notify() <-chan os.Signal {
	// Not SIGPIPE, which a write to a closed connection raises and Go ignores;
	// not SIGURG, which the runtime uses itself.
	resetIgnored()
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, unix.SIGCHLD, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT,
		unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM,
		unix.SIGSTKFLT, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGXCPU, unix.SIGXFSZ,
		unix.SIGVTALRM, unix.SIGIO, unix.SIGPWR, unix.SIGSYS)
	return ch
}

// resetIgnored gives the realtime signals that were inherited as ignored their
// default back: the Go runtime leaves them, and they would reach every program.
func resetIgnored() {
	const first, last, ignored = 32, 64, 1
	// The kernel's struct sigaction begins with the handler; zero is the default.
	type action struct {
		handler uintptr
		rest    [3]uint64
	}
	for n := uintptr(first); n <= last; n++ {
		var old, def action
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
		if errno == 0 && old.handler == ignored {
			_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&def)), 0, 8, 0, 0)
		}
	}
}

// reapOn reaps at each SIGCHLD, and whenever anything else arrives: signals of
// one kind merge, and the channel may be full of others. It hands on the rest.
func reapOn(ch <-chan os.Signal, c *children, other func(os.Signal)) {
	for sig := range ch {
		c.reap()
		if sig != unix.SIGCHLD {
			other(sig)
		}
	}
}

func (s *server) watchSignals(ch <-chan os.Signal) {
	reapOn(ch, s.children, func(sig os.Signal) {
		if sig == unix.SIGTERM {
			go func() {
				s.shutdown(ownTimeout)
				os.Exit(0)
			}()
		}
	})
}
