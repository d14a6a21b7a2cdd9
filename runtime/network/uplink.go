package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cove/runtime/store"
)

// uplinkKind is the kind of lease of the addresses between a gate and the host.
const uplinkKind = "uplink"

// uplink is the veth between the gate and the host.
type uplink struct {
	name   string
	number int
	tables *hostTables
}

// uplinkKindOf is the kind of lease, without the numbers whose addresses the
// host uses otherwise.
func uplinkKindOf(taken []netip.Prefix) store.Kind {
	return store.Kind{Name: uplinkKind, Count: uplinkCount, Skip: func(n int) bool {
		a, b := uplink4(n)
		for _, p := range taken {
			if p.Contains(a) || p.Contains(b) {
				return true
			}
		}
		return false
	}}
}

// join makes the uplink between the host and the gate where there is none, puts
// the host's rules in force and makes the host forward.
func (d *Driver) join(ctx context.Context) error {
	g := d.gate
	name := linkName(d.o.Inst, 0)
	existing, err := d.rt.LinkByName(name)
	there := err == nil
	if err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) {
		return fmt.Errorf("look for the uplink: %w", err)
	}
	if there && g.holder.Uplink < 0 {
		// Of a gate that is gone, or of a daemon that was killed just here.
		if err := d.rt.LinkDel(existing); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove the old uplink: %w", err)
		}
		there = false
	}
	if g.holder.Uplink < 0 {
		if err := d.leaseUplink(ctx); err != nil {
			return err
		}
	}
	u := &uplink{name: name, number: g.holder.Uplink}
	_, gate4 := uplink4(u.number)
	u.tables = newHostTables(d.o.Inst, []netip.Addr{gate4, local6(d.o.Inst, uplinkNet6, 2)})
	_, links, err := d.hostLinks()
	if err != nil {
		return err
	}
	if !there {
		if err := d.makeUplink(u); err != nil {
			return err
		}
	}
	was, err := forward(d.o.LeaseDir, d.o.Boot, links)
	if err != nil {
		return err
	}
	u.tables.strangers4, u.tables.strangers6 = was.strangers(forward4), was.strangers(forward6)
	if err := u.tables.install(d.nft.Conn); err != nil {
		return fmt.Errorf("put the host's rules in force: %w", err)
	}
	if err := d.admit(u.name); err != nil {
		d.log.Warn("could not let the uplink through another firewall's chain", "error", err)
	}
	d.uplink = u
	return nil
}

// leaseUplink takes addresses for the uplink that nobody on this machine has.
func (d *Driver) leaseUplink(ctx context.Context) error {
	taken, err := d.routedPrefixes()
	if err != nil {
		return err
	}
	lease, err := d.leases.Acquire(ctx, uplinkKindOf(taken), uplinkKind)
	if err != nil {
		return err
	}
	h := &d.gate.holder
	err = d.leases.Own(uplinkKind, lease.N, h.Pid, h.StartTime)
	if err == nil {
		h.Uplink = lease.N
		err = d.gate.record(d.o.RunDir)
	}
	if err != nil {
		h.Uplink = -1
		return errors.Join(err, d.leases.Release(uplinkKind, lease.N))
	}
	return nil
}

// makeUplink makes the veth and gives both ends what they need. Without the
// door nothing enters the host by it.
func (d *Driver) makeUplink(u *uplink) (err error) {
	g := d.gate
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = u.name, hostMAC()
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNamespace = hostLink, gateMAC(), netlink.NsFd(g.ns.Fd())
	if err := d.rt.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the uplink: %w", err)
	}
	defer func() {
		if err != nil {
			_ = d.rt.LinkDel(veth)
		}
	}()
	here, err := d.rt.LinkByName(u.name)
	if err != nil {
		return err
	}
	there, err := g.rt.LinkByName(hostLink)
	if err != nil {
		return err
	}
	for _, s := range [][2]string{
		{"ipv4/conf/" + u.name + "/accept_redirects", "0"}, {"ipv4/conf/" + u.name + "/send_redirects", "0"},
		{"ipv6/conf/" + u.name + "/accept_ra", "0"}, {"ipv6/conf/" + u.name + "/accept_redirects", "0"},
		{"ipv6/conf/" + u.name + "/accept_dad", "0"}, {"ipv6/conf/" + u.name + "/addr_gen_mode", "1"},
	} {
		if err := write(s[0], s[1]); err != nil {
			return err
		}
	}
	host4, gate4 := uplink4(u.number)
	host6, gate6 := local6(d.o.Inst, uplinkNet6, 1), local6(d.o.Inst, uplinkNet6, 2)
	for _, v := range []struct {
		host, gate netip.Addr
		bits       int
	}{{host4, gate4, 31}, {host6, gate6, 126}} {
		v6 := v.host.Is6()
		if v6 && !hostHasIPv6(u.name) {
			// What a sandbox sends must be refused, and not wait for ever.
			route := &netlink.Route{Dst: allOf6(), Type: unix.RTN_UNREACHABLE}
			if err := ignoreNoIPv6(v.gate, g.rt.RouteReplace(route)); err != nil {
				return fmt.Errorf("close IPv6: %w", err)
			}
			continue
		}
		address := func(a netip.Addr) *netlink.Addr {
			n := &netlink.Addr{IPNet: hostNet(a)}
			n.Mask = maskOf(a, v.bits)
			if v6 {
				n.Flags = unix.IFA_F_NODAD
			}
			return n
		}
		err := errors.Join(
			d.rt.AddrAdd(here, address(v.host)), g.rt.AddrAdd(there, address(v.gate)),
			d.rt.NeighSet(neighbour(here.Attrs().Index, v.gate, gateMAC())),
			g.rt.NeighSet(neighbour(there.Attrs().Index, v.host, wrongMAC())),
		)
		if err != nil {
			return fmt.Errorf("give the uplink its addresses: %w", err)
		}
	}
	if err := errors.Join(d.rt.LinkSetUp(here), g.rt.LinkSetUp(there)); err != nil {
		return fmt.Errorf("set up the uplink: %w", err)
	}
	routes := []netip.Addr{host4}
	if hostHasIPv6(u.name) {
		routes = append(routes, host6)
	}
	for _, a := range routes {
		if err := g.rt.RouteReplace(&netlink.Route{LinkIndex: there.Attrs().Index, Gw: a.AsSlice()}); err != nil {
			return fmt.Errorf("route the gate to the host: %w", err)
		}
	}
	return nil
}

// leaveHost takes the uplink, the rules and the forwarding away again.
func (d *Driver) leaveHost() error {
	tables := newHostTables(d.o.Inst, nil)
	var errs []error
	errs = append(errs, tables.remove(d.nft.Conn))
	errs = append(errs, d.unadmit())
	if l, err := d.rt.LinkByName(linkName(d.o.Inst, 0)); err == nil {
		if err := d.rt.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove the uplink: %w", err))
		}
	}
	errs = append(errs, unforward(d.o.LeaseDir, d.hostLinks))
	errs = append(errs, d.releaseUplinks())
	d.uplink = nil
	return errors.Join(errs...)
}

// releaseUplinks gives back the addresses of this instance's uplinks.
func (d *Driver) releaseUplinks() error {
	own, err := d.leases.ListOwn(uplinkKind)
	for _, l := range own {
		err = errors.Join(err, d.leases.Release(uplinkKind, l.N))
	}
	return err
}

// hostLinks tells whether other instances have an uplink here, and names the
// interfaces that are not cove's.
func (d *Driver) hostLinks() (others bool, names []string, err error) {
	links, err := d.rt.LinkList()
	if err != nil {
		return false, nil, fmt.Errorf("list the host's interfaces: %w", err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		switch {
		case isUplink(name):
			others = others || name != linkName(d.o.Inst, 0)
		case name != "lo":
			names = append(names, name)
		}
	}
	return others, names, nil
}

// isUplink tells whether an interface is the uplink of any instance.
func isUplink(name string) bool {
	inst, ok := strings.CutSuffix(strings.TrimPrefix(name, "cv"), "-0")
	return ok && strings.HasPrefix(name, "cv") && len(inst) == 6 && strings.Trim(inst, "0123456789abcdef") == ""
}

func hostHasIPv6(name string) bool {
	off, err := os.ReadFile(sysNet + "ipv6/conf/" + name + "/disable_ipv6")
	return err == nil && strings.TrimSpace(string(off)) == "0"
}
