package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadiness(t *testing.T) {
	for _, c := range []struct {
		name  string
		say   func(*readiness) error
		check func(error) bool
	}{
		{"ready", (*readiness).ready, func(err error) bool { return err == nil }},
		{"busy", func(r *readiness) error { return r.failed(fmt.Errorf("%w: pid 7", errDaemonBusy)) },
			func(err error) bool { return errors.Is(err, errDaemonBusy) }},
		{"failed", func(r *readiness) error { return r.failed(errors.New("no\nroom")) },
			func(err error) bool { return err != nil && err.Error() == "no room" }},
		{"only the first word counts", func(r *readiness) error { return errors.Join(r.ready(), r.failed(errors.New("late"))) },
			func(err error) bool { return err == nil }},
		{"dead", func(r *readiness) error { return r.pipe.Close() }, func(err error) bool { return errors.Is(err, io.EOF) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer closeQuietly(r)
			if err := c.say(&readiness{w}); err != nil {
				t.Fatal(err)
			}
			if err := awaitReady(r); !c.check(err) {
				t.Errorf("the starter gets %v", err)
			}
		})
	}
}

// A starter that was interrupted does not matter to the daemon.
func TestReadinessWithoutStarter(t *testing.T) {
	var nobody *readiness
	if err := errors.Join(nobody.ready(), nobody.failed(errors.New("x"))); err != nil {
		t.Errorf("without a pipe: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	closeQuietly(r)
	if err := (&readiness{w}).ready(); err != nil {
		t.Errorf("with a closed pipe: %v", err)
	}
}

func TestNewReadiness(t *testing.T) {
	if r, err := newReadiness(0); r != nil || err != nil {
		t.Errorf("fd 0: %v, %v", r, err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(f)
	if _, err := newReadiness(int(f.Fd())); statusOf(err) != statusUsage {
		t.Errorf("of a file that is no pipe: %v", err)
	}
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(p[0]) }()
	r, err := newReadiness(p[1])
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(r.pipe)
	r.seal()
	flags, err := unix.FcntlInt(uintptr(p[1]), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("what the daemon runs would inherit the pipe: flags %#x, %v", flags, err)
	}
}
