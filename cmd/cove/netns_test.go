package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// testNetVar names the network namespace in which the test binary began again.
const testNetVar = "COVE_TEST_NETWORK"

// leaveNetwork moves the test binary, and with it all that tests start, into a
// network namespace that has a loopback and nothing else: no test, and no bug
// in a daemon under test, sends anything to a real network. It does not return
// the first time: the binary begins again, inside. As cove itself, which a test
// has started, it is inside already; without root there is no daemon.
func leaveNetwork() error {
	if os.Geteuid() != 0 || filepath.Base(os.Args[0]) == "cove" {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	if os.Getenv(testNetVar) == here {
		return os.Unsetenv(testNetVar)
	}
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), loopbackUp()); err != nil {
		return err
	}
	if here, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), testNetVar+"="+here))
}

// newNetNS makes a network namespace with nothing but a loopback that is up.
// It is there for as long as the file is open or something runs in it.
func newNetNS(t testing.TB) *os.File {
	t.Helper()
	type result struct {
		ns  *os.File
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), loopbackUp())
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

// loopbackUp sets up the loopback of this thread's network namespace.
func loopbackUp() error {
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

// inNetNS makes a command begin in a network namespace; nil is the test's own.
// nsenter(1) becomes the command, so its pid and its status are the command's.
func inNetNS(ns *os.File, cmd *exec.Cmd) {
	if ns == nil {
		return
	}
	cmd.Args = append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns.Fd()), "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/usr/bin/nsenter"
}

// What a test runs is in the network namespace of the test's host and sees no
// network, neither the machine's nor another host's.
func TestHostsHaveNoNetwork(t *testing.T) {
	a, b := realHost(t), realHost(t)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{own: true}
	for _, h := range []*host{a, b} {
		h.must("daemon", "start")
		dir := fmt.Sprintf("/proc/%d/", h.pid())
		ns, err := os.Readlink(dir + "ns/net")
		if err != nil {
			t.Fatal(err)
		}
		if seen[ns] {
			t.Errorf("the daemon of %v shares %s with another", h, ns)
		}
		seen[ns] = true
		links, err := os.ReadFile(dir + "net/dev")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(links)) {
			if name, _, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) != "lo" {
				t.Errorf("the daemon of %v sees %s", h, strings.TrimSpace(name))
			}
		}
	}
}
