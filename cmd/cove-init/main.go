// Command cove-init is PID 1 of every sandbox. It is given a listening unix
// socket as file descriptor 3, on which the daemon alone can reach it, and serves
// package guest's protocol there: it executes programs, holds terminal
// sessions that outlive the daemon, and reaps what its children leave behind.
//
// It is not dumpable, so that nothing in the sandbox can look into it or take
// its descriptors; everything that it opens is closed for the programs it
// starts. It never uses os/exec, which would race with its own wait4(-1).
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"cove/runtime/guest"
)

func main() {
	if err := start(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cove-init:", err)
		os.Exit(1)
	}
}

func start(args []string) error {
	// First of all: from here on the sandbox's root cannot attach to us.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	// What the runtime may have left open is not for the programs.
	if err := unix.CloseRange(guest.ListenFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close descriptors on exec: %w", err)
	}
	// The daemon's own is stricter, and programs inherit ours.
	unix.Umask(0o022)
	runtime.GOMAXPROCS(min(2, runtime.NumCPU()))
	// The heap is small and the memory of a thousand sandboxes adds up.
	debug.SetGCPercent(gcPercent)
	if len(args) == 1 && args[0] == superviseArg {
		return supervise()
	}
	if len(args) == 2 && args[0] == holdArg {
		return hold() // the second names the instance, for people
	}
	if len(args) == 2 && args[0] == filesArg {
		return copyFiles(args[1])
	}
	if len(args) != 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	if os.Getpid() != 1 {
		return fmt.Errorf("this is the first process of a sandbox, not a command: pid %d", os.Getpid())
	}
	return serve()
}

// gcPercent makes a collection start at a fifth of the usual size of the heap.
const gcPercent = 20

// serve runs the server until the sandbox ends, which is by exit.
func serve() error {
	// Before anything can be started whose end would go unnoticed.
	signals := notify()
	s, err := newServer(newChildren(newOOMScore()))
	if err != nil {
		return err
	}
	l, err := newListener(guest.ListenFD)
	if err != nil {
		return err
	}
	go s.accept(l)
	s.watchSignals(signals)
	return nil
}
