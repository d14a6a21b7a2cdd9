package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// watchHolder waits until the gate's holder has ended, or the file is closed.
func (d *Driver) watchHolder(pidfd *os.File) {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return
	}
	err = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return n > 0 && err == nil
	})
	if err == nil {
		d.notify(gateEnded)
	}
}

func (d *Driver) addressChanged(*syscall.NetlinkMessage) { d.notify(changedAddresses) }

// rebuild makes the gate anew when its holder has ended, with a link for each
// sandbox that had one.
func (d *Driver) rebuild(ctx context.Context) error {
	before := d.links
	d.letGo()
	d.links, d.numbers, d.uplink = map[string]*connected{}, map[int]bool{0: true}, nil
	if err := d.ready(ctx); err != nil {
		d.links = before // for the next try
		return err
	}
	var errs []error
	for id, c := range before {
		if err := d.reconnect(id, c.ns, c.policy); err != nil {
			d.log.Error("a running sandbox has lost its network", "sandbox", id, "error", err)
		}
		errs = append(errs, c.ns.Close())
	}
	return errors.Join(errs...)
}

// reconnect makes a link for a sandbox that had one, to a gate that is gone: its
// end of that may still be there while the kernel clears away.
func (d *Driver) reconnect(id string, ns *os.File, p Policy) error {
	err := inNS(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		old, err := h.LinkByName(insideLink)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := h.LinkDel(old); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove the old link: %w", err)
	}
	return d.connect(id, ns, p)
}

// letGo closes the gate and what watches it.
func (d *Driver) letGo() {
	for _, f := range d.watched {
		_ = f.Close()
	}
	d.watched = nil
	if d.proxy != nil {
		d.proxy.close()
		d.proxy = nil
	}
	d.names = upstream{}
	if d.gate != nil {
		_ = d.gate.close()
		d.gate = nil
	}
}

// dismantle takes away all that this instance has of the network.
func (d *Driver) dismantle() error {
	err := d.leaveHost()
	end := d.gate.end(d.o.RunDir)
	d.letGo()
	return errors.Join(err, end)
}

// Close ends the driver. Sandboxes that run keep their network; where none has
// one, nothing of it is left.
func (d *Driver) Close() error {
	d.cancel()
	err := d.pool.close()
	d.dying.Wait()
	d.mu.Lock()
	switch {
	case d.gate == nil:
	case len(d.links) == 0:
		err = errors.Join(err, d.dismantle())
	default:
		d.letGo()
	}
	for _, c := range d.links {
		_ = c.ns.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
	d.rt.Close()
	if d.nft != nil {
		err = errors.Join(err, d.nft.CloseLasting())
	}
	return err
}

// Drain waits until what is deleted in the background is gone.
func (d *Driver) Drain(ctx context.Context) error {
	gone := make(chan struct{})
	d.wg.Go(func() { d.dying.Wait(); close(gone) })
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Strays names what is there of this instance's network and of no sandbox that
// known has: links, a gate that nobody holds the record of, leases of addresses.
func (d *Driver) Strays(known func(sandbox string) bool) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var strays []string
	if d.gate != nil {
		links, err := d.gate.links(d.o.Inst)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			if c := d.links[l.sandbox]; c == nil || c.index != l.index || !known(l.sandbox) {
				strays = append(strays, fmt.Sprintf("link %s of sandbox %q", l.name, l.sandbox))
			}
		}
		for id := range d.links {
			if !known(id) {
				strays = append(strays, "rules of sandbox "+id)
			}
		}
	}
	own, err := d.leases.ListOwn(uplinkKind)
	if err != nil {
		return nil, err
	}
	for _, l := range own {
		if d.uplink == nil || d.uplink.number != l.N {
			strays = append(strays, fmt.Sprintf("lease of uplink %d", l.N))
		}
	}
	if _, err := d.rt.LinkByName(linkName(d.o.Inst, 0)); err == nil && d.uplink == nil {
		strays = append(strays, "link "+linkName(d.o.Inst, 0))
	}
	if was, err := findHolder(d.o); err == nil && was != nil && d.gate == nil {
		strays = append(strays, fmt.Sprintf("gate held by pid %d", was.Pid))
	}
	return strays, nil
}

// Pooled tells whether a range of uids waits, with namespaces, for a sandbox.
func (d *Driver) Pooled(base uint32) bool { return d.pool.has(base) }

func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
