package network

import (
	"os"
	"testing"
)

// matrix is what a policy reaches, by TCP to port 80.
func matrix(p Policy) map[string]outcome {
	m := map[string]outcome{
		webV4: "internet", webV6: "internet",
		lanV4: "lan", lanV6: "lan", nearV6: "lan", "10.9.9.9": "internet",
		metaV4: refused, metaV6: refused,
		hostWAN4: refused, hostWAN6: refused, hostLAN4: refused, hostLAN6: refused, "2001:db8:77::1": refused,
		"169.254.1.1": refused, "127.0.0.1": refused, "::1": refused, "224.0.0.1": refused, "255.255.255.255": refused, "ff02::1": refused,
		"0.0.0.0": refused, "fe80::1": refused, "198.19.0.0": refused, "198.19.0.1": refused, "64:ff9b::a09:909": "silent or refused",
	}
	for _, private := range []string{lanV4, lanV6, nearV6, "10.9.9.9"} {
		if p != LAN {
			m[private] = refused
		}
	}
	if p == Blocked {
		for a := range m {
			m[a] = refused
		}
	}
	return m
}

func checkMatrix(t *testing.T, ns *os.File, p Policy) {
	t.Helper()
	for addr, want := range matrix(p) {
		got := reach(t, ns, addr, 80)
		if want == "silent or refused" && (got == silent || got == refused) {
			continue
		}
		if got != want {
			t.Errorf("policy %d: %s: %s, want %s", p, addr, got, want)
		}
	}
	names := outcome("lan") // the resolver is there
	if p == Blocked {
		names = refused
	}
	if got := ask(t, ns, "169.254.1.1"); got != names {
		t.Errorf("policy %d: names: %s, want %s", p, got, names)
	}
	if got := ask(t, ns, resolverV4); p == Open && got != refused {
		t.Errorf("the resolver at its own address: %s", got)
	}
}

func TestMatrix(t *testing.T) {
	newWorld(t)
	s := newSide(t, "a00001")
	for _, p := range []Policy{Open, LAN, Blocked} {
		ns, _ := s.box("box"+string(rune('0'+p)), p)
		checkMatrix(t, ns, p)
	}
}
