package nettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// World is what is around a host: the internet behind its default route, where
// the metadata of a cloud is too, and a LAN. Everything in it, the host
// included, listens on TCP port 80 and says who it is, on port 7 and echoes, and
// on port 53.
type World struct {
	t testing.TB
	// Host is the network namespace of the host, nil the test's own.
	Host, Internet, LAN *os.File
}

// The addresses of a [World]. Web is a server of the internet, and the name
// WebName has both. Near is on the LAN by its public address, and Private is a
// private address behind the host's default route.
const (
	WebName  = "web.example"
	WebV4    = "198.51.100.10"
	WebV6    = "2001:db8:100::10"
	LANV4    = "192.168.77.10"
	LANV6    = "fd77::10"
	Near     = "2001:db8:77::10"
	Private  = "10.9.9.9"
	MetaV4   = "169.254.169.254"
	MetaV6   = "fd00:ec2::254"
	Resolver = "192.168.77.53" // on the LAN
)

// HostAddrs are those of the host.
func HostAddrs() []string {
	return []string{"203.0.113.2", "2001:db8:1::2", "192.168.77.1", "fd77::1", "2001:db8:77::1"}
}

// New makes a world around the host, whose network namespace has nothing but
// its loopback.
func New(t testing.TB, host *os.File) *World {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	w := &World{t: t, Host: host, Internet: NewNS(t), LAN: NewNS(t)}
	Run(t, host, fmt.Sprintf("ip link add wan0 type veth peer name up0 netns /proc/%d/fd/%d", os.Getpid(), w.Internet.Fd()))
	Run(t, host, fmt.Sprintf("ip link add lan0 type veth peer name eth0 netns /proc/%d/fd/%d", os.Getpid(), w.LAN.Fd()))
	t.Cleanup(func() {
		for _, l := range []string{"wan0", "lan0"} {
			_ = Command(context.Background(), host, "ip", "link", "del", l).Run()
		}
	})
	for ns, lines := range map[*os.File][]string{
		host: {
			"addr add 203.0.113.2/24 dev wan0", "addr add 2001:db8:1::2/64 dev wan0 nodad", "link set wan0 up",
			"addr add 192.168.77.1/24 dev lan0", "addr add fd77::1/64 dev lan0 nodad", "addr add 2001:db8:77::1/64 dev lan0 nodad", "link set lan0 up",
			"route add default via 203.0.113.1", "-6 route add default via 2001:db8:1::1",
		},
		w.Internet: {
			"addr add 203.0.113.1/24 dev up0", "addr add 2001:db8:1::1/64 dev up0 nodad", "link set up0 up",
			"addr add " + WebV4 + "/32 dev lo", "addr add " + WebV6 + "/128 dev lo nodad",
			"addr add " + MetaV4 + "/32 dev lo", "addr add " + MetaV6 + "/128 dev lo nodad", "addr add " + Private + "/32 dev lo",
		},
		w.LAN: {
			"addr add " + Resolver + "/24 dev eth0", "addr add " + LANV4 + "/24 dev eth0", "addr add " + LANV6 + "/64 dev eth0 nodad",
			"addr add " + Near + "/64 dev eth0 nodad", "link set eth0 up", "route add default via 192.168.77.1", "-6 route add default via fd77::1",
		},
	} {
		for _, l := range lines {
			Run(t, ns, "ip "+l)
		}
	}
	w.serve(w.Internet, "internet", WebV4, WebV6)
	w.serve(w.LAN, "lan", Resolver)
	w.serve(host, "host", "127.0.0.1", "::1", "203.0.113.2")
	return w
}

// Listen opens a TCP listener in a network namespace until the test ends.
func Listen(t testing.TB, ns *os.File, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	Must(t, In(ns, func() (err error) { l, err = net.Listen("tcp", addr); return err }))
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// serve answers in a network namespace, and questions for names at some of its
// addresses.
func (w *World) serve(ns *os.File, name string, resolvers ...string) {
	w.t.Helper()
	for _, port := range []string{":80", ":53"} {
		go answer(Listen(w.t, ns, port), name)
	}
	go echo(Listen(w.t, ns, ":7"))
	for _, a := range resolvers {
		serveNames(w.t, ns, net.JoinHostPort(a, "53"))
	}
}

// echo sends back what it gets.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

// answer says name to whoever connects.
func answer(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, name)
		_ = c.Close()
	}
}

// serveNames answers questions for [WebName] in a network namespace, until the
// test ends.
func serveNames(t testing.TB, ns *os.File, addr string) {
	t.Helper()
	var udp net.PacketConn
	Must(t, In(ns, func() (err error) { udp, err = net.ListenPacket("udp", addr); return err }))
	t.Cleanup(func() { _ = udp.Close() })
	go func() {
		buf := make([]byte, 1<<12)
		for {
			n, who, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if out, err := answerName(buf[:n]); err == nil {
				_, _ = udp.WriteTo(out, who)
			}
		}
	}()
}

func answerName(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	for _, q := range m.Questions {
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
		switch {
		case q.Name.String() != WebName+".":
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: netip.MustParseAddr(WebV4).As4()}})
		case q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(WebV6).As16()}})
		}
	}
	return m.Pack()
}

// Outcome is what became of one attempt: the name of who answered, or one of
// the following.
type Outcome string

// Outcomes of attempts that nobody answered.
const (
	Refused Outcome = "refused"
	Silent  Outcome = "silent"
)

// patience is how long an attempt waits: everything is on one machine.
const patience = 2 * time.Second

// Reach connects from a network namespace to an address and port by TCP.
func Reach(t testing.TB, ns *os.File, addr string, port int) Outcome {
	t.Helper()
	return ReachAll(t, ns, []string{addr}, port)[addr]
}

// ReachAll connects to several addresses at once.
func ReachAll(t testing.TB, ns *os.File, addrs []string, port int) map[string]Outcome {
	t.Helper()
	var mu sync.Mutex
	var g errgroup.Group
	all := make(map[string]Outcome, len(addrs))
	for _, a := range addrs {
		g.Go(func() error {
			return In(ns, func() error {
				got := reach(net.JoinHostPort(a, fmt.Sprint(port)))
				mu.Lock()
				defer mu.Unlock()
				all[a] = got
				return nil
			})
		})
	}
	Must(t, g.Wait())
	return all
}

func reach(addr string) Outcome {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return Silent
		}
		return Refused
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if err != nil {
		return Silent
	}
	return Outcome(b)
}

// Compare tells what of want is not so when it is tried from a network
// namespace, on port 80; empty is nothing.
func Compare(t testing.TB, ns *os.File, want map[string]Outcome) string {
	t.Helper()
	got := ReachAll(t, ns, slices.Collect(maps.Keys(want)), 80)
	var wrong []string
	for addr, w := range want {
		if got[addr] != w {
			wrong = append(wrong, fmt.Sprintf("%s: %s, want %s", addr, got[addr], w))
		}
	}
	slices.Sort(wrong)
	return strings.Join(wrong, "\n")
}

// Ask asks an address for [WebName] from a network namespace, by UDP.
func Ask(t testing.TB, ns *os.File, addr string) Outcome {
	t.Helper()
	got := Silent
	Must(t, In(ns, func() error {
		c, err := net.DialTimeout("udp", net.JoinHostPort(addr, "53"), patience)
		if err != nil {
			got = Refused
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		q, err := (&dnsmessage.Message{
			Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{{
				Name: dnsmessage.MustNewName(WebName + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
			}},
		}).Pack()
		if err != nil {
			return err
		}
		if _, err := c.Write(q); err != nil {
			got = Refused
			return nil
		}
		buf := make([]byte, 1<<12)
		n, err := c.Read(buf)
		var m dnsmessage.Message
		switch {
		case errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH):
			got = Refused
		case err == nil && m.Unpack(buf[:n]) == nil && len(m.Answers) == 1:
			got = Outcome(netip.AddrFrom4(m.Answers[0].Body.(*dnsmessage.AResource).A).String())
		}
		return nil
	}))
	return got
}

// Reachable is what answers on port 80 where the internet is open, and the
// private networks too or not; nil is nothing.
func Reachable(open, lan bool) map[string]Outcome {
	m := map[string]Outcome{}
	for _, a := range append(HostAddrs(), MetaV4, MetaV6, LANV4, LANV6, Near, Private,
		"169.254.1.1", "127.0.0.1", "::1", "224.0.0.1", "255.255.255.255", "ff02::1", "0.0.0.0", "fe80::1", "198.19.0.0", "198.19.0.1",
		"fdc0:76e5::1", "::ffff:192.168.77.10", "64:ff9b::c0a8:4d0a") {
		m[a] = Refused
	}
	m[WebV4], m[WebV6] = Refused, Refused
	if open {
		m[WebV4], m[WebV6] = "internet", "internet"
	}
	if lan {
		delete(m, "64:ff9b::c0a8:4d0a") // leaves for a translator that is not there
		m[LANV4], m[LANV6], m[Near], m[Private] = "lan", "lan", "lan", "internet"
		m["::ffff:192.168.77.10"] = "lan" // a socket's way to write the same address
	}
	return m
}

// Watch counts the packets that come to what no sandbox may reach: at the host
// itself, in the LAN, at the metadata and, as if from a sandbox, in the
// internet. Questions for names count nowhere, nor does what the links of the
// world say among themselves. It may be called again, where the host's rules
// were flushed.
func (w *World) Watch() {
	w.t.Helper()
	// Behind every other chain: what others drop is not counted.
	w.Count(w.Host, "input priority 1000", `iifname "cv*" counter`)
	w.Count(w.LAN, "prerouting priority -500",
		`meta l4proto { tcp, udp } th dport 53 accept`, chatter, `iifname "eth0" counter`)
	w.Count(w.Internet, "prerouting priority -500",
		"ip daddr { "+MetaV4+", "+Private+" } counter", "ip6 daddr "+MetaV6+" counter",
		`iifname "up0" ip saddr != 203.0.113.2 counter`, `iifname "up0" ip6 saddr != { 2001:db8:1::2, fe80::/10, :: } counter`)
}

// WatchSandbox counts what comes to a sandbox that asks for nothing.
func (w *World) WatchSandbox(ns *os.File) {
	w.t.Helper()
	w.Count(ns, "prerouting priority -500", chatter, `iifname "eth0" counter`)
}

// chatter is what links say by themselves.
const chatter = `icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept`

// Count puts one chain of rules into a network namespace, with new counters.
func (w *World) Count(ns *os.File, hook string, rules ...string) {
	w.t.Helper()
	_ = Command(context.Background(), ns, "nft", "delete", "table", "inet", "watch").Run()
	Rules(w.t, ns, "table inet watch {\n chain watch {\n  type filter hook "+hook+"\n  "+strings.Join(rules, "\n  ")+"\n }\n}\n")
	w.t.Cleanup(func() { _ = Command(context.Background(), ns, "nft", "delete", "table", "inet", "watch").Run() })
}

// Counted is what was counted in network namespaces, as nft prints it: empty is
// nothing.
func (w *World) Counted(places ...*os.File) string {
	w.t.Helper()
	var found []string
	for i, ns := range places {
		out, err := Command(context.Background(), ns, "nft", "list", "table", "inet", "watch").Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			w.t.Fatalf("nft: %s", exit.Stderr)
		}
		Must(w.t, err)
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "counter packets") && !strings.Contains(line, "packets 0 ") {
				found = append(found, fmt.Sprintf("place %d: %s", i, strings.TrimSpace(line)))
			}
		}
	}
	return strings.Join(found, "\n")
}

// Delivered is what the kernel has counted at the host's own sockets, from
// outside its loopback or for no socket at all: segments of TCP that begin
// connections, and datagrams. No rule changes it.
func (w *World) Delivered() string {
	w.t.Helper()
	var found []string
	for _, file := range []string{"snmp", "snmp6"} {
		out := Run(w.t, w.Host, "cat /proc/self/net/"+file)
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			switch {
			case f[0] == "Tcp:" || f[0] == "Udp:":
				found = append(found, strings.Join(f, " "))
			case f[0] == "Udp6InDatagrams" || f[0] == "Udp6NoPorts":
				found = append(found, strings.Join(f, " "))
			}
		}
	}
	return strings.Join(found, "\n")
}
