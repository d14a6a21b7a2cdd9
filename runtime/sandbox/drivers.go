package sandbox

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"time"

	"cove/config"
	"cove/runtime/archive"
	"cove/runtime/cgroup"
	"cove/runtime/disk"
	"cove/runtime/gpu"
	"cove/runtime/image"
	"cove/runtime/mount"
	"cove/runtime/network"
	"cove/runtime/rootfs"
	"cove/runtime/volume"
)

// Rootfs mounts the roots of sandboxes.
type Rootfs interface {
	// Ready tells whether Mount will not have to prepare what all roots
	// share, which takes seconds on a machine that never had it.
	Ready() bool
	// Prepare waits until Mount has nothing to prepare; Generation names the state of
	// the machine that the host image is then made of.
	Prepare(ctx context.Context) error
	Generation() string
	// Mount mounts the root of the sandbox in dir, its changes on b, at target,
	// for the user namespace that begins at host uid base.
	Mount(ctx context.Context, dir, target string, base uint32, b rootfs.Base) error
	// MountCow makes an overlay on a directory of the host's, the changes of the
	// sandbox in rootfs.Cow of key; the caller attaches and closes it. It ends
	// with the root at target.
	MountCow(ctx context.Context, dir, target string, base uint32, lower *mount.Tree, key string) (*mount.Merged, error)
	// View mounts it with the owners that files have on disk, for the daemon to read.
	View(ctx context.Context, dir, target string, b rootfs.Base) error
	// Detach takes it out of the daemon's tree of mounts, once the sandbox
	// has its own.
	Detach(target string) error
	// Unmount ends what Mount put at target, once the sandbox's processes
	// have ended, and closes the disk that dir has; nothing there is no error.
	Unmount(dir, target string) error
	// Commit makes the layer of what the sandbox in dir, which does not run and
	// has no disk, has changed, in the same time whatever its size. It may be called
	// again to finish what was broken off.
	Commit(ctx context.Context, dir, target, layer string) error
	// Settle waits for what Unmount left to the background at target.
	Settle(ctx context.Context, target string) error
	// Drain waits for what Unmount leaves to the background, for the audit.
	Drain(ctx context.Context) error
}

// Layers is the store of the layers that roots are made of, but for the host
// image's own.
type Layers interface {
	// Pin keeps layers that are about to be recorded as used from being collected
	// until release; rootfs.ErrNoLayer.
	Pin(names ...string) (release func(), err error)
	Has(name string) bool
	// Size is what a layer occupies, in bytes; fs.ErrNotExist.
	Size(ctx context.Context, name string) (int64, error)
	// Lacks lists the directories at / that a sandbox needs and that b has not.
	Lacks(b rootfs.Base) []string
	// Make makes a layer, unless it is there, whose / build fills; pinned until release.
	Make(ctx context.Context, name string, build func(ctx context.Context, root *os.File) error) (release func(), err error)
	// Whole tells whether a layer is there, with what is in it.
	Whole(name string) bool
	// MakeClone makes a layer that fill fills as the upper of a sandbox is, and Merge
	// one or two, the lowest first, of all those of b, which are pinned; what was made
	// is pinned until release.
	MakeClone(ctx context.Context, name string, fill func(ctx context.Context, dir *os.File) error) (release func(), err error)
	Merge(ctx context.Context, name string, b rootfs.Base) (layers []string, release func(), err error)
	// Collect removes what used does not name and nobody has pinned or mounted.
	// used is asked while nothing can be pinned.
	Collect(ctx context.Context, used func() (map[string]bool, error)) error
}

// Images are those that users have. Errors are those of package image.
type Images interface {
	// Ensure gives the owner's image of that name, pulled where he has none, and
	// Take one that he has, by name or id: with its layers pinned until release.
	Ensure(ctx context.Context, owner int, r image.Request, progress func(image.Progress)) (img image.Image, release func(), err error)
	Take(owner int, ref string) (img image.Image, release func(), err error)
	Pull(ctx context.Context, owner int, r image.Request, progress func(image.Progress)) (img image.Image, release func(), err error)
	Import(ctx context.Context, owner int, r image.ImportRequest) (img image.Image, release func(), err error)
	Export(ctx context.Context, w io.Writer, r image.ExportRequest) error
	Find(owner int, ref string) (image.Image, error)
	List(owner int) []image.Image
	Remove(img image.Image) error
	// Tidy removes what is kept of pulls that were broken off.
	Tidy() error
	// Layers are those that some image has.
	Layers() []string
}

// Disks are what sandboxes keep their files on. A sandbox whose Spec sets no
// quota has none, and its files lie in its directory: for such a one the methods
// do nothing, except where they say otherwise. Errors are those of package disk
// and ENOSPC.
type Disks interface {
	// Create makes the disk of a new sandbox in dir, the directory that is
	// still being made for it, and opens it, as [Disks.Open] does. It returns the
	// root of the sandbox's own files, dir itself without a quota, which the
	// caller closes. dir may be renamed afterwards.
	Create(ctx context.Context, id, dir string, s disk.Spec) (root *os.File, err error)
	// Sync writes what is on an open disk to the host's, where a power cut leaves
	// it.
	Sync(id string) error
	// Open has the disk of the sandbox mounted, where it is not yet: attached
	// and ready for [Rootfs.Mount], or, of a sandbox that runs, the same file
	// system again. A file system that was not left in order is checked first.
	// disk.ErrDamaged where there is no disk and s has a quota.
	// It stays until [Rootfs.Unmount].
	Open(ctx context.Context, id string, s disk.Spec) error
	// Settled tells whether the disk of a sandbox that does not run can be mounted as
	// it lies there, without its journal; true without a disk.
	Settled(id string) (bool, error)
	// Device is the block device of an open disk, for limits on its use;
	// disk.ErrNotOpen.
	Device(id string) (disk.Device, error)
	// Usage tells how full the disk is, without waiting for anything: a few
	// system calls. Used only while it is open; Usage{} without a disk.
	Usage(id string) (disk.Usage, error)
	// Files is what the files of a sandbox without a disk occupy, some time ago;
	// false where that is not known. It waits for nothing.
	Files(id string) (int64, bool)
	// Root is the root of the files of an open disk; the caller closes it.
	// disk.ErrNotOpen.
	Root(id string) (*os.File, error)
	// Grow makes the disk as large as s says: at once where it is open,
	// disk.ErrOffline where that cannot be done on this machine. disk.ErrShrink,
	// disk.ErrNoSpace. What a killed daemon left half done, the same call does to
	// the end.
	Grow(ctx context.Context, id string, s disk.Spec) error
	// Trim gives back to the host what was deleted on an open disk, now. It
	// happens by itself some time later.
	Trim(ctx context.Context, id string) error
	// Attached lists the sandboxes whose images are attached to a device,
	// whoever did it, with the device's name, for the audit.
	Attached() (map[string]string, error)
	// AttachedLayers is the same of the layers that are disks.
	AttachedLayers() (map[string]string, error)
}

// NamedVolumes keeps named volumes; their errors are those of package volume,
// ENOSPC and those of package disk.
type NamedVolumes interface {
	Find(owner int, name string) (volume.Volume, error)
	List() []volume.Volume
	Create(ctx context.Context, owner int, name string, quota int64) (volume.Volume, error)
	// Remove moves one that no sandbox has to grave.
	Remove(v volume.Volume, grave string) error
	// Attach mounts one in a sandbox, in the mount namespace of its PID 1, and Detach
	// takes it away: volume.ErrBusy.
	Attach(ctx context.Context, at *mount.Namespace, owner int, v config.Volume, r volume.Live) error
	Detach(ctx context.Context, at *mount.Namespace, owner int, v config.Volume) error
	// LetGo closes what is open of one that nobody has any more, in the background;
	// Wait waits for that.
	LetGo(v volume.Volume, used func() bool)
	Wait()
	// Used is in bytes, -1 while it is not known; it waits for nothing.
	Used(v volume.Volume) int64
}

// Volumes takes directories of the host for mounts; their errors are
// *[volume.Error] where the caller can mend it.
type Volumes interface {
	// Admit takes those that a user opened, one for each mount.
	Admit(ctx context.Context, uid int, mounts []config.Mount, dirs []*os.File) (*volume.Set, error)
	// Reopen has them opened again as that user, and takes them when they
	// are those that were kept.
	Reopen(ctx context.Context, uid int, mounts []config.Mount, kept []volume.Identity) (*volume.Set, error)
}

// Runner invokes the OCI runtime.
type Runner interface {
	Create(ctx context.Context, id, bundle string, listener *os.File) (pid int, err error)
	Start(ctx context.Context, id string) error
	// Forget removes the runtime's record of a container whose processes
	// have ended. One that it does not know is no error.
	Forget(id string) error
	// List gives the ids of all containers under the runtime's root.
	List() ([]string, error)
}

// Cgroups is this instance's part of the control group hierarchies.
type Cgroups interface {
	OCIPath(id string) string
	// Make makes the sandbox's group where the OCI runtime would make it
	// wrong; elsewhere it does nothing.
	Make(id string) error
	Warnings(r config.Resources) []string
	OOMKills(id string) (uint64, error)
	// SetIO limits what the sandbox reads from a device and writes to it, in
	// bytes per second; 0 is no limit.
	SetIO(id string, d cgroup.Device, read, write config.Size) error
	// LiftIO takes those limits from a sandbox that is killed, so that it ends.
	LiftIO(id string) error
	// Freeze stops every process of the sandbox where it is; cgroup.ErrUnavailable
	// where the host cannot. Thaw lets them go on; one that is not frozen is
	// no error.
	Freeze(ctx context.Context, id string) error
	Thaw(ctx context.Context, id string) error
	// Frozen tells whether the sandbox is frozen, or was told to be.
	Frozen(id string) (bool, error)
	Kill(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	// List names every group of the instance's, those of sandboxes by id.
	List() ([]string, error)
}

// Processors decides on which processors of the machine sandboxes run.
type Processors interface {
	// Adopt is told once which sandboxes run, by the cores each may use, before
	// the first Place. onMove is told the processors of a sandbox, as a list,
	// when they change, and must not wait for long.
	Adopt(running map[string]float64, onMove func(id, list string)) error
	// Place chooses those of a sandbox that is about to start, or that runs and
	// may use more or fewer cores now; 0 is all.
	Place(id string, cores float64) error
	// Put has it run there, once it has a group.
	Put(id string) error
	// Leave takes out one that has ended; one that is not placed is no error.
	Leave(id string) error
}

// Limiter changes the limits that are in force for sandboxes that run. Each of
// its methods does all of it or nothing; they fail with a *[cgroup.InUseError]
// where more is in use.
type Limiter interface {
	// CheckChange fails with cgroup.ErrUnavailable where want has a limit that
	// was has not, and that this host does not enforce.
	CheckChange(was, want config.Resources) error
	SetCPU(id string, cores float64) error
	// ResizeMemory may take seconds; no process is killed for it. It may have the
	// sandbox stand still for some milliseconds.
	ResizeMemory(ctx context.Context, id string, memory, swap config.Size, still cgroup.Still) error
	ResizePids(id string, n int64) error
}

// Meters reads what the control groups of sandboxes use.
type Meters interface {
	// Usage fails with fs.ErrNotExist when the sandbox has no group.
	Usage(id string) (cgroup.Usage, error)
	// Keep gives back what is held for sandboxes that keep does not name.
	Keep(keep func(id string) bool)
}

// NetworkCounter counts what goes over the networks of sandboxes.
type NetworkCounter interface {
	// Bytes are those that the sandbox received and sent since its start; ok
	// is false where it has no network. It is asked once a second for each
	// sandbox, and must not wait for anything.
	Bytes(id string) (rx, tx int64, ok bool)
}

// Network gives sandboxes their namespaces and decides what they reach.
type Network interface {
	// Take leases a range of uids to the sandbox and gives the namespaces of
	// it, with a loopback and nothing else. The caller closes them.
	Take(ctx context.Context, sandbox string) (network.Namespaces, error)
	// Connect puts a policy in force for a sandbox, whose network namespace
	// is ns: before its first instruction, or while it runs.
	Connect(ctx context.Context, sandbox string, ns *os.File, p network.Policy) error
	// Disconnect takes the sandbox's link away; none there is no error.
	Disconnect(sandbox string) error
	// Adopt is told once which sandboxes run, before the first Take.
	Adopt(ctx context.Context, running map[string]network.Running) error
	// Drain waits for what goes in the background, Strays names what is there
	// of no known sandbox, and Pooled tells whether a range of uids waits for
	// the next sandbox: all for the audit.
	Drain(ctx context.Context) error
	Strays(known func(sandbox string) bool) ([]string, error)
	Pooled(base uint32) bool
}

// Leases are ranges of 65536 uids that no other instance uses.
type Leases interface {
	// Own records which process now stands for the lease, so that others
	// see that it is in use when this daemon is gone.
	Own(base uint32, pid int, starttime uint64) error
	Release(base uint32) error
	// Mine lists this instance's leases: first uid to sandbox.
	Mine() (map[uint32]string, error)
}

// GPUs finds the machine's GPUs and prepares them for sandboxes.
type GPUs interface {
	// Devices looks which there are now.
	Devices(ctx context.Context) gpu.Inventory
	// Prepare makes the device nodes of devices in dir, for the user namespace
	// that begins at host uid base; *gpu.StaleError where something of them is
	// not there. Detach takes them out of the daemon's tree of mounts, once the
	// sandbox has them or has ended; nothing there is no error.
	Prepare(dir string, base uint32, devices []gpu.Device) (gpu.Edits, error)
	Detach(dir string) error
	// Use tells what held devices do, as far as it is known, without waiting; Await
	// waits until it can be known.
	Use(claims []gpu.Claim) []gpu.Use
	Await(ctx context.Context)
}

// BundleInput is what the OCI bundle of one start is made from.
type BundleInput struct {
	ID, Hostname string
	Spec         config.Spec
	Rootfs       string // mounted root
	UIDBase      uint32
	UserNS       string // paths of the namespaces
	NetNS        string
	CgroupPath   string
	OnlineCPUs   string // file that lists its processors; "" without
	Devices      gpu.Edits
}

// Bundler writes config.json into dir.
type Bundler interface {
	Write(dir string, in BundleInput) error
}

// Unwritten tells what of the files of sandboxes is in memory alone.
type Unwritten interface {
	// Unwritten is in bytes. It fails with fs.ErrNotExist when the sandbox has no
	// group.
	Unwritten(id string) (int64, error)
}

// CPUTimer counts the processor time of sandboxes, for those whose automation
// asks whether they are in use.
type CPUTimer interface {
	// CPUTime is what the sandbox has used since its start. It fails with
	// fs.ErrNotExist when it has no group. It is asked several times a second
	// at most.
	CPUTime(id string) (time.Duration, error)
}

// Archiver keeps trees of files in archives. Errors are those of package archive.
type Archiver interface {
	// Send writes the archive of tree to w.
	Send(ctx context.Context, w io.Writer, tree *os.File, o archive.WriteOptions) (archive.Manifest, error)
	// Save keeps tree as the file name in dir, proved by reading it back. When it
	// fails all is as before.
	Save(ctx context.Context, dir *os.File, name string, tree *os.File, o archive.WriteOptions) (archive.Manifest, error)
	// Read makes the tree of an archive below an empty directory.
	Read(ctx context.Context, from io.Reader, tree *os.File, o archive.ReadOptions) (archive.Manifest, error)
	// ReadMeta is Read that gives what is kept beside the tree.
	ReadMeta(ctx context.Context, from io.Reader, tree *os.File, o archive.ReadOptions) (json.RawMessage, archive.Manifest, error)
}
