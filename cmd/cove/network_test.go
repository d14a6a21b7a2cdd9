package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cove/runtime/network/nettest"
)

// cover gives what runs on the host from now on a mount namespace in which
// files of the machine are covered by the test's.
func (h *host) cover(files map[string]string) {
	h.t.Helper()
	var script strings.Builder
	for to, text := range files {
		from := filepath.Join(filepath.Dir(h.run), filepath.Base(to))
		if err := os.WriteFile(from, []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
		fmt.Fprintf(&script, "mount --bind %s %s && ", from, to)
	}
	script.WriteString("echo covered && exec sleep 1000")
	cmd := exec.CommandContext(h.t.Context(), "/bin/sh", "-c", script.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil {
		h.t.Fatalf("cover files of the machine: %v", err)
	}
	if h.mounts, err = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", cmd.Process.Pid)); err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		h.t.Fatal(err)
	}
	_ = cmd.Wait()
}

// worldHost is a cove on a host in a world of its own, whose resolver is on the
// LAN: where no sandbox may go.
func worldHost(t *testing.T) (*host, *nettest.World) {
	t.Helper()
	h := realHost(t)
	h.cover(map[string]string{"/etc/resolv.conf": "nameserver " + nettest.Resolver + "\n"})
	return h, nettest.New(t, h.net)
}

// pidOf is the sandbox's first process, as the run directory has it.
func (h *host) pidOf(name string) int {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.run, "sandboxes", h.inspect(name).ID, "running.json"))
	if err != nil {
		h.t.Fatal(err)
	}
	var r struct{ Pid int }
	if err := json.Unmarshal(data, &r); err != nil || r.Pid == 0 {
		h.t.Fatalf("no pid in %s: %v", data, err)
	}
	return r.Pid
}

// netOf opens the network namespace of a sandbox that runs.
func (h *host) netOf(name string) *os.File {
	h.t.Helper()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.pidOf(name)))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// reached compares what a network namespace reaches, and whether it is told
// names, with what is open to it.
func reached(t *testing.T, when string, ns *os.File, open, lan bool) {
	t.Helper()
	if wrong := nettest.Compare(t, ns, nettest.Reachable(open, lan)); wrong != "" {
		t.Errorf("%s: open %v, lan %v:\n%s", when, open, lan, wrong)
	}
	want := nettest.Refused
	if open {
		want = nettest.WebV4
	}
	if got := nettest.Ask(t, ns, "169.254.1.1"); got != want {
		t.Errorf("%s: open %v: names: %s, want %s", when, open, got, want)
	}
}

// probe is what a sandbox's own program finds: each line an address and what it
// got there.
const probe = `import socket, sys
for name in sys.argv[1:]:
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except OSError as e:
        print(name, "unknown")
        continue
    for family, kind, proto, _, addr in found:
        s = socket.socket(family, kind, proto)
        s.settimeout(2)
        try:
            s.connect(addr)
            print(name, addr[0], s.recv(100).decode())
        except TimeoutError:
            print(name, addr[0], "silent")
        except OSError:
            print(name, addr[0], "refused")
`

// TestReach is the matrix: three sandboxes, open, open to the LAN, and closed,
// are tried against all that is around the host, through all that may happen
// to daemon, rules and sandboxes.
func TestReach(t *testing.T) {
	h, w := worldHost(t)
	w.Watch()
	h.must("create", "-p", "shell", "-n", "open")
	h.must("create", "-p", "untrusted", "--auto-delete", "never", "-n", "closed")
	h.must("create", "-p", "shell", "-n", "other")
	other := h.netOf("other")
	w.WatchSandbox(other)

	// By its own program, by name, over IPv4 and IPv6.
	args := []string{"exec", "open", "--", "python3", "-c", probe, nettest.WebName}
	if got := h.must(args...); !strings.Contains(got, nettest.WebName+" "+nettest.WebV4+" internet") || !strings.Contains(got, nettest.WebName+" "+nettest.WebV6+" internet") {
		t.Errorf("by name it reaches:\n%s", got)
	}
	args[1] = "closed"
	if got := h.must(args...); got != nettest.WebName+" unknown\n" {
		t.Errorf("the closed one reaches by name:\n%s", got)
	}
	for _, name := range []string{"open", "closed"} {
		reachable := nettest.Reachable(name == "open", false)
		list := []string{"exec", name, "--", "python3", "-c", probe}
		for addr := range reachable {
			list = append(list, addr)
		}
		for line := range strings.Lines(h.must(list...)) {
			f := strings.Fields(line)
			if want := string(reachable[f[0]]); f[len(f)-1] != want {
				t.Errorf("%s: its program finds %q, want %s", name, strings.TrimSpace(line), want)
			}
		}
	}

	check := func(when string) {
		t.Helper()
		reached(t, when, h.netOf("open"), true, false)
		reached(t, when, h.netOf("closed"), false, false)
		if got := w.Counted(w.Host, w.LAN, w.Internet, other); got != "" {
			t.Errorf("%s: forbidden packets came through:\n%s", when, got)
		}
	}
	check("at first")

	h.must("stop", "open", "closed")
	h.must("start", "open", "closed")
	check("after stop and start")

	// What is open while no daemon runs, in each moment.
	open, closed := h.netOf("open"), h.netOf("closed")
	h.kill()
	reached(t, "while the daemon is dead", open, true, false)
	reached(t, "while the daemon is dead", closed, false, false)
	h.must("daemon", "start")
	check("after the daemon's death")

	flush := func() { nettest.Run(t, h.net, "nft flush ruleset"); w.Watch() }
	h.kill()
	flush()
	for addr, got := range nettest.ReachAll(t, open, slices.Collect(maps.Keys(nettest.Reachable(true, false))), 80) {
		if got != nettest.Refused && got != nettest.Silent {
			t.Errorf("no daemon, no rules: %s: %s", addr, got)
		}
	}
	if got := w.Counted(w.Host, w.LAN, w.Internet, other); got != "" {
		t.Errorf("no daemon, no rules: forbidden packets came through:\n%s", got)
	}
	h.must("daemon", "start")
	check("after a flush without a daemon")

	flush()
	h.until("the internet is back", func() bool { return nettest.Reach(t, open, nettest.WebV4, 80) == "internet" })
	check("after a flush")

	// Policies change while it runs, for what is open too.
	conn := held(t, open, nettest.WebV4)
	h.must("network", "open", "--block-all")
	reached(t, "when it is closed", open, false, false)
	if alive(conn) {
		t.Error("what was open when it was closed still works")
	}
	h.must("network", "open", "--lan")
	reached(t, "when the LAN is opened", open, true, true)
	h.must("stop", "open")
	h.must("start", "open")
	open = h.netOf("open")
	reached(t, "when it has started with the LAN", open, true, true)
	conn = held(t, open, nettest.LANV4)
	h.must("network", "open", "--open")
	reached(t, "when the LAN is closed", open, true, false)
	if alive(conn) {
		t.Error("what was open in the LAN when that was closed still works")
	}
	h.must("network", "closed", "--open")
	reached(t, "when one that had no link is opened", h.netOf("closed"), true, false)
	h.kill()
	h.must("daemon", "start")
	reached(t, "which the next daemon knows too", h.netOf("closed"), true, false)
}

// until waits for what no event tells of.
func (h *host) until(what string, ok func() bool) {
	h.t.Helper()
	end := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// held is a connection from a network namespace that the other side answers and keeps.
func held(t *testing.T, ns *os.File, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	nettest.Must(t, nettest.In(ns, func() (err error) {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(addr, "7"), 2*time.Second)
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	if !alive(c) {
		t.Fatalf("%s does not echo", addr)
	}
	return c
}

// alive tells whether what is written to a connection comes back.
func alive(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err == nil
}

// flood sends to every address it is given, by all that a program may send,
// until it is killed.
const flood = `import socket, sys
addrs = sys.argv[1:]
print("begun", flush=True)
while True:
    for a in addrs:
        family = socket.AF_INET6 if ":" in a else socket.AF_INET
        for kind, port in ((socket.SOCK_DGRAM, 9), (socket.SOCK_DGRAM, 5353), (socket.SOCK_STREAM, 80), (socket.SOCK_STREAM, 22)):
            s = socket.socket(family, kind)
            s.setblocking(False)
            try:
                if kind == socket.SOCK_DGRAM:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    for _ in range(20):
                        s.sendto(b"x" * 100, (a, port))
                else:
                    s.connect((a, port))
            except OSError:
                pass
            s.close()
`

// TestFlood counts, outside, what comes of a program that from its first
// instruction sends to all that is forbidden, while daemon and rules come and go.
func TestFlood(t *testing.T) {
	h, w := worldHost(t)
	w.Watch()
	h.must("create", "-p", "shell", "-n", "other")
	other := h.netOf("other")
	w.WatchSandbox(other)
	var addrs []string
	for a, want := range nettest.Reachable(true, false) {
		if want == nettest.Refused {
			addrs = append(addrs, a)
		}
	}
	addrs = append(addrs, "198.18.0.1", "198.18.0.2", "192.168.77.255", "203.0.113.255", "203.0.113.1")
	before := w.Delivered()

	cmd := h.command(t.Context(), append([]string{"run", "-p", "shell", "-n", "flood", "--", "python3", "-c", flood}, addrs...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil || word != "begun" {
		t.Fatalf("the flood says %q, %v", word, err)
	}
	// Its terminal goes with the daemon; a copy stays.
	h.must("exec", "flood", "--", "sh", "-c", "setsid python3 -c '"+strings.ReplaceAll(flood, "'", `'\''`)+"' "+strings.Join(addrs, " ")+" >/dev/null 2>&1 </dev/null &")
	ns := h.netOf("flood")
	for i := range 3 {
		h.kill()
		nettest.Run(t, h.net, "nft flush ruleset")
		h.must("daemon", "start")
		nettest.Run(t, h.net, "nft flush ruleset")
		h.must("network", "flood", "--block-all")
		h.must("network", "flood", "--open")
		if got := nettest.Reach(t, ns, nettest.WebV4, 80); got != "internet" {
			t.Errorf("round %d: the internet: %s", i, got)
		}
	}
	sent := nettest.Run(t, ns, "cat /proc/self/net/snmp")
	if got := w.Counted(w.LAN, w.Internet, other); got != "" {
		t.Errorf("forbidden packets came through:\n%s", got)
	}
	if after := w.Delivered(); after != before {
		t.Errorf("the host's own sockets were sent something: before %s, after %s", before, after)
	}
	var tried int
	for line := range strings.Lines(sent) {
		if f := strings.Fields(line); len(f) > 4 && f[0] == "Udp:" {
			_, _ = fmt.Sscan(f[4], &tried)
		}
	}
	if tried < 1000 {
		t.Errorf("the flood sent %d datagrams only", tried)
	}
	t.Logf("%d datagrams were sent", tried)
	h.must("stop", "--force", "flood")
	_ = cmd.Wait()
}
