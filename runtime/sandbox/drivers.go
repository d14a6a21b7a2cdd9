package sandbox

import (
	"context"
	"os"

	"cove/config"
)

// Rootfs makes and removes the roots of sandboxes.
type Rootfs interface {
	// Prepare makes the image's lower layers ready; it is quick when they are.
	Prepare(ctx context.Context) error
	// Create makes the writable part of a new sandbox in its state directory.
	Create(dir string) error
	// Mount mounts the root of the sandbox in dir at target, a directory
	// that exists, for the user namespace that begins at host uid base.
	Mount(ctx context.Context, dir, target string, base uint32) error
	// Unmount takes away what Mount put at target; nothing there is no error.
	Unmount(target string) error
	// Remove deletes a sandbox's state directory with all that programs
	// inside have made of it.
	Remove(dir string) error
}

// Runner invokes the OCI runtime.
type Runner interface {
	Create(ctx context.Context, id, bundle string, listener *os.File) (pid int, err error)
	Start(ctx context.Context, id string) error
	// Delete removes the runtime's record of a container whose processes
	// have ended. One that it does not know is no error.
	Delete(ctx context.Context, id string) error
	// AssertUserNS fails unless the process runs in a user namespace that
	// maps 0..65535 to base.. and nothing else.
	AssertUserNS(pid int, base uint32) error
	// Watch observes a process that is no child of ours. starttime 0 takes
	// the process as it is now.
	Watch(pid int, starttime uint64) (Process, error)
	// List gives the ids of all containers under the runtime's root.
	List() ([]string, error)
}

// Process is a process that is no child of the daemon, named safely.
type Process interface {
	StartTime() uint64
	// Wait returns when the process has ended, or with ctx's error.
	Wait(ctx context.Context) (Exit, error)
	Kill() error
	Close() error
}

// Exit is how a watched process ended. Known is false where the kernel does
// not tell (before 6.15).
type Exit struct {
	Known  bool
	Code   int
	Signal int
}

// Cgroups is this instance's part of the control group hierarchies.
type Cgroups interface {
	OCIPath(id string) string
	Warnings(r config.Resources) []string
	OOMKills(id string) (uint64, error)
	Kill(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	List() ([]string, error)
}

// Leases hands out ranges of 65536 uids that no other instance uses.
type Leases interface {
	// Acquire leases a range to the sandbox and returns its first uid.
	Acquire(ctx context.Context, sandbox string) (base uint32, err error)
	// Own records which process now stands for the lease, so that others
	// see that it is in use when this daemon is gone.
	Own(base uint32, pid int, starttime uint64) error
	Release(base uint32) error
	// Mine lists this instance's leases: first uid to sandbox.
	Mine() (map[uint32]string, error)
}

// BundleInput is what the OCI bundle of one start is made from.
type BundleInput struct {
	ID, Hostname string
	Spec         config.Spec
	Rootfs       string // mounted root
	UIDBase      uint32
	CgroupPath   string
}

// Bundler writes config.json into dir.
type Bundler interface {
	Write(dir string, in BundleInput) error
}
