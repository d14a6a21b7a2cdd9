package oci

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"cove/config"
)

// UIDRange is how many uids and gids a sandbox has: 0..65535 inside are
// UIDBase..UIDBase+65535 outside.
const UIDRange = 65536

// Kinds of errors that the Input causes.
var (
	// ErrInput: the Input is wrong in itself.
	ErrInput = errors.New("the bundle cannot be made")
	// ErrUnsupported: the host's kernel cannot enforce what the Spec asks for.
	ErrUnsupported = errors.New("not enforceable on this host")
)

// Input is what one bundle is made from.
type Input struct {
	// ID is the sandbox's id, which is the container's id too.
	ID string
	// Hostname is the name the sandbox gives itself: at most 64 bytes.
	Hostname string
	Spec     config.Spec
	// Rootfs is the absolute host path of the mounted root. Mounts and
	// volumes of the Spec are part of it already, or come later.
	Rootfs string
	// UIDBase is the first of the UIDRange host uids and gids that belong
	// to the sandbox.
	UIDBase uint32
	// UserNS is the path of the sandbox's user namespace, which maps that
	// range and nothing else; empty lets the runtime make one, which then
	// belongs to root.
	UserNS string
	// NetNS is the path of a network namespace that belongs to UserNS; empty
	// lets the runtime make one, with a loopback only.
	NetNS string
	// CgroupsPath is where the sandbox's control group is, seen from the
	// top of each hierarchy: "/cove-<inst>/<id>".
	CgroupsPath string
	// InitPath is the absolute host path of the cove-init program; it is
	// mounted read-only at guest.InitPath. All may read and execute it: the
	// sandbox's root is nobody to it.
	InitPath string
	// OnlineCPUs is the absolute host path of a file that all may read: it
	// takes the place of the machine's list of processors, for the C library
	// counts those there (sysconf(3)), whatever set a process is in. Empty
	// leaves the machine's.
	OnlineCPUs string
	// ProcFiles are absolute host paths of files that take the place of those of
	// the same names in /proc, where a server makes them for whoever reads them.
	ProcFiles []string
	Devices   Devices
	Host      Host
}

// Devices are what gives a sandbox devices of the host's: rules of the control
// group, bind mounts (those of device nodes too) and hooks.
type Devices struct {
	Rules                           []specs.LinuxDeviceCgroup
	Mounts                          []specs.Mount
	CreateContainer, StartContainer []specs.Hook
}

// Host is what a bundle has to know of the machine. [DetectHost] fills it in;
// tests give their own.
type Host struct {
	// NoFile is the hard limit of open files that the daemon itself has. A
	// higher one needs CAP_SYS_RESOURCE, which containers and some virtual
	// machines lack.
	NoFile uint64
	// KeepRlimits lets sandboxes inherit the daemon's limits: to set those of
	// a process in a user namespace that belongs to another takes
	// CAP_SYS_RESOURCE (prlimit(2)), which the daemon does not have.
	KeepRlimits bool
	// OOMScoreAdj is the daemon's own value; to go below it needs
	// CAP_SYS_RESOURCE.
	OOMScoreAdj int
	// CgroupV2 tells whether all controllers are in the unified hierarchy.
	CgroupV2 bool
	// Swap tells whether the kernel can limit swap.
	Swap bool
	// AppArmorProfile is the name of a loaded profile, or "".
	AppArmorProfile string
	// MaskedPaths are paths of this machine to mask besides the fixed ones.
	MaskedPaths []string
}

func (in *Input) validate() error {
	if !config.ValidID(in.ID) {
		return fmt.Errorf("%w: bad id %q", ErrInput, in.ID)
	}
	if !config.ValidHostname(in.Hostname) {
		return fmt.Errorf("%w: bad hostname %q", ErrInput, in.Hostname)
	}
	for _, p := range []struct{ what, path string }{
		{"root", in.Rootfs}, {"cgroup path", in.CgroupsPath}, {"path of cove-init", in.InitPath},
		{"list of processors", cmp.Or(in.OnlineCPUs, in.InitPath)},
	} {
		if !path.IsAbs(p.path) || path.Clean(p.path) != p.path || p.path == "/" || strings.ContainsRune(p.path, 0) {
			return fmt.Errorf("%w: the %s %q is not a clean absolute path", ErrInput, p.what, p.path)
		}
	}
	for _, f := range in.ProcFiles {
		if !path.IsAbs(f) || path.Clean(f) != f || strings.ContainsRune(f, 0) {
			return fmt.Errorf("%w: the file of /proc %q is not a clean absolute path", ErrInput, f)
		}
	}
	// The system's own uids are below the first range, and 2^32-1 is "no uid".
	if in.UIDBase < UIDRange || in.UIDBase > math.MaxUint32-UIDRange {
		return fmt.Errorf("%w: bad uid base %d", ErrInput, in.UIDBase)
	}
	if r := in.Spec.Runtime; r != "" && r != "runc" {
		return fmt.Errorf("%w: runtime %q is not runc", ErrInput, r)
	}
	return nil
}
