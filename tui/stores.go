package tui

import (
	"context"

	"cove/config"
	"cove/runtime/api"
)

// Images is what the TUI needs of the daemon for images.
type Images interface {
	Images(ctx context.Context) ([]api.Image, error)
	// Pull gets an image from a registry, as the caller, and calls each with
	// how far it is. Who ends ctx breaks it off.
	Pull(ctx context.Context, ref string, each func(api.Progress)) (api.Image, error)
	// RemoveImage takes a name or an id.
	RemoveImage(ctx context.Context, ref string) error
	// PruneImages removes what nothing uses.
	PruneImages(ctx context.Context) (api.PruneReport, error)
}

// Snapshots is what the TUI needs of the daemon for snapshots and forks.
type Snapshots interface {
	Snapshots(ctx context.Context) ([]api.Snapshot, error)
	// Snapshot keeps the present state of the sandbox with the id, Fork makes
	// new sandboxes from it.
	Snapshot(ctx context.Context, id, name string) (api.Snapshot, error)
	Fork(ctx context.Context, id string, r api.ForkRequest) (api.ForkResult, error)
	// DeleteSnapshot takes a name or an id.
	DeleteSnapshot(ctx context.Context, ref string) error
}

// Volumes is what the TUI needs of the daemon for volumes.
type Volumes interface {
	Volumes(ctx context.Context) ([]api.Volume, error)
	CreateVolume(ctx context.Context, r api.VolumeRequest) (api.Volume, error)
	DeleteVolume(ctx context.Context, name string) error
	// AttachVolume gives the sandbox with the id a volume, DetachVolume takes
	// it away: target is where it is inside, or its name.
	AttachVolume(ctx context.Context, id string, v config.Volume) error
	DetachVolume(ctx context.Context, id, target string) error
}

// Builds is what the TUI needs of the daemon for builds.
type Builds interface {
	// Rebuild does a failed build again, from the step that failed. Where it is
	// through there is a snapshot, and the sandbox of the build is gone.
	Rebuild(ctx context.Context, id string) (api.Snapshot, error)
	// LogEnd is the last lines of what a sandbox's build or setup printed, at
	// most n.
	LogEnd(ctx context.Context, id string, n int) ([]api.LogLine, error)
}

// Changes is what the TUI needs for what a sandbox changed in directories that it
// got copy-on-write. Apply writes as the caller.
type Changes interface {
	// Changes are all there are, a set for every such directory; of a sandbox that
	// has none a set of its own files, without a source.
	Changes(ctx context.Context, id string) ([]api.ChangeSet, error)
	// FileDiff is the unified diff of one file of a set; path is the change's.
	FileDiff(ctx context.Context, id, target, path string) (string, error)
	// Apply brings changes of the set with the target to this machine: shown is
	// what the person saw of them, and nothing is done where something is another
	// now. With force it writes over what changed on this machine since. Discard
	// takes back what the sandbox did to the paths and to all below them.
	Apply(ctx context.Context, id, target string, shown []api.FileChange, force bool) error
	Discard(ctx context.Context, id, target string, paths []string) error
}
