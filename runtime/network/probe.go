package network

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Check is one thing that this machine was tried for.
type Check struct {
	Name   string
	OK     bool
	Detail string
}

// Probe tries what an open network needs: the kernel's packet filter, by putting
// all rules into a namespace of their own; that nobody else drops what the host
// forwards; and a resolver.
func (d *Driver) Probe() []Check {
	checks := []Check{{Name: "packet filter", OK: true, Detail: "nftables, with all that the rules need"}}
	if err := tryRules(d.o.Inst); err != nil {
		checks[0].OK, checks[0].Detail = false, err.Error()
		return checks
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nft == nil {
		var err error
		if d.nft, err = dialNFT(); err != nil {
			return append(checks, Check{Name: "forwarding", Detail: err.Error()})
		}
	}
	return append(checks, d.probeForwarding(), d.probeNames())
}

func (d *Driver) probeForwarding() Check {
	c := Check{Name: "forwarding", OK: true, Detail: "no other firewall drops what sandboxes send"}
	blocked, err := d.blockers()
	switch {
	case err != nil:
		c.OK, c.Detail = false, err.Error()
	case len(blocked) > 0:
		c.OK = false
		var fixes []string
		for _, b := range blocked {
			for _, side := range []string{"iifname", "oifname"} {
				fixes = append(fixes, fmt.Sprintf(`nft insert rule %s %s "cv*" accept`, b.place(), side))
			}
		}
		c.Detail = fmt.Sprintf("%s drops what this machine forwards, and with it all that sandboxes send: %s", blocked[0], strings.Join(fixes, "; "))
	default:
		if notes := d.unreadable(); len(notes) > 0 {
			c.Detail = strings.Join(notes, "; ")
		}
	}
	return c
}

// unreadable names firewalls of whose rules a policy tells nothing.
func (d *Driver) unreadable() []string {
	var notes []string
	if tables, err := d.nft.ListTables(); err == nil && slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == "firewalld" }) {
		notes = append(notes, fmt.Sprintf("firewalld runs; where sandboxes reach nothing: firewall-cmd --permanent --zone=trusted --add-interface=%s && firewall-cmd --reload", linkName(d.o.Inst, 0)))
	}
	if names, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && strings.Contains(string(names), "filter") {
		notes = append(notes, "iptables-legacy has rules, which are not looked at; where sandboxes reach nothing: iptables-legacy -I FORWARD -i cv+ -j ACCEPT && iptables-legacy -I FORWARD -o cv+ -j ACCEPT")
	}
	return notes
}

func (d *Driver) probeNames() Check {
	c := Check{Name: "names", OK: true}
	own, _, err := d.look()
	if err != nil {
		c.OK, c.Detail = false, err.Error()
		return c
	}
	switch up := findUpstream(own, d.o.resolvers...); {
	case up.translate.IsValid():
		c.Detail = "asked of " + up.translate.String()
	case len(up.forward) > 0:
		c.Detail = fmt.Sprintf("asked of %s, through the daemon", up.forward[0])
	default:
		c.Detail = "nobody to ask: no resolver in " + strings.Join(d.o.resolvers, " or ")
	}
	return c
}

// tryRules puts the rules of the gate and of the host into a network namespace
// that ends with it.
func tryRules(inst string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, and the namespace, end with the goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("make a network namespace: %w", err)
			}
			rt, err := netlink.NewHandle(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer rt.Close()
			attrs := netlink.NewLinkAttrs()
			attrs.Name = linkName(inst, 0)
			veth := netlink.NewVeth(attrs)
			veth.PeerName = hostLink
			if err := rt.LinkAdd(veth); err != nil {
				return fmt.Errorf("make a veth: %w", err)
			}
			c, err := dialNFT()
			if err != nil {
				return err
			}
			defer func() { _ = c.CloseLasting() }()
			if err := newHostTables(inst, nil).install(c.Conn); err != nil {
				return fmt.Errorf("the kernel refuses the host's rules (nf_tables with the families inet and netdev, and NAT): %w", err)
			}
			t := newGateTable(inst)
			t.table.Name += "_gate"
			if err := t.install(c.Conn, surroundings{resolver: resolver4()}, []*link{newLink(inst, "probe", 1, Open)}); err != nil {
				return fmt.Errorf("the kernel refuses the gate's rules: %w", err)
			}
			return nil
		}()
	}()
	return <-done
}
