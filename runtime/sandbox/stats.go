package sandbox

import (
	"slices"
	"sync/atomic"
	"time"

	"cove/runtime/cgroup"
)

const (
	// activeCPU is the part of a core from which on processor time counts as
	// activity. A shell that waits uses none; programs that blink a cursor or
	// poll for work stay below.
	activeCPU = 0.01
)

// MissingRates is what a sandbox's statistics miss where there was no sample of
// it before: CPU, NetRxRate and NetTxRate. The next sample has them.
const MissingRates = "rates"

// Stats is what one running sandbox uses: see the fields of [cgroup.Usage].
type Stats struct {
	ID    string
	Name  string
	Owner int
	Usage cgroup.Usage
	// CPU is how many cores were used, on average, since the sample before.
	CPU float64
	// NetRx and NetTx are bytes that the sandbox received and sent since its
	// start, 0 without a network; the rates are per second, since the sample
	// before.
	NetRx, NetTx         int64
	NetRxRate, NetTxRate float64
	// GPUs are the devices that it holds, and what they do, whoever uses them.
	GPUs []GPUUse
	// IOReadRate and IOWriteRate are bytes per second to and from block devices,
	// since the sample before.
	IOReadRate, IOWriteRate float64
	// Disk is how much of its disk is used, in bytes, and DiskLimit the quota; 0
	// where it has none, and then Disk is what its files occupied some time ago.
	Disk, DiskLimit int64
	// Active is when something was last seen to happen: a program run, a byte
	// passed (see [Guest.Touch]), output on a terminal, a hundredth of a core in
	// use. The last two are seen only while samples are taken, and terminals
	// that nobody is attached to some seconds late.
	Active time.Time
	// Due is what automation does next; nil: nothing.
	Due *Due
	// Missing names what is not known: quantities of package cgroup,
	// [MissingDisk] and [MissingRates].
	Missing []string
}

// StatsReport is one sample of all running sandboxes that a caller may see, by
// name. It is shared: nothing in it is to be changed.
type StatsReport struct {
	Time      time.Time
	Sandboxes []Stats
}

// seenBy is the part of a report that the caller may see.
func (r StatsReport) seenBy(c Caller) StatsReport {
	if c.UID != 0 {
		r.Sandboxes = slices.DeleteFunc(slices.Clone(r.Sandboxes), func(s Stats) bool { return !c.Sees(s.Owner) })
	}
	return r
}

// rated tells whether rates are known of all of it.
func (r StatsReport) rated() bool {
	return !slices.ContainsFunc(r.Sandboxes, func(s Stats) bool { return slices.Contains(s.Missing, MissingRates) })
}

// activity is the last moment at which something was seen to happen.
type activity struct{ nanos atomic.Int64 }

func (a *activity) touch(t time.Time) { a.nanos.Store(t.UnixNano()) }

// raise is touch for what may be old already.
func (a *activity) raise(t time.Time) {
	for n, was := t.UnixNano(), a.nanos.Load(); n > was; was = a.nanos.Load() {
		if a.nanos.CompareAndSwap(was, n) {
			return
		}
	}
}

// since is that moment, or begin where nothing has happened since.
func (a *activity) since(begin time.Time) time.Time {
	if t := time.Unix(0, a.nanos.Load()).UTC(); t.After(begin) {
		return t
	}
	return begin
}

// Touch says that the sandbox is in use: its caller saw something go in or out.
// Of a Guest that no Manager made it says nothing.
func (g *Guest) Touch() {
	if g.m != nil {
		g.b.active.touch(g.m.now())
	}
}
