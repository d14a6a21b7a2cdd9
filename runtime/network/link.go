package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cove/config"
)

// Policy is what a sandbox reaches.
type Policy int

const (
	// Blocked is nothing; it has no link.
	Blocked Policy = iota
	// Open is the internet and names, but no private network.
	Open
	// LAN is private networks too, but never this machine, other sandboxes or
	// the metadata of a cloud.
	LAN
)

// PolicyOf is the policy that a sandbox's description asks for.
func PolicyOf(n config.Network) Policy {
	switch {
	case n.BlockAll:
		return Blocked
	case n.LAN:
		return LAN
	}
	return Open
}

// link is the veth of one sandbox: this end is in the gate.
type link struct {
	sandbox      string
	number       int
	name         string
	index        int // 0: not made yet
	policy       Policy
	addr4, addr6 netip.Addr
}

func newLink(inst, sandbox string, number int, policy Policy) *link {
	return &link{
		sandbox: sandbox, number: number, name: linkName(inst, number), policy: policy,
		addr4: sandbox4(number), addr6: local6(inst, sandboxNet6, number),
	}
}

func linkName(inst string, number int) string { return fmt.Sprintf("cv%s-%d", inst, number) }

// linkNumber undoes linkName; number 0 is the uplink's.
func linkNumber(inst, name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "cv"+inst+"-")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0 && n <= maxNumber && linkName(inst, n) == name
}

// insideLink is the interface that a sandbox sees.
const insideLink = "eth0"

// Hardware addresses are the same on all links: each has two ends and nobody
// asks for them, since both sides are told for good.
func gateMAC() net.HardwareAddr    { return net.HardwareAddr{0x02, 0xc0, 0x76, 0xe5, 0, 1} }
func sandboxMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 0xc0, 0x76, 0xe5, 0, 2} }

// connect makes the link between the gate and the network namespace ns, down.
func (l *link) connect(gate *netlink.Handle, ns *os.File) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.NumTxQueues, attrs.NumRxQueues = l.name, gateMAC(), 1, 1
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNumTxQueues, veth.PeerNumRxQueues = insideLink, sandboxMAC(), 1, 1
	veth.PeerNamespace = netlink.NsFd(ns.Fd())
	if err := gate.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the link %s: %w", l.name, err)
	}
	made, err := gate.LinkByName(l.name)
	if err != nil {
		return fmt.Errorf("find the link %s: %w", l.name, err)
	}
	l.index = made.Attrs().Index
	// Whose it is, for the daemon after a killed one.
	if err := gate.LinkSetAlias(made, l.sandbox); err != nil {
		return fmt.Errorf("name the owner of the link %s: %w", l.name, err)
	}
	return nil
}

// up sets up this end: from here on packets flow, as far as the rules let them.
func (l *link) up(gate *netlink.Handle) error {
	dev := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: l.index}}
	if err := gate.LinkSetUp(dev); err != nil {
		return fmt.Errorf("set up the link %s: %w", l.name, err)
	}
	for _, a := range []netip.Addr{l.addr4, l.addr6} {
		route := &netlink.Route{LinkIndex: l.index, Scope: netlink.SCOPE_LINK, Dst: hostNet(a)}
		if a.Is4() {
			route.Src = resolver4().AsSlice()
		}
		err := errors.Join(
			gate.RouteReplace(route),
			gate.NeighSet(neighbour(l.index, a, sandboxMAC())),
		)
		if err = ignoreNoIPv6(a, err); err != nil {
			return fmt.Errorf("route %s to the link %s: %w", a, l.name, err)
		}
	}
	return nil
}

// upInside gives the sandbox's end its addresses and routes. It is called on a
// thread in the sandbox's network namespace.
func (l *link) upInside() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	dev, err := h.LinkByName(insideLink)
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(dev); err != nil {
		return err
	}
	index := dev.Attrs().Index
	for _, v := range []struct{ addr, gateway netip.Addr }{{l.addr4, resolver4()}, {l.addr6, gateway6()}} {
		addr := &netlink.Addr{IPNet: hostNet(v.addr)}
		if v.addr.Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		err := errors.Join(
			h.AddrAdd(dev, addr),
			h.NeighSet(neighbour(index, v.gateway, gateMAC())),
			h.RouteAdd(&netlink.Route{LinkIndex: index, Gw: v.gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}),
		)
		if err = ignoreNoIPv6(v.addr, err); err != nil {
			return fmt.Errorf("give %s to the sandbox: %w", v.addr, err)
		}
	}
	return nil
}

// prepareInside readies a new network namespace of a sandbox, in which it is
// called: the loopback is up, and links send nothing by themselves.
func prepareInside() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	// Index 1 is the loopback in every network namespace.
	if err := h.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
		return fmt.Errorf("set up the loopback: %w", err)
	}
	return quiet6()
}

// quiet6 keeps links made from now on in this thread's network namespace from
// giving themselves IPv6 addresses and from asking for routers.
func quiet6() error {
	if !hasIPv6() {
		return nil
	}
	for _, s := range [][2]string{
		{"accept_ra", "0"}, {"accept_dad", "0"}, {"autoconf", "0"}, {"addr_gen_mode", "1"}, {"router_solicitations", "0"},
		// The addresses of a link are to survive that it is set down.
		{"keep_addr_on_down", "1"},
	} {
		if err := sysctl("ipv6/conf/default/"+s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6/conf/default")
	return err == nil
}

// ignoreNoIPv6 takes a kernel without IPv6 for what it is.
func ignoreNoIPv6(a netip.Addr, err error) error {
	if a.Is6() && !hasIPv6() {
		return nil
	}
	return err
}

// hostNet is the network of one address.
func hostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// neighbour says for good which hardware address an address has.
func neighbour(index int, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	n := &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac, Family: unix.AF_INET}
	if a.Is6() {
		n.Family = unix.AF_INET6
	}
	return n
}
