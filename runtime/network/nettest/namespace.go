// Package nettest makes, of network namespaces, what is around a host that runs
// sandboxes: an internet with names, a LAN, the metadata of a cloud. Nothing of
// it has a way out. It is for tests, as root.
package nettest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Must ends the test when err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// NewNS makes a network namespace with nothing but a loopback that is up. It is
// there for as long as the file is open or something runs in it.
func NewNS(t testing.TB) *os.File {
	t.Helper()
	type result struct {
		ns  *os.File
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), LoopbackUp())
		if err != nil {
			made <- result{err: err}
			return
		}
		ns, err := os.Open("/proc/thread-self/ns/net")
		made <- result{ns, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatalf("make a network namespace: %v", r.err)
	}
	t.Cleanup(func() { _ = r.ns.Close() })
	return r.ns
}

// LoopbackUp sets up the loopback of this thread's network namespace.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// Leave moves a test binary, and with it all that its tests start, into a
// network namespace that has a loopback and nothing else: no test, and no bug
// in what is under test, sends anything to a real network. It does not return
// the first time: the binary begins again, inside. Call it first in TestMain.
func Leave() error {
	const inside = "COVE_TEST_NETWORK"
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	if os.Getenv(inside) == here {
		return os.Unsetenv(inside)
	}
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), LoopbackUp()); err != nil {
		return err
	}
	if here, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), inside+"="+here))
}

// In calls f on a thread that is in the network namespace ns; nil is this one.
func In(ns *os.File, f func() error) error {
	if ns == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with its goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// Command is a program that will run in the network namespace ns; nil is this one.
// nsenter(1) becomes it, so its pid and its status are the program's.
func Command(ctx context.Context, ns *os.File, name string, args ...string) *exec.Cmd {
	if ns == nil {
		return exec.CommandContext(ctx, name, args...)
	}
	return exec.CommandContext(ctx, "nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns.Fd()), "--", name}, args...)...)
}

// Run runs a command line, split at spaces, in a network namespace; it must succeed.
func Run(t testing.TB, ns *os.File, line string) string {
	t.Helper()
	f := strings.Fields(line)
	out, err := Command(context.Background(), ns, f[0], f[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// Rules gives nft(8) a ruleset in a network namespace.
func Rules(t testing.TB, ns *os.File, ruleset string) {
	t.Helper()
	cmd := Command(context.Background(), ns, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}
