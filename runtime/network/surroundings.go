package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func allOf6() *net.IPNet { return &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)} }

func maskOf(a netip.Addr, bits int) net.IPMask { return net.CIDRMask(bits, a.BitLen()) }

// look finds out the host's addresses and the networks it is attached to. The
// networks count as private for sandboxes, whatever their addresses are: the
// neighbours in an office, or at home by IPv6, are none of the internet.
func (d *Driver) look() (own, near []netip.Prefix, err error) {
	addrs, err := d.rt.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok {
			own = append(own, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
		}
	}
	routes, err := d.routes()
	if err != nil {
		return nil, nil, err
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok && len(r.Gw) == 0 && len(r.MultiPath) == 0 && bigEnough(p) {
			near = append(near, p.Masked())
		}
	}
	return own, near, nil
}

// routedPrefixes are all networks to which the host has a route of their own.
func (d *Driver) routedPrefixes() ([]netip.Prefix, error) {
	routes, err := d.routes()
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok && bigEnough(p) {
			list = append(list, p.Masked())
		}
	}
	return list, nil
}

// routes are the unicast routes of all of the host's tables that do not lead to
// its own addresses.
func (d *Driver) routes() ([]netlink.Route, error) {
	all, err := d.rt.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	kept := all[:0]
	for _, r := range all {
		if r.Dst != nil && r.Table != unix.RT_TABLE_LOCAL && r.Type == unix.RTN_UNICAST && r.LinkIndex != 1 {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

// bigEnough keeps out what stands for the internet: the default route, its two
// halves as tunnels have them, and the like.
func bigEnough(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() >= 8
	}
	return p.Bits() >= 16
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	if !ok {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	if a.Is4() && len(n.Mask) == net.IPv6len {
		ones -= 96
	}
	return netip.PrefixFrom(a, ones), ones >= 0
}
