package network

import (
	"os"
	"testing"

	"cove/runtime/network/nettest"
)

// checkReach compares what is reached from a network namespace with what a
// policy opens.
func checkReach(t *testing.T, ns *os.File, p Policy) {
	t.Helper()
	if wrong := nettest.Compare(t, ns, nettest.Reachable(p != Blocked, p == LAN)); wrong != "" {
		t.Errorf("policy %d:\n%s", p, wrong)
	}
	names := nettest.Outcome(nettest.WebV4)
	if p == Blocked {
		names = nettest.Refused
	}
	if got := nettest.Ask(t, ns, "169.254.1.1"); got != names {
		t.Errorf("policy %d: names: %s, want %s", p, got, names)
	}
	if got := nettest.Ask(t, ns, nettest.Resolver); p != LAN && got != nettest.Refused {
		t.Errorf("policy %d: the resolver at its own address: %s", p, got)
	}
}

func TestReach(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a00001")
	for _, p := range []Policy{Open, LAN, Blocked} {
		ns, _ := s.box("box"+string(rune('0'+p)), p)
		checkReach(t, ns, p)
	}
}
