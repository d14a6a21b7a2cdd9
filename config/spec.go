// Package config turns TOML into validated structs: settings, profiles, and
// Spec, the one description of a sandbox that every other package shares. It
// imports nothing of cove; the built-in profiles come to it as an [io/fs.FS].
package config

import (
	"slices"
	"time"
)

// Spec is the one description of a sandbox: what a profile resolves to, what
// the daemon is given, keeps and validates again, and what every driver reads.
// It holds no secret: values of environment variables that come from the
// caller travel beside it (see [EnvVar]).
type Spec struct {
	// Profile is the name of the profile it was resolved from; only shown.
	Profile     string `json:"profile,omitempty"`
	Description string `json:"description,omitempty"`
	// Image is "host" or an image reference.
	Image string `json:"image"`
	// Language is what running a snippet of code uses.
	Language string   `json:"language,omitempty"`
	Shell    []string `json:"shell,omitempty"`
	// Command is what the sandbox is for, an agent say: it runs in the main
	// terminal session in place of the shell. Install is how its program can
	// be had, told where it is not there.
	Command []string `json:"command,omitempty"`
	Install string   `json:"install,omitempty"`
	// User is a name or "uid[:gid]" of the sandbox's own user database.
	User string `json:"user,omitempty"`
	// NoNewPrivileges is the kernel's no_new_privs bit for all that runs
	// inside: setuid programs, sudo among them, gain nothing.
	NoNewPrivileges bool     `json:"no_new_privileges"`
	Workdir         string   `json:"workdir,omitempty"`
	Setup           []string `json:"setup,omitempty"`
	Runtime         string   `json:"runtime,omitempty"`

	Resources  Resources         `json:"resources"`
	Network    Network           `json:"network"`
	Ports      []Port            `json:"ports,omitempty"`
	Env        map[string]EnvVar `json:"env,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Git        Git               `json:"git"`
	Mounts     []Mount           `json:"mounts,omitempty"`
	Volumes    []Volume          `json:"volumes,omitempty"`
	Automation Automation        `json:"automation"`
}

// Targets are the directories inside on which something from outside lies:
// those of the mounts, then those of the volumes.
func (s Spec) Targets() []string {
	targets := make([]string, 0, len(s.Mounts)+len(s.Volumes))
	for _, m := range s.Mounts {
		targets = append(targets, m.Target)
	}
	for _, v := range s.Volumes {
		targets = append(targets, v.Target)
	}
	return targets
}

// Resources are the limits the kernel holds a sandbox to. Zero means no limit
// unless the field says otherwise.
type Resources struct {
	// CPU is in cores, fractional.
	CPU float64 `json:"cpu"`
	// AllCPUs lets the sandbox run on every processor of the machine, and its
	// programs count them all. Without it a limit of cores, rounded up, is how
	// many processors it has. The limit holds either way.
	AllCPUs bool `json:"all_cpus,omitempty"`
	// Memory, Swap, Disk are in bytes. Swap 0 means none may be used.
	Memory      Size `json:"memory"`
	Swap        Size `json:"swap"`
	Disk        Size `json:"disk"`
	DiskReserve bool `json:"disk_reserve,omitempty"`
	// Pids counts processes and threads. The driver has to say "no limit"
	// to runc as -1: since its version 1.4 a limit of 0 means none at all.
	Pids      int64      `json:"pids"`
	GPU       GPURequest `json:"gpu"`
	GPUShared bool       `json:"gpu_shared,omitempty"`
	// IORead and IOWrite are in bytes per second.
	IORead  Size `json:"io_read"`
	IOWrite Size `json:"io_write"`
}

// GPURequest asks for a number of GPUs, or for the ones it names.
type GPURequest struct {
	Count int      `json:"count,omitempty"`
	IDs   []string `json:"ids,omitempty"`
}

// Network is the egress policy. The zero value is the open policy.
type Network struct {
	BlockAll  bool     `json:"block_all"`
	Allow     []string `json:"allow,omitempty"`
	Deny      []string `json:"deny,omitempty"`
	Domains   []string `json:"domains,omitempty"`
	LAN       bool     `json:"lan,omitempty"`
	HostPorts []int    `json:"host_ports,omitempty"`
	Ask       bool     `json:"ask,omitempty"`
}

// Port is a port of the sandbox that has a preview.
type Port struct {
	Port   int  `json:"port"`
	Public bool `json:"public,omitempty"`
}

// EnvVar is one environment variable: a value, or the promise that the caller
// brings it along at each start (From is "env"). Optional is a promise that may
// be broken: the sandbox starts without the variable where the caller has none.
type EnvVar struct {
	Value    string `json:"value,omitempty"`
	From     string `json:"from,omitempty"`
	Optional bool   `json:"optional,omitempty"`
}

// Git is who commits that are made inside are by, unless a repository or a
// user's own configuration inside says otherwise. It is no secret and carries no
// right: no credential of the caller's is passed.
type Git struct {
	// Identity has the client fill in what is empty of Name and Email from the
	// caller's own git configuration.
	Identity bool   `json:"identity"`
	Name     string `json:"name,omitempty"`
	Email    string `json:"email,omitempty"`
}

// Mount modes.
const (
	MountRO       = "ro"
	MountRW       = "rw"
	MountRWAsRoot = "rw-as-root"
	MountCOW      = "cow"
)

// Mount is a directory of the host seen inside.
type Mount struct {
	Source string `json:"source"`
	Target string `json:"target"`
	Mode   string `json:"mode"`
	// Within is the directory that Source must not lead out of, by whatever
	// links: that of the project whose profile asks for the mount. It is empty
	// for others, and does not travel: who opens the directory sees to it.
	Within string `json:"-"`
}

// Volume is a named volume attached at Target.
type Volume struct {
	Name     string `json:"name"`
	Target   string `json:"target"`
	Subpath  string `json:"subpath,omitempty"`
	Quota    Size   `json:"quota,omitempty"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Automation is what happens to a sandbox with time.
type Automation struct {
	AutoStop       Duration `json:"auto_stop"`
	AutoPause      Duration `json:"auto_pause"`
	StopTimeout    Duration `json:"stop_timeout"`
	PreStop        []string `json:"pre_stop,omitempty"`
	PreStopTimeout Duration `json:"pre_stop_timeout,omitempty"`
	AutoArchive    Duration `json:"auto_archive"`
	// AutoDelete counts from the stop: 0 is "as soon as it stops", Never is never.
	AutoDelete Duration `json:"auto_delete"`
	// TTL counts from the creation, by the wall clock: when it is over the
	// sandbox is stopped, and not started again; AutoDelete says what then.
	TTL Duration `json:"ttl"`
	// Activity lists the kinds of activity that keep AutoStop and AutoPause
	// off; empty is all of them.
	Activity []string `json:"activity,omitempty"`
}

// The kinds of activity.
const (
	// ActivityTerminal is a terminal session that somebody is attached to, that
	// has a program other than its shell in the foreground, or prints.
	ActivityTerminal = "terminal"
	// ActivityExec is a running exec, code or cp.
	ActivityExec = "exec"
	// ActivityPreview is an open connection to a preview: there are none yet.
	ActivityPreview = "preview"
	// ActivityCPU is a hundredth of a core in use or more.
	ActivityCPU = "cpu"
	// ActivityNetwork is a KiB a second or more, sent and received.
	ActivityNetwork = "network"
)

// Activities lists the kinds of activity.
func Activities() []string {
	return []string{ActivityTerminal, ActivityExec, ActivityPreview, ActivityCPU, ActivityNetwork}
}

// Counts lists the kinds of activity that count, in the order of [Activities].
// The caller owns the list.
func (a Automation) Counts() []string {
	return slices.DeleteFunc(Activities(), func(kind string) bool { return !a.Active(kind) })
}

// Active tells whether a kind of activity counts.
func (a Automation) Active(kind string) bool {
	return len(a.Activity) == 0 || slices.Contains(a.Activity, kind)
}

// DefaultPreStopTimeout is what the command before a stop may take where the
// profile does not say.
const DefaultPreStopTimeout = Duration(10 * time.Second)

// HookTimeout is what the command before a stop may take.
func (a Automation) HookTimeout() time.Duration {
	if a.PreStopTimeout == 0 {
		return DefaultPreStopTimeout.Std()
	}
	return a.PreStopTimeout.Std()
}

// Ephemeral tells whether the sandbox is deleted as soon as it stops.
func (a Automation) Ephemeral() bool { return a.AutoDelete == 0 }

// Size is a number of bytes. In TOML and on the command line it is written
// "512MiB", "4GiB" or a plain number; in JSON it is a number.
type Size int64

// Duration is a span of time. In TOML and on the command line it is written
// "90s", "7d" or "never"; in JSON it is a number of seconds, -1 for never.
type Duration time.Duration

// Never is the Duration of what does not happen by itself.
const Never Duration = -1
