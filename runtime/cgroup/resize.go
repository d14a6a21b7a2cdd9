package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
)

// The limits of a group that is in use are written here and not by the OCI
// runtime: its update looks at the memory once and then writes, and where the
// group grew in between the kernel kills. The runtime's own record of the
// container keeps the limits of the start. Nothing reads them again but its
// update command, which cove never calls; a start makes a new record.

// InUseError is a limit that is below what is in use and cannot be given back. It
// is an [ErrInUse].
type InUseError struct {
	Quantity Quantity
	// Used is what is in use and Limit what was asked for; Least is the lowest
	// limit that there is room for now. In bytes, or in processes.
	Used, Limit, Least int64
}

func (e *InUseError) Error() string {
	if e.Quantity == Pids {
		return fmt.Sprintf("%d processes and threads are in use: %d cannot be the limit", e.Used, e.Limit)
	}
	return fmt.Sprintf("%d bytes of %s are in use: %d cannot be the limit", e.Used, e.Quantity, e.Limit)
}

// Is makes it an [ErrInUse].
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// CheckChange says which limit that want has and was has not this host does not
// enforce, with [ErrUnavailable]; nil where it enforces all.
func (t *Tree) CheckChange(was, want config.Resources) error {
	for _, l := range []struct {
		changed         bool
		key, controller string
	}{
		{want.CPU > 0 && want.CPU != was.CPU, "cpu", "cpu"},
		{want.Memory > 0 && want.Memory != was.Memory, "memory", "memory"},
		{want.Swap > 0 && want.Swap != was.Swap, "swap", "memory"},
		{want.Pids > 0 && want.Pids != was.Pids, "pids", "pids"},
	} {
		switch {
		case l.changed && !t.Has(l.controller):
			return fmt.Errorf("a limit of %s is %w: it gives cove no %s controller", l.key, ErrUnavailable, l.controller)
		case l.changed && l.key == "swap" && !t.limitsSwap():
			return fmt.Errorf("swap is %w: this kernel does not count it for groups", ErrUnavailable)
		}
	}
	return nil
}

// ResizePids limits the processes and threads of a sandbox that runs, 0 for no
// limit. The kernel would take a limit below what there is and then refuse every
// fork; here that is an *[InUseError], and all is as it was. Where the host has no
// such controller there is nothing to change.
func (t *Tree) ResizePids(id string, n int64) error {
	dir, _, err := t.group(id, "pids")
	if errors.Is(err, ErrUnavailable) {
		return nil
	}
	var was int64
	if err == nil {
		was, err = readLimit(filepath.Join(dir, "pids.max"))
	}
	if err == nil {
		err = pidsFit(dir, n)
	}
	if err != nil {
		return fmt.Errorf("limit the processes of %s: %w", id, err)
	}
	if err := t.SetPids(id, n); err != nil {
		return err
	}
	// Those that were forked in between.
	if err := pidsFit(dir, n); err != nil {
		return errors.Join(fmt.Errorf("limit the processes of %s: %w", id, err), t.SetPids(id, was))
	}
	return nil
}

func pidsFit(dir string, limit int64) error {
	used, err := readLimit(filepath.Join(dir, "pids.current"))
	if err == nil && limit > 0 && used > limit {
		err = &InUseError{Quantity: Pids, Used: used, Limit: limit, Least: used}
	}
	return err
}

// readLimit reads a file that is one number; 0 for no limit.
func readLimit(path string) (int64, error) {
	data, err := readFile(path)
	if err != nil {
		return 0, err
	}
	n, err := number(data)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if n >= unlimited {
		n = 0
	}
	return n, nil
}

const (
	// squeezeTime is how long memory may take to be given back.
	squeezeTime = 5 * time.Second
	// squeezePause is how long to wait for what could not be given back at once:
	// what is being written out.
	squeezePause = 20 * time.Millisecond
)

// errSqueeze: the memory was not given back in time.
var errSqueeze = errors.New("it was not given back in time")

// Still has all processes of a sandbox stand still, with [Tree.Freeze] unless they do
// already, until the function it returns is called.
type Still func(ctx context.Context) (goOn func() error, err error)

// room is what a limit of memory must leave above what cannot be given back, so
// that the next page that a program touches is not its end.
func room(limit int64) int64 { return min(max(limit/32, 1<<20), 16<<20) }

// least is the lowest limit that leaves room above what is in use, and a little
// more: that moves.
func least(used int64) int64 { return used + min(max(used/31+1, 1<<20), 16<<20) + 1<<20 }

// ResizeMemory changes the limits of memory and swap of a sandbox that runs, as
// [Tree.SetMemory] has them: upwards at once, downwards when so much was given
// back that there is room below. No process is killed for it. Where that cannot be
// within some seconds it is an *[InUseError], and all is as it was; so it is where
// ctx ends first. On version 2 the sandbox stands still for some milliseconds while
// the limit is set. Where the host has no such controller there is nothing to change.
func (t *Tree) ResizeMemory(ctx context.Context, id string, memory, swap config.Size, still Still) error {
	dir, v2, err := t.group(id, "memory")
	if errors.Is(err, ErrUnavailable) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("limit the memory of %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, squeezeTime, errSqueeze)
	defer cancel()
	w, err := newWaiter(ctx)
	if err != nil {
		return fmt.Errorf("limit the memory of %s: %w", id, err)
	}
	defer w.close()
	g := squeezed{t: t, id: id, dir: dir, v2: v2, ctx: ctx, wait: w, still: still, max: int64(memory), swap: int64(swap)}
	if v2 {
		err = g.unified()
	} else {
		err = g.legacy()
	}
	if err != nil {
		return fmt.Errorf("limit the memory of %s: %w", id, err)
	}
	return nil
}

// squeezed is a group whose memory is to be limited to max, 0 for no limit, and
// its swap to swap.
type squeezed struct {
	t         *Tree
	id, dir   string
	v2        bool
	ctx       context.Context
	wait      *waiter
	still     Still
	max, swap int64
}

func (g *squeezed) file(name string) string { return filepath.Join(g.dir, name) }

// usage is what the group uses. fixed is what no reclaim gives back but into swap:
// all but the pages of files and what is known of them.
type usage struct{ all, fixed, swap int64 }

func (g *squeezed) usage() (usage, error) {
	all, swap, err := g.t.MemoryInUse(g.id)
	if err != nil {
		return usage{}, err
	}
	data, err := readFile(g.file("memory.stat"))
	if err != nil {
		return usage{}, err
	}
	keys := []string{"inactive_file", "active_file", "slab_reclaimable"}
	if !g.v2 {
		keys = []string{"total_inactive_file", "total_active_file"} // it does not tell of slabs
	}
	stat, err := pick(data, keys...)
	if err != nil {
		return usage{}, fmt.Errorf("%s: %w", g.file("memory.stat"), err)
	}
	return usage{all: int64(all), fixed: max(0, int64(all)-stat[0]-stat[1]-stat[2]), swap: int64(swap)}, nil
}

// fits tells whether the limit can be reached: what cannot be given back has room
// below it, or in what is left of the swap.
func (g *squeezed) fits(u usage) bool {
	if g.max == 0 || u.fixed+room(g.max) <= g.max {
		return true
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return false
	}
	free := int64(min(info.Freeswap*uint64(info.Unit), math.MaxInt64))
	return u.fixed+room(g.max) <= g.max+min(free, max(0, g.swap-u.swap))
}

// inUse names what is in the way.
func (g *squeezed) inUse(u usage) error {
	used, fits := u.fixed, u.fixed+room(g.max) <= g.max
	switch {
	case fits && u.swap > g.swap:
		return &InUseError{Quantity: Swap, Used: u.swap, Limit: g.swap, Least: u.swap}
	case fits:
		used = u.all // what is in the way would have been given back, with more time
	}
	return &InUseError{Quantity: Memory, Used: used, Limit: g.max, Least: least(used)}
}

// legacy is ResizeMemory on v1 (memory.rst), where the kernel itself takes back
// what it can and refuses a limit that is below the rest.
func (g *squeezed) legacy() error {
	for {
		u, err := g.usage()
		if err != nil {
			return err
		}
		if !g.fits(u) || g.max > 0 && g.t.limitsSwap() && u.fixed+u.swap > g.max+g.swap {
			return g.inUse(u)
		}
		err = g.t.SetMemory(g.id, config.Size(g.max), config.Size(g.swap))
		if !errors.Is(err, ErrInUse) {
			return err
		}
		err = g.wait.pause(squeezePause)
		if errors.Is(err, errSqueeze) {
			return g.inUse(u)
		}
		if err != nil {
			return err
		}
	}
}

// unified is ResizeMemory on v2 (cgroup-v2.rst), where the kernel takes every
// limit and kills what is above it. So what is to be given back is asked for
// first, and then the sandbox stands still while a last look and the limit are
// one. memory.high would not do: it slows down those who grow, but one call can
// grow by any amount before it does.
func (g *squeezed) unified() error {
	from, err := readLimit(g.file("memory.max"))
	if err != nil {
		return err
	}
	u, err := g.usage()
	if err != nil {
		return err
	}
	if u.swap > g.swap {
		// The kernel would leave it where it is, above the limit.
		return &InUseError{Quantity: Swap, Used: u.swap, Limit: g.swap, Least: u.swap}
	}
	if g.max == 0 || from > 0 && g.max >= from {
		return g.t.SetMemory(g.id, config.Size(g.max), config.Size(g.swap))
	}
	if !g.fits(u) {
		return g.inUse(u)
	}
	swap, err := readFile(g.file("memory.swap.max"))
	if errors.Is(err, fs.ErrNotExist) {
		return g.squeeze() // a kernel without swap
	}
	if err == nil {
		// Before: what is taken back may go there.
		err = write(g.dir, setting{"memory.swap.max", strconv.FormatInt(g.swap, 10)})
	}
	if err != nil {
		return err
	}
	if err := g.squeeze(); err != nil {
		return errors.Join(err, write(g.dir, setting{"memory.swap.max", string(swap)}))
	}
	return nil
}

// squeeze has memory given back until there is room below the limit, and sets it.
func (g *squeezed) squeeze() error {
	for {
		u, err := g.usage()
		if err != nil {
			return err
		}
		if !g.fits(u) {
			return g.inUse(u)
		}
		if excess := u.all - (g.max - room(g.max)); excess > 0 {
			var got config.Size
			got, err = g.t.Reclaim(g.ctx, g.id, config.Size(excess))
			if err == nil && int64(got) < excess {
				err = g.wait.pause(squeezePause)
			}
		} else {
			var done bool
			if done, err = g.seal(); done {
				return err
			}
		}
		if err == nil && g.ctx.Err() != nil {
			err = context.Cause(g.ctx) // it takes again what was given back
		}
		if errors.Is(err, errSqueeze) {
			return g.inUse(u)
		}
		if err != nil {
			return err
		}
	}
}

// seal sets the limit while nothing of the sandbox runs, if there still is room
// below. It is false where the sandbox grew meanwhile.
func (g *squeezed) seal() (done bool, err error) {
	goOn, err := g.still(g.ctx)
	if err != nil {
		return true, err
	}
	defer func() { err = errors.Join(err, goOn()) }()
	u, err := g.usage()
	if err != nil || u.all > g.max-room(g.max)/2 {
		return err != nil, err
	}
	return true, write(g.dir, setting{"memory.max", orMax(g.max)})
}
