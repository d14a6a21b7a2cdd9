package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What may have changed while nobody of ours changed it.
const (
	changedHostRules = 1 << iota
	changedGateRules
	changedAddresses
	changedNames
	gateEnded
)

// retryAfter is how long what could not be put back is left alone, with the
// door shut.
const retryAfter = time.Second

// notify notes a change; the driver's loop looks at it soon.
func (d *Driver) notify(what int) {
	d.changedMu.Lock()
	d.changed |= what
	d.changedMu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Driver) takeChanges() int {
	d.changedMu.Lock()
	defer d.changedMu.Unlock()
	what := d.changed
	d.changed = 0
	return what
}

// loop puts right what others have changed, until ctx ends.
func (d *Driver) loop(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	<-retry.C
	var left int
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-retry.C:
		}
		what := d.takeChanges() | left
		left = 0
		if what == 0 {
			continue
		}
		d.mu.Lock()
		err := d.mend(ctx, what)
		d.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			d.log.Error("the network's rules were changed and could not be put back; sandboxes have no network until they are", "error", err)
			left = what
			retry.Reset(retryAfter)
		}
	}
}

// mend puts right what has changed. Where it cannot, the door is shut.
func (d *Driver) mend(ctx context.Context, what int) (err error) {
	if d.gate == nil {
		return nil
	}
	defer func() {
		if err != nil && d.uplink != nil {
			err = errors.Join(err, d.uplink.tables.shut(d.nft.Conn))
		}
	}()
	if what&gateEnded != 0 {
		d.log.Error("the holder of the gate has ended, and every sandbox's network with it; making it anew")
		return d.rebuild(ctx)
	}
	if d.uplink != nil {
		if _, err := d.rt.LinkByName(d.uplink.name); errors.As(err, &netlink.LinkNotFoundError{}) {
			d.log.Warn("the uplink was deleted; making it anew")
			d.uplink = nil
			if err := d.join(ctx); err != nil {
				return err
			}
		}
	}
	if what&(changedAddresses|changedNames) != 0 {
		before := d.around.resolver
		if err := d.lookAround(); err != nil {
			return err
		}
		if err := d.gate.table.surround(d.gate.nft.Conn, d.around); err != nil {
			return fmt.Errorf("tell the gate the host's addresses: %w", err)
		}
		if d.around.resolver != before {
			what |= changedGateRules
		}
	}
	if what&changedGateRules != 0 {
		d.log.Warn("the rules of the gate are put in place again")
		if err := d.installGate(); err != nil {
			return err
		}
	}
	if what&changedHostRules != 0 && d.uplink != nil {
		d.log.Warn("the host's packet filter was changed; cove's rules are put in place again")
		if err := d.uplink.tables.install(d.nft.Conn); err != nil {
			return fmt.Errorf("put the host's rules in force: %w", err)
		}
		if err := d.admit(d.uplink.name); err != nil {
			d.log.Warn("could not let the uplink through another firewall's chain", "error", err)
		}
	}
	return nil
}

// subscribe opens a netlink socket for notices in this thread's network namespace.
func subscribe(protocol int, groups ...int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	var mask uint32
	for _, g := range groups {
		mask |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: mask}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("ask for notices: %w", err)
	}
	return os.NewFile(uintptr(fd), "notices"), nil
}

// read reads notices until the file is closed. look is given each message, and
// nil when some were lost.
func read(f *os.File, look func(m *syscall.NetlinkMessage)) {
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			look(nil)
			continue
		case err != nil:
			return
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			look(nil)
		}
		for i := range messages {
			look(&messages[i])
		}
	}
}

// watchRules notes what others than port change in the table name.
func (d *Driver) watchRules(f *os.File, port uint32, name string, what int) {
	read(f, func(m *syscall.NetlinkMessage) {
		if m == nil || m.Header.Pid != port && tableOf(m) == name {
			d.notify(what)
		}
	})
}

// tableOf is the table that a notice of the packet filter is about. The first
// attribute of all of them names it (NFTA_TABLE_NAME, NFTA_RULE_TABLE and so on),
// but for those of a whole generation.
func tableOf(m *syscall.NetlinkMessage) string {
	const (
		header   = 4      // struct nfgenmsg
		typeMask = 0x3fff // NLA_TYPE_MASK
	)
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN || len(m.Data) < header {
		return ""
	}
	for b := m.Data[header:]; len(b) >= 4; {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < 4 || size > len(b) {
			return ""
		}
		if kind&typeMask == unix.NFTA_TABLE_NAME {
			return unix.ByteSliceToString(b[4:size])
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return ""
}

// watchNames notes changes of the files that say where the host asks for names.
func (d *Driver) watchNames(f *os.File) {
	buf := make([]byte, 16<<10)
	for {
		if _, err := f.Read(buf); err != nil {
			return
		}
		addNameWatches(f, d.o.resolvers)
		d.notify(changedNames)
	}
}

// addNameWatches watches the files and the directories in which they may be
// replaced; a file that is a link is watched where it leads to.
func addNameWatches(f *os.File, files []string) {
	const mask = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_CREATE | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	watch := func(path string, mask uint32) {
		// What is not there is seen when it comes, in its directory.
		_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyAddWatch(int(fd), path, mask) })
	}
	for _, file := range files {
		watch(file, mask)
		watch(filepath.Dir(file), unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_DELETE)
		if real, err := filepath.EvalSymlinks(file); err == nil && real != file {
			watch(filepath.Dir(real), unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_DELETE)
		}
	}
}
