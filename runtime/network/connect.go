package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Connect puts a policy in force for a sandbox, whose network namespace is ns:
// before its first instruction, or while it runs. It has a link afterwards
// unless the policy is [Blocked]. What it holds open that the policy does not
// allow ends.
func (d *Driver) Connect(ctx context.Context, sandbox string, ns *os.File, p Policy) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.links[sandbox]
	switch {
	case p == Blocked && c == nil:
		return nil
	case p == Blocked:
		return d.disconnect(c)
	case c != nil && c.policy == p:
		return nil
	case c != nil:
		return d.change(c, p)
	}
	if err := d.ready(ctx); err != nil {
		return err
	}
	return d.connect(sandbox, ns, p)
}

// ready opens the gate and joins it to the host.
func (d *Driver) ready(ctx context.Context) error {
	if d.gate == nil {
		err := d.openGate(ctx)
		if err == nil {
			err = d.installGate()
		}
		if err != nil {
			return errors.Join(err, d.abandonGate())
		}
	}
	if d.uplink == nil {
		return d.join(ctx)
	}
	return nil
}

// abandonGate ends a gate that could not be made ready: without its rules
// nothing may go through it.
func (d *Driver) abandonGate() error {
	if d.gate == nil {
		return nil
	}
	err := d.gate.end(d.o.RunDir)
	d.letGo()
	return err
}

// connect makes a link, with its rules in force before it is up.
func (d *Driver) connect(sandbox string, ns *os.File, p Policy) (err error) {
	number, err := d.number()
	if err != nil {
		return err
	}
	l := newLink(d.o.Inst, sandbox, number, p)
	own, err := duplicate(ns)
	if err != nil {
		return err
	}
	c := &connected{l, own}
	d.numbers[number] = true
	defer func() {
		if err == nil {
			d.links[sandbox] = c
			return
		}
		_ = own.Close()
		if l.index != 0 {
			d.bury(l)
		} else {
			delete(d.numbers, number)
		}
	}()
	g := d.gate
	if err := l.connect(g.rt, ns); err != nil {
		return err
	}
	if err := g.table.add(g.nft.Conn, l); err != nil {
		return err
	}
	if err := g.nft.Flush(); err != nil {
		return fmt.Errorf("put the rules of a sandbox in force: %w", err)
	}
	if err := l.up(g.rt); err != nil {
		return err
	}
	if err := inNS(ns, l.upInside); err != nil {
		return fmt.Errorf("set up the sandbox's end of %s: %w", l.name, err)
	}
	return nil
}

// change gives a link another policy. Each packet is judged by it, and what was
// open is forgotten, so that answers do not come either.
func (d *Driver) change(c *connected, p Policy) error {
	g := d.gate
	if err := g.table.remove(g.nft.Conn, c.link); err != nil {
		return err
	}
	changed := *c.link
	changed.policy = p
	if err := g.table.add(g.nft.Conn, &changed); err != nil {
		return err
	}
	if err := g.nft.Flush(); err != nil {
		return fmt.Errorf("put the rules of a sandbox in force: %w", err)
	}
	tighter := p < c.policy
	c.policy = p
	if tighter {
		return d.forget(c.link)
	}
	return nil
}

// forget ends what a sandbox has open.
func (d *Driver) forget(l *link) error {
	for _, v := range []struct {
		family netlink.InetFamily
		addr   netip.Addr
	}{{unix.AF_INET, l.addr4}, {unix.AF_INET6, l.addr6}} {
		filter := &netlink.ConntrackFilter{}
		if err := filter.AddIP(netlink.ConntrackOrigSrcIP, v.addr.AsSlice()); err != nil {
			return err
		}
		if _, err := d.gate.rt.ConntrackDeleteFilters(netlink.ConntrackTable, v.family, filter); err != nil {
			return fmt.Errorf("end what the sandbox has open: %w", err)
		}
	}
	return nil
}

// Disconnect takes a sandbox's link away; one that has none is no error. From
// its return on nothing passes; the link itself goes in the background.
func (d *Driver) Disconnect(sandbox string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.links[sandbox]; c != nil {
		return d.disconnect(c)
	}
	return nil
}

func (d *Driver) disconnect(c *connected) error {
	g := d.gate
	err := g.table.remove(g.nft.Conn, c.link)
	if err == nil {
		err = g.nft.Flush()
	}
	delete(d.links, c.sandbox)
	if err != nil {
		// The whole table then, without it.
		err = d.installGate()
	}
	err = errors.Join(err, c.ns.Close())
	d.bury(c.link)
	return err
}

// bury deletes a link in the background.
func (d *Driver) bury(l *link) {
	g := d.gate
	d.dying.Add(1)
	d.wg.Go(func() {
		defer d.dying.Done()
		if err := g.delete(l.index); err != nil {
			d.log.Warn("could not delete a link", "link", l.name, "error", err)
			return // its number stays taken
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.numbers, l.number)
	})
}

// number finds a number that no link has, the one after the last: what is
// still under way for an old link must not come to a new one.
func (d *Driver) number() (int, error) {
	for range maxNumber {
		d.last = d.last%maxNumber + 1
		if !d.numbers[d.last] {
			return d.last, nil
		}
	}
	return 0, errors.New("all addresses for sandboxes are in use")
}
