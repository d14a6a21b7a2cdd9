package oci

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"cove/runtime/guest"
)

// ConfigFile is the name of the file that describes a bundle.
const ConfigFile = "config.json"

// AnnotationID is the annotation that carries the sandbox's id.
const AnnotationID = "cove.id"

// version is the lowest version of the OCI runtime specification that has all
// the bundle uses; older runtimes refuse higher ones by number.
const version = "1.1.0"

// capabilities are docker's fourteen without NET_RAW (ping works by the
// net.ipv4.ping_group_range sysctl), MKNOD (no device may be opened anyway) and
// AUDIT_WRITE (the audit log is the host's). They are what sudo, su and package
// managers need, and hold over the sandbox's own user namespace only.
func capabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
		"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// Open files that a sandbox may have: the soft limit is above what file
// watchers of build tools need, and below where programs that close every
// possible descriptor get slow.
const (
	softNoFile = 65536
	hardNoFile = 524288
)

// Bundle gives the config.json of a sandbox. The same Input gives the same
// bundle, byte for byte. It takes no notice of the Spec's network policy, which
// belongs to the network namespace it is given. Errors wrap [ErrInput] or
// [ErrUnsupported] where the Input is at fault.
func Bundle(in Input) (*specs.Spec, error) {
	if err := in.validate(); err != nil {
		return nil, err
	}
	resources, err := Resources(in.Spec.Resources, in.Host)
	if err != nil {
		return nil, err
	}
	resources.Devices = append(resources.Devices, in.Devices.Rules...)
	caps := capabilities()
	if writesAsRoot(in.Spec) {
		caps = slices.DeleteFunc(caps, func(c string) bool { return c == "CAP_SETFCAP" })
	}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: in.UIDBase, Size: UIDRange}}
	spec := &specs.Spec{
		Version:  version,
		Hostname: in.Hostname,
		Root:     &specs.Root{Path: in.Rootfs},
		Process: &specs.Process{
			// No terminal: sessions have their own, made inside.
			Args: []string{guest.InitPath},
			Cwd:  "/",
			Env: []string{
				"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				// Without it runc reads the sandbox's /etc/passwd for it.
				"HOME=/root",
				// How systemd, and scripts after it, see that they are in a container.
				"container=cove",
			},
			// No ambient and no inheritable ones: programs of users other
			// than root start with none.
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: in.Spec.NoNewPrivileges,
			ApparmorProfile: in.Host.AppArmorProfile,
			Rlimits:         rlimits(in.Host.NoFile),
			OOMScoreAdj:     new(max(0, in.Host.OOMScoreAdj)),
		},
		Mounts:      append(mounts(in), in.Devices.Mounts...),
		Annotations: map[string]string{AnnotationID: in.ID},
		Linux: &specs.Linux{
			UIDMappings: ids,
			GIDMappings: slices.Clone(ids),
			// The network namespace is made inside the user namespace: sysfs
			// cannot be mounted over one that an outer one owns.
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace, Path: in.UserNS}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace, Path: in.NetNS},
				{Type: specs.CgroupNamespace},
			},
			CgroupsPath:       in.CgroupsPath,
			Resources:         resources,
			RootfsPropagation: "rprivate",
			Sysctl: map[string]string{
				// All gids that exist inside may ping without a raw socket.
				"net.ipv4.ping_group_range":           fmt.Sprintf("0 %d", UIDRange-1),
				"net.ipv4.ip_unprivileged_port_start": "0",
			},
			MaskedPaths:   maskedPaths(in.Host),
			ReadonlyPaths: readonlyPaths(),
		},
	}
	if d := in.Devices; len(d.CreateContainer)+len(d.StartContainer) > 0 {
		spec.Hooks = &specs.Hooks{CreateContainer: d.CreateContainer, StartContainer: d.StartContainer}
	}
	if in.Host.KeepRlimits {
		spec.Process.Rlimits = nil
	}
	if in.UserNS != "" {
		// The namespace has its maps: naming them again is not valid.
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = nil, nil
	}
	if spec.Linux.Seccomp, err = syscallFilter(spec); err != nil {
		return nil, err
	}
	if writesAsRoot(in.Spec) {
		forbidSetuid(spec.Linux.Seccomp)
	}
	if writesToHost(in.Spec) {
		forbidPreallocation(spec.Linux.Seccomp)
	}
	return spec, nil
}

// rlimits gives the limits that differ from the daemon's own; none may be
// above its hard limit.
func rlimits(hard uint64) []specs.POSIXRlimit {
	hard = min(cmp.Or(hard, hardNoFile), hardNoFile)
	return []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: min(softNoFile, hard), Hard: hard}}
}

// Write puts the bundle's config.json into dir, replacing the one that is
// there. It is not forced to the disk: a bundle is made anew at each start.
func Write(dir string, spec *specs.Spec) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode the bundle: %w", err)
	}
	tmp, err := os.CreateTemp(dir, "."+ConfigFile+"-*")
	if err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	_, err = tmp.Write(data)
	err = cmp.Or(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, ConfigFile))
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write the bundle: %w", err)
	}
	return nil
}
