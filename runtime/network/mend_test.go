package network

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cove/runtime/network/nettest"
)

// until waits for what the driver does when it notices.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// Whatever others do to the rules, they are put back, and what is forbidden is
// forbidden meanwhile.
func TestAlteredRules(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a00004")
	ns, _ := s.box("box", Open)
	for _, c := range []struct {
		what, command string
		gate          bool
	}{
		{"the uplink is deleted", "ip link del cva00004-0", false},
		{"all rules of the host are flushed", "nft flush ruleset", false},
		{"the host's table is deleted", "nft delete table inet cove_a00004", false},
		{"the door is deleted", "nft delete table netdev cove_a00004", false},
		{"the host's chains are emptied", "nft flush table inet cove_a00004", false},
		{"the translation is emptied", "nft flush chain inet cove_a00004 nat", false},
		{"the gate's rules are flushed", "nft flush ruleset", true},
		{"the gate forgets whom it lets out", "nft flush map inet cove_a00004 egress", true},
		{"the gate's translation is emptied", "nft flush chain inet cove_a00004 nat", true},
	} {
		where := (*os.File)(nil)
		if c.gate {
			where = s.d.gate.ns
		}
		nettest.Run(t, where, c.command)
		until(t, c.what+": the internet comes back", func() bool {
			return nettest.Reach(t, ns, nettest.WebV4, 80) == "internet"
		})
		checkReach(t, ns, Open)
	}
}

// When the holder of the gate is killed, the gate is made anew, with a link for
// each sandbox.
func TestHolderKilled(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a00005")
	ns, _ := s.box("box", Open)
	lan, _ := s.box("lan", LAN)
	s.d.mu.Lock()
	pid := s.d.gate.holder.Pid
	s.d.mu.Unlock()
	must(t, unix.Kill(pid, unix.SIGKILL))
	until(t, "the gate is made anew", func() bool {
		s.d.mu.Lock()
		defer s.d.mu.Unlock()
		return s.d.gate != nil && s.d.gate.holder.Pid != pid && len(s.d.links) == 2
	})
	checkReach(t, ns, Open)
	checkReach(t, lan, LAN)
}

// A holder whose daemon is gone before it has recorded it ends by itself.
func TestHolderNobodyKeeps(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a0000e")
	h, keep, err := startHolder(t.Context(), s.o)
	must(t, err)
	fd, err := unix.PidfdOpen(h.Pid, 0)
	must(t, err)
	defer unix.Close(fd)
	gone := func(patience int) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, patience)
		return err == nil && n == 1
	}
	if gone(100) {
		t.Fatal("it ended while it could still be kept")
	}
	must(t, keep.Close())
	if !gone(10_000) {
		must(t, unix.Kill(h.Pid, unix.SIGKILL))
		t.Error("it is still there")
	}
}

// The next driver takes over what the one before left when it was killed.
func TestAdopt(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a00006")
	open, openPid := s.box("open", Open)
	lan, lanPid := s.box("lan", LAN)
	gone, _ := s.box("gone", Open)
	// As a kill would leave it.
	s.d.cancel()
	must(t, s.d.pool.close())
	s.d.mu.Lock()
	s.d.letGo()
	s.d.mu.Unlock()
	checkReach(t, open, Open)

	s.open(map[string]Running{"open": {Open, openPid}, "lan": {LAN, lanPid}})
	checkReach(t, open, Open)
	checkReach(t, lan, LAN)
	must(t, s.d.Drain(t.Context())) // its link goes in the background; until then nothing answers
	checkReach(t, gone, Blocked)
	strays, err := s.d.Strays(func(id string) bool { return id == "open" || id == "lan" })
	if err != nil || len(strays) != 0 {
		t.Errorf("strays: %v, %v", strays, err)
	}
	strays, err = s.d.Strays(func(id string) bool { return id == "open" })
	if err != nil || len(strays) == 0 {
		t.Errorf("a sandbox that nobody knows is no stray: %v, %v", strays, err)
	}
	if rx, tx, ok := s.d.Bytes("open"); !ok || rx == 0 || tx == 0 {
		t.Errorf("counted %d, %d, %v", rx, tx, ok)
	}
	if _, _, ok := s.d.Bytes("gone"); ok {
		t.Error("what is gone is counted")
	}
	s.d.mu.Lock()
	links, err := s.d.gate.links(s.o.Inst)
	s.d.mu.Unlock()
	if err != nil || len(links) != 2 {
		t.Errorf("%d links, %v", len(links), err)
	}
}

// Where nobody runs any more, the next driver takes all of it away.
func TestAdoptNothing(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a00007")
	s.box("gone", Open)
	s.d.cancel()
	must(t, s.d.pool.close())
	s.d.mu.Lock()
	s.d.letGo()
	s.d.mu.Unlock()
	s.open(nil)
	if _, err := netlink.LinkByName("cva00007-0"); !errors.As(err, &netlink.LinkNotFoundError{}) {
		t.Errorf("the uplink: %v", err)
	}
	if out := nettest.Run(t, nil, "nft list ruleset"); strings.Contains(out, "a00007") {
		t.Errorf("rules are left:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(s.o.RunDir, gateFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record of the gate: %v", err)
	}
}

// Two instances on one host do not disturb each other, and the last one gives
// back what forwarding was.
func TestTwoInstances(t *testing.T) {
	nettest.New(t, nil)
	forwards := func() string {
		return nettest.Run(t, nil, "sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.wan0.accept_ra")
	}
	before := forwards()
	nettest.Run(t, nil, "sysctl -q net.ipv6.conf.wan0.accept_ra=1")
	first := newSide(t, "a00008")
	second := newSide(t, "a00009")
	second.o.LeaseDir = first.o.LeaseDir // the machine's
	must(t, second.d.Close())
	second.open(nil)
	a, _ := first.box("a", Open)
	b, _ := second.box("b", LAN)
	if got := forwards(); got != "1\n1\n2\n" {
		t.Errorf("forwarding is %q", got)
	}
	checkReach(t, a, Open)
	checkReach(t, b, LAN)
	must(t, first.d.Disconnect("a"))
	must(t, first.d.Close())
	first.d = nil
	checkReach(t, b, LAN)
	must(t, second.d.Disconnect("b"))
	must(t, second.d.Close())
	second.d = nil
	if got := forwards(); got != "0\n0\n1\n" {
		t.Errorf("forwarding was %q, is %q", before, got)
	}
}

// Switching forwarding on makes the host nobody else's router.
func TestStrangersAreNotForwarded(t *testing.T) {
	w := nettest.New(t, nil)
	s := newSide(t, "a00010")
	ns, _ := s.box("box", Open)
	checkReach(t, ns, Open)
	// The LAN has the host for its default route; so has the internet.
	for _, c := range []struct {
		from *os.File
		to   string
	}{{w.LAN, nettest.WebV4}, {w.LAN, nettest.WebV6}, {w.Internet, nettest.LANV4}} {
		if c.from == w.Internet {
			nettest.Run(t, w.Internet, "ip route add 192.168.77.0/24 via 203.0.113.2")
		}
		if got := nettest.Reach(t, c.from, c.to, 80); got != nettest.Silent {
			t.Errorf("through the host to %s: %s", c.to, got)
		}
	}
}

// A resolver that only the host reaches is reached through the daemon, and a
// change of the host's resolver is followed.
func TestNames(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a00011")
	ns, _ := s.box("box", Open)
	ask := func() nettest.Outcome { return nettest.Ask(t, ns, "169.254.1.1") }
	if got := ask(); got != nettest.WebV4 {
		t.Fatalf("the resolver in the LAN: %s", got)
	}
	for _, servers := range []string{"127.0.0.1", "203.0.113.2", "::1", "2001:db8:100::10", nettest.WebV4, nettest.Resolver} {
		file := s.o.resolvers[0]
		must(t, os.WriteFile(file+".new", []byte("# a comment\nnameserver "+servers+"\n"), 0o600))
		must(t, os.Rename(file+".new", file))
		until(t, "names by "+servers, func() bool {
			s.d.mu.Lock()
			names := s.d.names
			s.d.mu.Unlock()
			all := names.forward
			if names.translate.IsValid() {
				all = append(all, names.translate)
			}
			return len(all) == 1 && all[0].String() == servers && ask() == nettest.WebV4
		})
		if got := nettest.Reach(t, ns, "169.254.1.1", 53); got == nettest.Refused {
			t.Errorf("by TCP, %s: %s", servers, got)
		}
	}
	must(t, os.WriteFile(s.o.resolvers[0], []byte("search example.org\n"), 0o600))
	until(t, "without a resolver", func() bool { return ask() == nettest.Refused })
	checkReachWithoutNames(t, ns)
}

func checkReachWithoutNames(t *testing.T, ns *os.File) {
	t.Helper()
	if wrong := nettest.Compare(t, ns, nettest.Reachable(true, false)); wrong != "" {
		t.Error(wrong)
	}
}

// A drop of Docker's stops nobody: there is a chain for that.
func TestDocker(t *testing.T) {
	nettest.New(t, nil)
	nettest.Rules(t, nil, `table ip filter {
 chain DOCKER-USER {
  counter return
 }
 chain FORWARD {
  type filter hook forward priority filter; policy drop
  jump DOCKER-USER
 }
}
`)
	t.Cleanup(func() { nettest.Run(t, nil, "nft flush ruleset") })
	s := newSide(t, "a00012")
	ns, _ := s.box("box", Open)
	checkReach(t, ns, Open)
	blocked, err := s.d.blockers()
	if err != nil || len(blocked) != 0 {
		t.Errorf("blockers: %v, %v", blocked, err)
	}
	// Another firewall's is named.
	nettest.Rules(t, nil, "table inet strict {\n chain forward {\n  type filter hook forward priority filter; policy drop\n }\n}\n")
	blocked, err = s.d.blockers()
	if err != nil || len(blocked) != 1 || blocked[0] != (blocker{"inet", "strict", "forward"}) {
		t.Errorf("blockers: %v, %v", blocked, err)
	}
	if got := nettest.Reach(t, ns, nettest.WebV4, 80); got != nettest.Silent {
		t.Errorf("behind a strict firewall: %s", got)
	}
	// What doctor says to do helps.
	checks := s.d.Probe()
	advice := checks[1].Detail
	if checks[0].OK != true || checks[1].OK || !strings.Contains(advice, "inet strict") {
		t.Fatalf("checks: %+v", checks)
	}
	_, fix, _ := strings.Cut(advice, ": ")
	nettest.Rules(t, nil, strings.NewReplacer("nft ", "", "; ", "\n").Replace(fix)+"\n")
	checkReach(t, ns, Open)
	if checks := s.d.Probe(); !checks[1].OK {
		t.Errorf("checks: %+v", checks)
	}
	must(t, s.d.Disconnect("box"))
	must(t, s.d.Close())
	s.d = nil
	if out := nettest.Run(t, nil, "nft list chain ip filter DOCKER-USER"); strings.Contains(out, "cva00012") {
		t.Errorf("rules are left with Docker:\n%s", out)
	}
}
