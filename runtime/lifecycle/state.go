// Package lifecycle is what a sandbox can be and what can be done to it: the
// states, the operations, the one table that joins them, and the reasons of a
// stop. It is a pure leaf: the TUI's key hints, the command line's errors, the
// Manager and the tests all read this table, so none of them can disagree.
package lifecycle

// State is where a sandbox is in its life.
type State string

// The sixteen states of Daytona's sandbox.
const (
	Creating         State = "creating"
	PendingBuild     State = "pending_build"
	BuildingSnapshot State = "building_snapshot"
	PullingSnapshot  State = "pulling_snapshot"
	Started          State = "started"
	Stopped          State = "stopped"
	Starting         State = "starting"
	Stopping         State = "stopping"
	Archived         State = "archived"
	Restoring        State = "restoring"
	Resizing         State = "resizing"
	Destroying       State = "destroying"
	Destroyed        State = "destroyed"
	Error            State = "error"
	BuildFailed      State = "build_failed"
	// Unknown is what was found on disk and not understood: shown with
	// repair actions, never deleted by cove itself.
	Unknown State = "unknown"
)

// The states that cove's own operations need besides.
const (
	Archiving    State = "archiving"
	Snapshotting State = "snapshotting"
	Forking      State = "forking"
	Pausing      State = "pausing"
	Paused       State = "paused"
	Resuming     State = "resuming"
)

// States returns every state, resting ones and passing ones.
func States() []State {
	return []State{
		Creating, PendingBuild, BuildingSnapshot, PullingSnapshot, Started, Stopped, Starting,
		Stopping, Archived, Restoring, Resizing, Destroying, Destroyed, Error, BuildFailed, Unknown,
		Archiving, Snapshotting, Forking, Pausing, Paused, Resuming,
	}
}

// Valid tells whether s is one of [States].
func (s State) Valid() bool {
	for _, t := range States() {
		if s == t {
			return true
		}
	}
	return false
}

// Passing tells whether s is only passed through: an operation is under way.
func (s State) Passing() bool {
	switch s {
	case Creating, PendingBuild, BuildingSnapshot, PullingSnapshot, Starting, Stopping, Restoring,
		Resizing, Destroying, Archiving, Snapshotting, Forking, Pausing, Resuming:
		return true
	case Started, Stopped, Archived, Destroyed, Error, BuildFailed, Unknown, Paused:
		return false
	}
	return false
}

// Running tells whether processes of the sandbox may exist in s.
func (s State) Running() bool {
	switch s {
	case Started, Stopping, Resizing, Snapshotting, Forking, Pausing, Paused, Resuming:
		return true
	case Creating, PendingBuild, BuildingSnapshot, PullingSnapshot, Stopped, Starting, Archived,
		Restoring, Destroying, Destroyed, Error, BuildFailed, Unknown, Archiving:
		return false
	}
	return false
}
