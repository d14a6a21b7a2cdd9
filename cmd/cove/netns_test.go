package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cove/runtime/network/nettest"
)

// leaveNetwork moves the test binary, and with it all that tests start, to where
// there is no network. As cove itself, which a test has started, it is there
// already; without root there is no daemon.
func leaveNetwork() error {
	if os.Geteuid() != 0 || filepath.Base(os.Args[0]) == "cove" {
		return nil
	}
	return nettest.Leave()
}

// enter makes a command begin in the network and mount namespaces of a host;
// nil ones are the test's own. nsenter(1) becomes the command, so its pid and
// its status are the command's.
func enter(network, mounts *os.File, cmd *exec.Cmd) {
	args := []string{"nsenter"}
	for flag, ns := range map[string]*os.File{"--net": network, "--mount": mounts} {
		if ns != nil {
			args = append(args, fmt.Sprintf("%s=/proc/%d/fd/%d", flag, os.Getpid(), ns.Fd()))
		}
	}
	if len(args) == 1 {
		return
	}
	cmd.Args = append(append(args, "--", cmd.Path), cmd.Args[1:]...)
	cmd.Path = "/usr/bin/nsenter"
}

// What a test runs is in the network namespace of the test's host and sees no
// network, neither the machine's nor another host's.
func TestHostsHaveNoNetwork(t *testing.T) {
	a, b := realHost(t), realHost(t)
	// Of this thread: the main one may have ended in another.
	own, err := os.Readlink("/proc/thread-self/ns/net")
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
