package network

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/network/nettest"
)

// hostilePort is where hostile packets go, by UDP.
const hostilePort = 9999

// frame is an Ethernet frame with a UDP datagram, as a sandbox that has all
// privileges over its network could make it.
func frame(src, dst netip.Addr, mac []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, 1234)
	udp = binary.BigEndian.AppendUint16(udp, hostilePort)
	udp = binary.BigEndian.AppendUint16(udp, 8)
	udp = append(udp, 0, 0) // no checksum: allowed in IPv4, and in IPv6 nobody gets so far as to look
	if src.Is4() {
		return append(ethernet(mac, unix.ETH_P_IP), append(ipv4(src, dst, 0, 0, nil, len(udp)), udp...)...)
	}
	h := []byte{0x60, 0, 0, 0, 0, byte(len(udp)), unix.IPPROTO_UDP, 64}
	h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	sum := checksum(append(append(append(src.AsSlice(), dst.AsSlice()...), 0, 0, 0, 8, 0, 0, 0, unix.IPPROTO_UDP), udp...))
	binary.BigEndian.PutUint16(udp[6:], sum)
	return append(ethernet(mac, unix.ETH_P_IPV6), append(h, udp...)...)
}

func ethernet(mac []byte, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte(nil), mac...), sandboxMAC()...), kind)
}

// ipv4 is a header: flags and offset as RFC 791 has them in one word.
func ipv4(src, dst netip.Addr, id, fragment uint16, options []byte, size int) []byte {
	h := []byte{byte(0x45 + len(options)/4), 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+size))
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[6:], fragment)
	h = append(append(append(h, src.AsSlice()...), dst.AsSlice()...), options...)
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return h
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// send puts frames on a sandbox's eth0.
func send(t *testing.T, ns *os.File, frames ...[]byte) {
	t.Helper()
	must(t, nettest.In(ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		req, err := unix.NewIfreq(insideLink)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
			return err
		}
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: int(req.Uint32()), Halen: 6}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// A sandbox with all privileges over its own network, which none has, still
// sends nothing where it may not and nothing under another's name.
func TestHostileFrames(t *testing.T) {
	w := nettest.New(t, nil)
	s := newSide(t, "a00002")
	bad, _ := s.box("bad", Open)
	other, _ := s.box("other", Open)
	addrs := func(id string) (v4, v6 netip.Addr) {
		s.d.mu.Lock()
		defer s.d.mu.Unlock()
		return s.d.links[id].addr4, s.d.links[id].addr6
	}
	own4, own6 := addrs("bad")
	other4, other6 := addrs("other")
	a := netip.MustParseAddr
	count := func(ns *os.File) {
		w.Count(ns, "prerouting priority -500", fmt.Sprintf("udp dport %d counter", hostilePort))
	}
	for _, ns := range []*os.File{nil, w.Internet, w.LAN, other} {
		count(ns)
	}

	var frames [][]byte
	both := func(f []byte) { frames = append(frames, f) }
	// Under another name: another sandbox's, the gate's, the host's, a server's, nobody's.
	for _, src := range []string{other4.String(), "169.254.1.1", "198.19.0.1", "198.19.0.0", "203.0.113.2", nettest.WebV4, nettest.LANV4, "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "198.18.255.1"} {
		both(frame(a(src), a(nettest.WebV4), gateMAC()))
		both(frame(a(src), other4, gateMAC()))
	}
	for _, src := range []string{other6.String(), "fe80::1", "fe80::2", "2001:db8:1::2", nettest.WebV6, nettest.LANV6, "::1", "::", "::ffff:198.51.100.10", "ff02::1"} {
		both(frame(a(src), a(nettest.WebV6), gateMAC()))
		both(frame(a(src), other6, gateMAC()))
	}
	// To where it may not, by every hardware address there is.
	for _, mac := range [][]byte{gateMAC(), hostMAC(), wrongMAC(), sandboxMAC(), {255, 255, 255, 255, 255, 255}, {1, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}} {
		for _, dst := range append(nettest.HostAddrs(), nettest.LANV4, nettest.LANV6, nettest.Near, nettest.Private, nettest.MetaV4, nettest.MetaV6,
			other4.String(), other6.String(), "192.168.77.255", "255.255.255.255", "203.0.113.255", "224.0.0.251", "ff02::fb", "fe80::1") {
			src := own4
			if a(dst).Is6() {
				src = own6
			}
			both(frame(src, a(dst), mac))
		}
	}
	// In pieces, the first of which tells nothing of the port.
	payload := make([]byte, 64)
	binary.BigEndian.PutUint16(payload[2:], hostilePort)
	binary.BigEndian.PutUint16(payload[4:], 64)
	for i, cut := range []int{8, 16} {
		for _, dst := range []string{nettest.LANV4, nettest.Private, "203.0.113.2"} {
			id := uint16(100 + i)
			both(append(ethernet(gateMAC(), unix.ETH_P_IP), append(ipv4(own4, a(dst), id, 0x2000, nil, cut), payload[:cut]...)...))
			both(append(ethernet(gateMAC(), unix.ETH_P_IP), append(ipv4(own4, a(dst), id, uint16(cut/8), nil, 64-cut), payload[cut:]...)...))
		}
	}
	// By way of others: a source route (RFC 791) through a server to the LAN.
	route := append([]byte{131, 7, 4}, append(a(nettest.LANV4).AsSlice(), 0)...)
	udp := frame(own4, a(nettest.WebV4), gateMAC())[34:]
	both(append(ethernet(gateMAC(), unix.ETH_P_IP), append(ipv4(own4, a(nettest.WebV4), 0, 0, route, len(udp)), udp...)...))
	// In a VLAN.
	plain := frame(own4, a(nettest.LANV4), gateMAC())
	both(append(append(append([]byte(nil), plain[:12]...), 0x81, 0, 0, 1), plain[12:]...))

	// They are frames that could come through: these do, under its own name and
	// to the internet. What comes after them comes after the hostile ones too.
	harmless := func(want string) {
		t.Helper()
		send(t, bad, frame(own4, a(nettest.WebV4), gateMAC()), frame(own6, a(nettest.WebV6), gateMAC()))
		for end := time.Now().Add(5 * time.Second); !strings.Contains(w.Counted(w.Internet), want); {
			if time.Now().After(end) {
				t.Fatalf("of harmless frames came through: %s, want %s", w.Counted(w.Internet), want)
			}
		}
	}
	harmless("packets 2 ")
	send(t, bad, frames...)
	harmless("packets 4 ")
	if got := w.Counted(w.LAN, other); got != "" {
		t.Errorf("of hostile frames came through:\n%s", got)
	}
	if got := w.Counted(nil); !strings.Contains(got, "packets 4 ") {
		t.Errorf("the host saw others than the harmless ones: %s", got)
	}
}

// gainsNothing fails where anything answers that no sandbox may reach.
func gainsNothing(t *testing.T, ns *os.File) {
	t.Helper()
	want := nettest.Reachable(true, false)
	for addr, got := range nettest.ReachAll(t, ns, slices.Collect(maps.Keys(want)), 80) {
		if want[addr] == nettest.Refused && got != nettest.Refused && got != nettest.Silent {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

// What a sandbox says of addresses nobody believes, and what it does to its own
// interface harms itself alone.
func TestHostileNeighbour(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a00003")
	bad, _ := s.box("bad", Open)
	other, _ := s.box("other", Open)
	s.d.mu.Lock()
	l, o := s.d.links["bad"], s.d.links["other"]
	s.d.mu.Unlock()

	// "Who has" the other's and the gate's addresses: I have (RFC 826).
	for _, claimed := range []netip.Addr{o.addr4, resolver4(), netip.MustParseAddr("198.19.0.0")} {
		for op := byte(1); op <= 2; op++ {
			arp := append([]byte{0, 1, 8, 0, 6, 4, 0, op}, sandboxMAC()...)
			arp = append(append(append(arp, claimed.AsSlice()...), gateMAC()...), claimed.AsSlice()...)
			send(t, bad, append(ethernet(gateMAC(), unix.ETH_P_ARP), arp...), append(ethernet([]byte{255, 255, 255, 255, 255, 255}, unix.ETH_P_ARP), arp...))
		}
	}
	nettest.Run(t, bad, "ip addr add "+o.addr4.String()+"/32 dev eth0")
	nettest.Run(t, bad, "ip -6 addr add "+o.addr6.String()+"/128 dev eth0 nodad")
	checkReach(t, other, Open)
	gainsNothing(t, bad)

	// Routes of its own choice, without the gate as next hop.
	nettest.Run(t, bad, "ip route replace 192.168.77.0/24 dev eth0")
	nettest.Run(t, bad, "ip neigh replace "+nettest.LANV4+" lladdr "+gateMAC().String()+" dev eth0 nud permanent")
	nettest.Run(t, bad, "ip route replace "+o.addr4.String()+"/32 dev eth0 src "+l.addr4.String())
	nettest.Run(t, bad, "ip neigh replace "+o.addr4.String()+" lladdr "+sandboxMAC().String()+" dev eth0 nud permanent")
	gainsNothing(t, bad)

	nettest.Run(t, bad, "ip link set eth0 down")
	nettest.Run(t, bad, "ip link set eth0 address 02:00:00:00:00:99")
	nettest.Run(t, bad, "ip link set eth0 up")
	nettest.Run(t, bad, "ip link del eth0")
	checkReach(t, other, Open)
}

// A sandbox that opens connections without end has its share and no more, and
// takes nothing from others.
func TestTooManyConnections(t *testing.T) {
	nettest.New(t, nil)
	s := newSide(t, "a00013")
	bad, _ := s.box("bad", Open)
	other, _ := s.box("other", Open)
	s.d.mu.Lock()
	s.d.gate.table.most = 50
	err := s.d.installGate()
	s.d.mu.Unlock()
	must(t, err)
	opened := func(ns *os.File, n int) (ok int) {
		must(t, nettest.In(ns, func() error {
			for range n {
				c, err := net.DialTimeout("tcp", net.JoinHostPort(nettest.WebV4, "7"), time.Second)
				if err != nil {
					continue
				}
				t.Cleanup(func() { _ = c.Close() })
				ok++
			}
			return nil
		}))
		return ok
	}
	if n := opened(bad, 80); n < 45 || n > 55 {
		t.Errorf("it has %d connections, the most is 50", n)
	}
	if n := opened(other, 10); n != 10 {
		t.Errorf("another has %d of 10 connections", n)
	}
	if got := nettest.Reach(t, bad, nettest.WebV6, 80); got != "internet" {
		t.Errorf("its IPv6: %s", got)
	}
}
