package server

import (
	"context"
	"io"
	"time"

	"cove/config"
	"cove/runtime/delta"
	"cove/runtime/doctor"
	"cove/runtime/guest"
	"cove/runtime/image"
	"cove/runtime/sandbox"
)

// Manager is what the server needs of a [sandbox.Manager]. Its errors are those
// that package sandbox documents, and package guest's.
type Manager interface {
	List(c sandbox.Caller) []sandbox.Info
	Get(c sandbox.Caller, ref string) (sandbox.Info, error)
	Create(ctx context.Context, c sandbox.Caller, r sandbox.CreateRequest) (sandbox.Info, error)
	Start(ctx context.Context, c sandbox.Caller, ref string, r sandbox.StartRequest) (sandbox.Info, error)
	Stop(ctx context.Context, c sandbox.Caller, ref string, force bool) (sandbox.Info, error)
	Restart(ctx context.Context, c sandbox.Caller, ref string, secrets map[string]string, force bool) (sandbox.Info, error)
	Delete(ctx context.Context, c sandbox.Caller, ref string, now bool) (sandbox.Info, error)
	Deleted(c sandbox.Caller) []sandbox.Deleted
	Undo(ctx context.Context, c sandbox.Caller, ref string) (sandbox.Info, error)
	Pause(ctx context.Context, c sandbox.Caller, ref string) (sandbox.Info, error)
	Resume(ctx context.Context, c sandbox.Caller, ref string) (sandbox.Info, error)
	Archive(ctx context.Context, c sandbox.Caller, ref string, stop bool) (sandbox.Info, error)
	Resize(ctx context.Context, c sandbox.Caller, ref string, r sandbox.ResizeRequest) (sandbox.Info, error)
	Rename(ctx context.Context, c sandbox.Caller, ref, name string) (sandbox.Info, error)
	SetNetwork(ctx context.Context, c sandbox.Caller, ref string, n config.Network) (sandbox.Info, error)
	SetAutomation(ctx context.Context, c sandbox.Caller, ref string, a config.Automation) (sandbox.Info, error)
	Touch(ctx context.Context, c sandbox.Caller, ref string) (sandbox.Info, error)
	SetLabels(ctx context.Context, c sandbox.Caller, ref string, set map[string]string, remove []string) (sandbox.Info, error)
	Guest(ctx context.Context, c sandbox.Caller, ref, use string) (*sandbox.Guest, error)
	Logs(ctx context.Context, c sandbox.Caller, ref string) ([]sandbox.KeptLog, *sandbox.Guest, error)
	Files(ctx context.Context, c sandbox.Caller, ref string) (*sandbox.Guest, error)
	Changes(ctx context.Context, c sandbox.Caller, ref string, r sandbox.ChangesRequest, begin func() io.Writer) error
	Applied(c sandbox.Caller, ref, target string, changes []delta.Change) error
	Discard(ctx context.Context, c sandbox.Caller, ref, target string, paths []string) (sandbox.Info, error)
	Sessions(ctx context.Context, c sandbox.Caller, ref string) ([]guest.SessionInfo, error)
	Subscribe(ctx context.Context, c sandbox.Caller, since *sandbox.Cursor) (*sandbox.Subscription, error)
	Stats(ctx context.Context, c sandbox.Caller) (sandbox.StatsReport, error)
	FollowStats(ctx context.Context, c sandbox.Caller) (<-chan sandbox.StatsReport, error)
	History(c sandbox.Caller, ref string, since time.Duration) (sandbox.History, error)
	GPUs(ctx context.Context, c sandbox.Caller) []sandbox.GPU
	Snapshot(ctx context.Context, c sandbox.Caller, ref, name string) (sandbox.SnapshotInfo, error)
	Snapshots(ctx context.Context, c sandbox.Caller) ([]sandbox.SnapshotInfo, error)
	RemoveSnapshot(ctx context.Context, c sandbox.Caller, ref string) (sandbox.SnapshotInfo, error)
	Fork(ctx context.Context, c sandbox.Caller, ref string, r sandbox.ForkRequest) (sandbox.Forks, error)
	Export(ctx context.Context, c sandbox.Caller, ref string, w io.Writer) error
	Import(ctx context.Context, c sandbox.Caller, name string, r io.Reader) (i sandbox.Info, left []string, err error)
	Build(ctx context.Context, c sandbox.Caller, r sandbox.BuildRequest) (sandbox.SnapshotInfo, error)
	Rebuild(ctx context.Context, c sandbox.Caller, ref string, log io.Writer) (sandbox.SnapshotInfo, error)
	Images(ctx context.Context, c sandbox.Caller) ([]sandbox.ImageInfo, error)
	PullImage(ctx context.Context, c sandbox.Caller, r image.Request, progress func(image.Progress)) (sandbox.ImageInfo, error)
	ImportImage(ctx context.Context, c sandbox.Caller, r image.ImportRequest) (sandbox.ImageInfo, error)
	ExportImage(ctx context.Context, c sandbox.Caller, ref string, w io.Writer) error
	RemoveImage(ctx context.Context, c sandbox.Caller, ref string) (sandbox.ImageInfo, error)
	PruneImages(ctx context.Context, c sandbox.Caller) (gone []sandbox.ImageInfo, freed int64, err error)
	ListVolumes(c sandbox.Caller) []sandbox.VolumeInfo
	CreateVolume(ctx context.Context, c sandbox.Caller, name string, quota config.Size) (sandbox.VolumeInfo, error)
	RemoveVolume(ctx context.Context, c sandbox.Caller, name string) (sandbox.VolumeInfo, error)
	AttachVolume(ctx context.Context, c sandbox.Caller, ref string, v config.Volume) (sandbox.Info, error)
	DetachVolume(ctx context.Context, c sandbox.Caller, ref, target string) (sandbox.Info, error)
	Audit(ctx context.Context) ([]doctor.Leak, error)
	Checks(ctx context.Context) []doctor.Check
	Warnings() []string
	HostDisk() (sandbox.HostDisk, error)
}
