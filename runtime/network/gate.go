package network

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cove/runtime/store"
)

// gateFile is where the run directory says which process holds the gate.
const gateFile = "gate.json"

// holdTimeout is what the holder may take to begin.
const holdTimeout = 10 * time.Second

// holder is the process that a gate belongs to.
type holder struct {
	Boot      string `json:"boot"`
	Pid       int    `json:"pid"`
	StartTime uint64 `json:"starttime"`
	// Uplink is the number of the lease of the uplink's addresses, or -1.
	Uplink int `json:"uplink"`
}

// gate is the network namespace between the sandboxes and the host.
type gate struct {
	holder holder
	pidfd  *os.File // readable when the holder has ended
	ns     *os.File
	rt     *netlink.Handle
	nft    *nftConn
	table  *gateTable
	fresh  bool // made by this daemon: nothing is in it yet
}

// openGate takes over the gate of the daemon before, or makes one.
func openGate(ctx context.Context, o Options) (*gate, error) {
	was, err := findHolder(o)
	if err != nil {
		return nil, err
	}
	if was != nil {
		if g, err := takeGate(o, *was); err == nil {
			return g, nil
		}
	}
	h, keep, err := startHolder(ctx, o)
	if err != nil {
		return nil, err
	}
	defer keep.Close()
	g, err := takeGate(o, h)
	if err == nil {
		g.fresh = true
		err = inNS(g.ns, func() error { return g.prepare(o.Inst) })
	}
	if err == nil {
		err = g.record(o.RunDir)
	}
	if err == nil {
		_, err = keep.Write([]byte{1})
	}
	if err != nil {
		if g != nil {
			_ = g.close()
		}
		_ = unix.Kill(h.Pid, unix.SIGKILL)
		return nil, err
	}
	return g, nil
}

const maxGateFile = 4 << 10

// findHolder reads which process holds the gate of the daemon before; nil when
// there was none, or it has ended.
func findHolder(o Options) (*holder, error) {
	var h holder
	err := store.ReadJSON(filepath.Join(o.RunDir, gateFile), maxGateFile, &h)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, store.ErrCorrupt) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the gate: %w", err)
	}
	start, err := store.ProcStart(h.Pid)
	if err != nil || h.Boot != o.Boot || start != h.StartTime {
		return nil, nil
	}
	return &h, nil
}

// record writes down which process holds the gate.
func (g *gate) record(runDir string) error {
	data, err := json.Marshal(g.holder)
	if err != nil {
		return err
	}
	return store.Replace(runDir, gateFile, data, false)
}

// startHolder starts the process that a new gate belongs to. It stays when a
// byte is written to keep, which the caller closes: one whose daemon is killed
// before it has recorded it would be found by nobody.
func startHolder(ctx context.Context, o Options) (_ holder, keep *os.File, err error) {
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		return holder{}, nil, err
	}
	defer r.Close()
	wait, keep, err := os.Pipe()
	if err != nil {
		return holder{}, nil, errors.Join(err, w.Close())
	}
	defer func() {
		if err != nil {
			_ = keep.Close()
		}
	}()
	// Not the context's: it is to outlive us.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), o.Holder, "hold-network", o.Inst)
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout = []string{}, "/", wait, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Setsid: true}
	err = cmd.Start()
	_, _ = w.Close(), wait.Close()
	if err != nil {
		return holder{}, nil, fmt.Errorf("start the holder of the gate: %w", err)
	}
	go func() { _ = cmd.Wait() }() // ends with it, or with us
	defer context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })()
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || line != "held\n" {
		_ = cmd.Process.Kill()
		return holder{}, nil, fmt.Errorf("the holder of the gate says %q: %w", line, errors.Join(err, ctx.Err()))
	}
	start, err := store.ProcStart(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		return holder{}, nil, err
	}
	return holder{Boot: o.Boot, Pid: cmd.Process.Pid, StartTime: start, Uplink: -1}, keep, nil
}

// takeGate opens the gate that a process holds.
func takeGate(o Options, h holder) (g *gate, err error) {
	g = &gate{holder: h, table: newGateTable(o.Inst)}
	defer func() {
		if err != nil {
			_ = g.close()
			g = nil
		}
	}()
	fd, err := unix.PidfdOpen(h.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return g, err
	}
	g.pidfd = os.NewFile(uintptr(fd), "holder")
	if g.ns, err = os.Open("/proc/" + strconv.Itoa(h.Pid) + "/ns/net"); err != nil {
		return g, err
	}
	// Only now: the pid may have become another's in between.
	if start, err := store.ProcStart(h.Pid); err != nil || start != h.StartTime {
		return g, errors.Join(errors.New("the holder of the gate has ended"), err)
	}
	err = inNS(g.ns, func() error {
		if g.rt, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
			return err
		}
		g.nft, err = dialNFT()
		return err
	})
	return g, err
}

// prepare makes a router of a new network namespace, in which it is called.
func (g *gate) prepare(inst string) error {
	settings := [][2]string{
		{"ipv4/conf/all/accept_redirects", "0"}, {"ipv4/conf/default/accept_redirects", "0"},
		{"ipv4/conf/all/send_redirects", "0"}, {"ipv4/conf/default/send_redirects", "0"},
		{"ipv4/conf/all/accept_source_route", "0"}, {"ipv4/conf/default/accept_source_route", "0"},
		{"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"}, // the table does it, for both families
		// Of the addresses here none is any sandbox's business.
		{"ipv4/conf/all/arp_ignore", "8"},
		// Those who are refused are to know it at once.
		{"ipv4/icmp_ratelimit", "0"},
		{"ipv4/ip_forward", "1"},
	}
	if hasIPv6() {
		settings = append(settings, [][2]string{
			{"ipv6/conf/all/accept_redirects", "0"}, {"ipv6/conf/default/accept_redirects", "0"},
			{"ipv6/conf/all/accept_source_route", "0"}, {"ipv6/conf/default/accept_source_route", "0"},
			{"ipv6/icmp/ratelimit", "0"},
			{"ipv6/conf/all/forwarding", "1"},
		}...)
	}
	for _, s := range settings {
		if err := sysctl(s[0], s[1]); err != nil {
			return fmt.Errorf("make the gate a router: %w", err)
		}
	}
	if err := quiet6(); err != nil {
		return fmt.Errorf("make the gate a router: %w", err)
	}
	lo := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}
	if err := g.rt.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set up the gate's loopback: %w", err)
	}
	for _, a := range []netip.Addr{resolver4(), local6(inst, gateNet6, 1)} {
		addr := &netlink.Addr{IPNet: hostNet(a)}
		if a.Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := ignoreNoIPv6(a, g.rt.AddrAdd(lo, addr)); err != nil {
			return fmt.Errorf("give the gate %s: %w", a, err)
		}
	}
	return nil
}

// links lists the interfaces of sandboxes in the gate, with whose they are.
func (g *gate) links(inst string) ([]*link, error) {
	all, err := g.rt.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the links of the gate: %w", err)
	}
	var found []*link
	for _, l := range all {
		a := l.Attrs()
		if n, ok := linkNumber(inst, a.Name); ok && n > 0 {
			l := newLink(inst, a.Alias, n, Open)
			l.index = a.Index
			found = append(found, l)
		}
	}
	return found, nil
}

// delete removes an interface of the gate, and its other end with it. It takes
// tens of milliseconds: the kernel waits until nobody looks at it any more.
func (g *gate) delete(index int) error {
	err := g.rt.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// close lets go of the gate, which its holder keeps.
func (g *gate) close() error {
	if g.rt != nil {
		g.rt.Close()
	}
	var errs []error
	if g.nft != nil {
		errs = append(errs, g.nft.CloseLasting())
	}
	for _, f := range []*os.File{g.ns, g.pidfd} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// end ends the holder, and with it the gate and all that is in it.
func (g *gate) end(runDir string) error {
	if err := unix.PidfdSendSignal(int(g.pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the gate: %w", err)
	}
	if err := os.Remove(filepath.Join(runDir, gateFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// wrongMAC is where the gate sends what goes to the host: nobody's address.
func wrongMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 0xc0, 0x76, 0xe5, 0xff, 0xff} }

func hostMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 0xc0, 0x76, 0xe5, 0, 3} }
