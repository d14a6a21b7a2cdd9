package gpu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// hookTimeout, in seconds, is what a hook gets that names no time of its own.
const hookTimeout = 20

// Names of the hooks of OCI that a CDI specification may have and that cove
// runs: both in the sandbox's own user namespace (config.md, "POSIX-platform
// Hooks").
const (
	hookCreateContainer = "createContainer"
	hookStartContainer  = "startContainer"
)

// node is a device node of a sandbox.
type node struct {
	path   string // inside
	host   string
	access string // of "rw"
}

// hook is a program that the OCI runtime runs.
type hook struct {
	stage string
	hook  specs.Hook
}

// edits are what a device changes of a sandbox, checked.
type edits struct {
	nodes  []node
	mounts []specs.Mount
	env    []string
	hooks  []hook
}

// with is both together.
func (e edits) with(o edits) edits {
	return edits{slices.Concat(e.nodes, o.nodes), slices.Concat(e.mounts, o.mounts), slices.Concat(e.env, o.env), slices.Concat(e.hooks, o.hooks)}
}

// checkEdits takes over what a CDI specification wants changed, or says what of it
// cove does not do. Groups of the host's (additionalGids) mean nothing in the
// sandbox's user namespace; its nodes are open to all inside instead.
func checkEdits(c *cdi.ContainerEdits) (edits, error) {
	var e edits
	if len(c.NetDevices) > 0 {
		return e, errors.New("it moves network devices into the container")
	}
	if c.IntelRdt != nil {
		return e, errors.New("it sets Intel RDT classes")
	}
	for _, d := range c.DeviceNodes {
		n, err := checkNode(d)
		if err != nil {
			return e, err
		}
		e.nodes = append(e.nodes, n)
	}
	for _, m := range c.Mounts {
		mount, err := checkMount(m)
		if err != nil {
			return e, err
		}
		e.mounts = append(e.mounts, mount)
	}
	for _, kv := range c.Env {
		if strings.IndexByte(kv, '=') <= 0 || strings.IndexByte(kv, 0) >= 0 {
			return e, fmt.Errorf("the variable %q is not NAME=VALUE", kv)
		}
		e.env = append(e.env, kv)
	}
	for _, h := range c.Hooks {
		if needless(h) {
			continue
		}
		hook, err := checkHook(h)
		if err != nil {
			return e, err
		}
		e.hooks = append(e.hooks, hook)
	}
	return e, nil
}

func clean(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/" && strings.IndexByte(path, 0) < 0
}

func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func checkNode(d *cdi.DeviceNode) (node, error) {
	if d == nil {
		return node{}, errors.New("it has an empty device node")
	}
	n := node{path: d.Path, host: d.HostPath, access: "rw"}
	if n.host == "" {
		n.host = n.path
	}
	switch {
	case !clean(n.path) || !below(n.path, "/dev") || n.path == "/dev":
		return n, fmt.Errorf("the device node %q is not below /dev", n.path)
	case !clean(n.host):
		return n, fmt.Errorf("the device node %q of the host is no clean absolute path", n.host)
	case d.Type != "" && d.Type != "c" && d.Type != "u":
		return n, fmt.Errorf("the device node %s is not a character device", n.path)
	}
	if d.Permissions != "" {
		// Nobody makes nodes in a sandbox (the m of rwm).
		n.access = strings.ReplaceAll(strings.ReplaceAll(d.Permissions, "m", ""), "none", "")
	}
	if strings.Trim(n.access, "rw") != "" {
		return n, fmt.Errorf("the device node %s has the permissions %q", n.path, d.Permissions)
	}
	return n, nil
}

// checkMount takes bind mounts only. They are read-only, whatever they say, and
// have neither devices nor setuid programs.
func checkMount(m *cdi.Mount) (specs.Mount, error) {
	if m == nil {
		return specs.Mount{}, errors.New("it has an empty mount")
	}
	bind := m.Type == "" || m.Type == "bind" || m.Type == "none"
	switch {
	case !bind:
		return specs.Mount{}, fmt.Errorf("it mounts a %s at %s", m.Type, m.ContainerPath)
	case !clean(m.HostPath):
		return specs.Mount{}, fmt.Errorf("the mount's source %q is no clean absolute path", m.HostPath)
	case !clean(m.ContainerPath):
		return specs.Mount{}, fmt.Errorf("the mount's target %q is no clean absolute path", m.ContainerPath)
	}
	for _, own := range []string{"/proc", "/sys", "/dev", "/.cove", "/run/cove"} {
		if below(m.ContainerPath, own) {
			return specs.Mount{}, fmt.Errorf("it mounts %s over cove's own %s", m.HostPath, own)
		}
	}
	kind := "bind"
	if slices.Contains(m.Options, "rbind") {
		kind = "rbind"
	}
	return specs.Mount{Destination: m.ContainerPath, Type: "bind", Source: m.HostPath, Options: []string{kind, "ro", "nosuid", "nodev", "rprivate"}}, nil
}

// needless tells of a hook that does nothing for a sandbox of cove's: NVIDIA's (of
// its toolkit 1.20) that limits the memory of a card where variables of the bundle
// say so (NVIDIA_GPU_MEMORY_LIMIT). A bundle of cove's has no variables of anybody's.
func needless(h *cdi.Hook) bool {
	return h != nil && h.HookName == "createRuntime" && filepath.Base(h.Path) == "nvidia-cdi-hook" && slices.Contains(h.Args, "apply-cuda-memory-limits")
}

// checkHook takes hooks that run inside. The others would run as the host's root,
// on files that the sandbox has made.
func checkHook(h *cdi.Hook) (hook, error) {
	if h == nil {
		return hook{}, errors.New("it has an empty hook")
	}
	switch h.HookName {
	case hookCreateContainer, hookStartContainer:
	case "prestart", "createRuntime", "poststart", "poststop":
		return hook{}, fmt.Errorf("its %s hook %s would run as the host's root", h.HookName, h.Path)
	default:
		return hook{}, fmt.Errorf("it has a hook of the unknown kind %q", h.HookName)
	}
	out := hook{stage: h.HookName, hook: specs.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout}}
	if !clean(h.Path) {
		return out, fmt.Errorf("the hook's path %q is no clean absolute path", h.Path)
	}
	if h.HookName == hookCreateContainer {
		if _, err := trustedProgram(h.Path); err != nil {
			return out, fmt.Errorf("its hook cannot be run: %w", err)
		}
	}
	if out.hook.Timeout == nil || *out.hook.Timeout <= 0 {
		out.hook.Timeout = new(hookTimeout)
	}
	return out, nil
}

// number is what a device node of the host stands for.
func number(path string) (rdev uint64, err error) {
	// The nodes of a driver may be links (/dev/dri/by-path).
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return 0, fmt.Errorf("%s is not a character device", path)
	}
	return st.Rdev, nil
}

func key(rdev uint64) string { return fmt.Sprintf("c%d:%d", unix.Major(rdev), unix.Minor(rdev)) }
