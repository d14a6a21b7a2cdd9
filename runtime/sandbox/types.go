// Package sandbox is the life of sandboxes: the Manager carries out the
// operations of the lifecycle table on the directories that are the truth,
// one at a time per sandbox, and finds out after a crash what became of them.
// It defines the small interfaces of the drivers it needs.
package sandbox

import (
	"time"

	"cove/config"
	"cove/runtime/lifecycle"
)

// Info is what is known of one sandbox at one moment. It is a copy; its maps
// and slices are not to be changed.
type Info struct {
	ID       string
	Name     string
	Owner    int // uid that made it
	State    lifecycle.State
	Desired  lifecycle.State
	Reason   lifecycle.Reason
	Op       lifecycle.Operation // under way, or ""
	Progress string              // what it is at, where it takes its time; or ""
	Spec     config.Spec
	Created  time.Time
	Started  time.Time // zero when it never was
	Stopped  time.Time
	Warnings []string
	Due      *Due // what automation does next, as it is now; nil: nothing
	// Held says why it is frozen though nobody paused it; "": it is not.
	Held string
	// While it runs, else zero.
	Pid     int
	UIDBase uint32
	Cgroup  string
	GPUs    []string // CDI names of those that it holds
}

// Caller is who asks: root sees every sandbox, others their own.
type Caller struct{ UID int }

// Sees tells whether the caller may know of a sandbox of owner.
func (c Caller) Sees(owner int) bool { return c.UID == 0 || c.UID == owner }

// Event is one change of a sandbox as the journal keeps it.
type Event struct {
	Epoch   string
	Seq     uint64
	Time    time.Time
	Removed bool // the sandbox is gone; Info is its last state
	Info    Info
}
