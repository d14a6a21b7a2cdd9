package network

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cove/runtime/store"
)

// UIDLeases hands out ranges of 65536 uids.
type UIDLeases interface {
	Acquire(ctx context.Context, sandbox string) (base uint32, err error)
	// Assign makes a lease of this instance's another sandbox's.
	Assign(base uint32, sandbox string) error
	Release(base uint32) error
}

// Options are what a [Driver] is made of.
type Options struct {
	// Inst is the instance's six hex digits, Boot the machine's boot id.
	Inst, Boot string
	// StateDir is the instance's, for its leases; in RunDir it is written
	// down which process holds the gate.
	StateDir, RunDir string
	// LeaseDir is where all instances of the machine keep their leases.
	LeaseDir string
	// Holder is the path of cove-init.
	Holder string
	UIDs   UIDLeases
	// Log gets what no caller is told. Nil discards it.
	Log *slog.Logger

	resolvers []string // tests name their own files
}

// Driver is an instance's part of the machine's network. All its methods may
// be called at any time by any goroutine until Close.
type Driver struct {
	o      Options
	log    *slog.Logger
	leases *store.Leases
	pool   *pool
	rt     *netlink.Handle // of the host's network namespace
	nft    *nftConn        // the same
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup
	wake   chan struct{}

	changedMu sync.Mutex
	changed   int

	mu      sync.Mutex // guards what follows, and orders all changes
	gate    *gate      // nil until the first sandbox is connected
	uplink  *uplink
	around  surroundings
	names   upstream
	proxy   *forwarder
	links   map[string]*connected // by sandbox
	numbers map[int]bool          // those in use
	last    int
	dying   sync.WaitGroup // links that are being deleted
	watched []*os.File     // notices, closed with the gate
	looping bool

	counters counters
}

// connected is the link of a sandbox and its other end's network namespace.
type connected struct {
	*link
	ns *os.File
}

// New readies an instance's network. Nothing of the host is changed before the
// first sandbox is connected.
func New(ctx context.Context, o Options) (*Driver, error) {
	if id, err := hex.DecodeString(o.Inst); err != nil || len(id) != 3 {
		return nil, fmt.Errorf("open the network: bad instance %q", o.Inst)
	}
	if o.resolvers == nil {
		o.resolvers = []string{resolvConf, resolvedServer}
	}
	d := &Driver{
		o: o, log: o.Log, wake: make(chan struct{}, 1), links: map[string]*connected{}, numbers: map[int]bool{0: true},
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if d.leases, err = store.OpenLeases(store.LeaseOptions{Dir: o.LeaseDir, Inst: o.Inst, StateDir: o.StateDir, Boot: o.Boot}); err != nil {
		return nil, fmt.Errorf("open the network: %w", err)
	}
	if d.rt, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open the network: %w", err)
	}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.pool = newPool(o.UIDs, d.log)
	return d, nil
}

// Running is one sandbox that runs when a daemon starts.
type Running struct {
	Policy Policy
	// Pid is its first process.
	Pid int
}

// Adopt takes over what the daemon before left: the gate with its links and
// rules, for the sandboxes that run; what belongs to none of them is given
// back. A link that should be there and is not is made again. It must be called
// once, before the first Take.
func (d *Driver) Adopt(ctx context.Context, running map[string]Running) error {
	d.pool.start(d.ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := false
	for _, r := range running {
		wanted = wanted || r.Policy != Blocked
	}
	was, err := findHolder(d.o)
	if err != nil {
		return err
	}
	if !wanted {
		own, err := d.leases.ListOwn(uplinkKind)
		if err != nil {
			return err
		}
		if was == nil && len(own) == 0 {
			return nil
		}
		// Nobody needs what is left: the daemon before was killed, and with it
		// perhaps the gate. An uplink has its lease before it is there.
		if err := d.openGate(ctx); err != nil {
			return err
		}
		return d.dismantle()
	}
	if err := d.openGate(ctx); err != nil {
		return err
	}
	found, err := d.gate.links(d.o.Inst)
	if err != nil {
		return err
	}
	var orphans []*link
	for _, l := range found {
		r, ok := running[l.sandbox]
		if !ok || r.Policy == Blocked || d.links[l.sandbox] != nil {
			d.numbers[l.number] = true
			orphans = append(orphans, l)
			continue
		}
		d.numbers[l.number] = true
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", r.Pid))
		if err != nil {
			d.log.Error("a sandbox that ran is gone", "sandbox", l.sandbox, "error", err)
			orphans = append(orphans, l)
			continue
		}
		l.policy = r.Policy
		d.links[l.sandbox] = &connected{l, ns}
	}
	// With the rules of those only, in place of the ones before.
	if err := d.installGate(); err != nil {
		return err
	}
	for _, l := range orphans {
		d.bury(l)
	}
	if err := d.join(ctx); err != nil {
		return err
	}
	for id, r := range running {
		if r.Policy == Blocked || d.links[id] != nil {
			continue
		}
		if err := d.restore(id, r); err != nil {
			d.log.Error("a running sandbox has lost its network", "sandbox", id, "error", err)
		}
	}
	return nil
}

func (d *Driver) restore(id string, r Running) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", r.Pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	return d.reconnect(id, ns, r.Policy)
}

// openGate takes over or makes the gate, and begins to watch it and the host.
func (d *Driver) openGate(ctx context.Context) (err error) {
	if d.nft == nil {
		if d.nft, err = dialNFT(); err != nil {
			return err
		}
	}
	if d.gate, err = openGate(ctx, d.o); err != nil {
		d.gate = nil
		return err
	}
	if d.gate.fresh {
		// Of a gate that is gone.
		if err := d.releaseUplinks(); err != nil {
			return err
		}
	}
	if err := d.lookAround(); err != nil {
		return err
	}
	return d.watch()
}

// installGate puts the gate's whole table in force.
func (d *Driver) installGate() error {
	links := make([]*link, 0, len(d.links))
	for _, c := range d.links {
		links = append(links, c.link)
	}
	if err := d.gate.table.install(d.gate.nft.Conn, d.around, links); err != nil {
		return fmt.Errorf("put the gate's rules in force: %w", err)
	}
	return nil
}

// lookAround finds out what the rules must know of the host, and has names
// forwarded where the kernel cannot translate.
func (d *Driver) lookAround() error {
	own, near, err := d.look()
	if err != nil {
		return err
	}
	names := findUpstream(own, d.o.resolvers...)
	d.around = surroundings{own: own, near: near, resolver: names.translate}
	if slices.Equal(names.forward, d.names.forward) && (d.proxy != nil) == (len(names.forward) > 0) {
		d.names = names
		return nil
	}
	d.names = names
	if d.proxy != nil {
		d.proxy.close()
		d.proxy = nil
	}
	if len(names.forward) == 0 {
		return nil
	}
	if d.proxy, err = newForwarder(d.gate.ns, names.forward, d.log); err != nil {
		return fmt.Errorf("forward names to the host's own resolver: %w", err)
	}
	return nil
}

// watch begins to watch the host's and the gate's rules, the host's addresses,
// its resolver and the gate's holder. All of it ends with the gate.
func (d *Driver) watch() error {
	var gateRules *os.File
	err := inNS(d.gate.ns, func() (err error) {
		gateRules, err = subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
		return err
	})
	if err != nil {
		return err
	}
	d.watched = append(d.watched, gateRules)
	hostRules, err := subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return err
	}
	d.watched = append(d.watched, hostRules)
	addresses, err := subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return err
	}
	d.watched = append(d.watched, addresses)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the host's resolver: %w", err)
	}
	names := os.NewFile(uintptr(fd), "inotify")
	d.watched = append(d.watched, names)
	addNameWatches(names, d.o.resolvers)
	// A copy: the gate's own may be needed when this one is closed.
	holder, err := duplicate(d.gate.pidfd)
	if err != nil {
		return err
	}
	d.watched = append(d.watched, holder)

	table, gatePort, hostPort := tableName(d.o.Inst), d.gate.nft.port, d.nft.port
	for _, f := range []func(){
		func() { d.watchRules(gateRules, gatePort, table, changedGateRules) },
		func() { d.watchRules(hostRules, hostPort, table, changedHostRules) },
		func() { read(addresses, d.addressChanged) },
		func() { d.watchNames(names) },
		func() { d.watchHolder(holder) },
	} {
		d.wg.Go(f)
	}
	if !d.looping {
		d.looping = true
		d.wg.Go(func() { d.loop(d.ctx) })
	}
	return nil
}
