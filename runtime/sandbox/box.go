package sandbox

import (
	"context"
	"slices"
	"sync"

	"cove/runtime/lifecycle"
	"cove/runtime/runner"
)

// box is one sandbox in memory. Its fields are guarded by mu; only the
// operation that holds the box (op) changes what belongs to running it.
type box struct {
	id string

	// file is held while the record is changed and written, so that of two
	// who change it the later one's is what stays; it comes before mu. What
	// needs the record as it is on disk to stay so holds it too.
	file sync.Mutex
	made bool // the directory is there; guarded by file

	mu     sync.Mutex
	rec    record
	state  lifecycle.State
	reason lifecycle.Reason
	run    *running
	proc   *runner.Process
	op     *operation
	doing  string // what op is at, where it takes its time
	gone   bool   // deleted: lookups no longer find it
	ooms   uint64
	killed int64 // how many of its processes the kernel has killed for memory
	told   int64 // how many of those were published

	hook   KeptLog // of the command before the last stop
	frozen bool    // it is paused: what runs of it is in the freezer
	// held says why the guard has it in the freezer; "" is not at all.
	held   string
	ending bool // what runs of it is being ended for good
	// evicted: the guard has ended it, see evict.
	evicted bool

	// ice is held while the freezer is changed, live while what is recorded of
	// a sandbox that runs is: in this order, before mu and never after file,
	// under which one waits for the disk.
	ice, live sync.Mutex

	active activity
	timing

	watch *watch // ends when proc has ended
}

// watch is the goroutine that waits for PID 1 to end.
type watch struct {
	cancel context.CancelFunc
	exited chan struct{} // closed when PID 1 has ended; exit is then set
	exit   runner.Exit
}

// info returns a copy for callers. The caller holds b.mu.
func (b *box) info() Info {
	i := Info{
		ID: b.id, Name: b.rec.Name, Owner: b.rec.Owner, State: b.state, Desired: b.rec.Desired,
		Reason: b.reason, Spec: b.rec.Spec, Created: b.rec.Created, Started: b.rec.Started, Stopped: b.rec.Stopped,
	}
	if !b.frozen {
		i.Held = b.held
	}
	if b.op != nil {
		i.Op, i.Progress = b.op.op, b.doing
	}
	if b.clock != nil {
		i.Due = b.due(b.clock())
	}
	if b.run != nil {
		i.Pid, i.UIDBase, i.Cgroup = b.run.Pid, b.run.UIDBase, b.run.Cgroup
		i.Warnings = slices.Clone(b.run.Warnings)
		i.GPUs = claimNames(b.run.GPUs)
		if b.killed > 0 {
			i.Warnings = append(i.Warnings, killedForMemory(b.killed, b.rec.Spec.Resources.Memory))
		}
	}
	return i
}

func (b *box) snapshot() Info {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.info()
}

func (b *box) record() record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rec
}
