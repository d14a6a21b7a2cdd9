package gpu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// Edits are what devices change of a sandbox, in OCI's terms.
type Edits struct {
	// Rules let the sandbox's control group open the devices; all others stay
	// closed.
	Rules  []specs.LinuxDeviceCgroup
	Mounts []specs.Mount
	// Hooks that the runtime runs in the sandbox's user namespace, with the
	// bundle as it lies on the host before them.
	CreateContainer, StartContainer []specs.Hook
	// Env is for the programs of the sandbox: NAME=VALUE.
	Env []string
}

// nodeMode lets everybody inside use a device that was given to the sandbox: the
// groups that own it on the host (render, video) do not exist inside.
const nodeMode = 0o666

// Prepare makes the device nodes of devices in dir, which it makes, for the user
// namespace that begins at host uid base, and gives what else the sandbox
// needs. The nodes are of a file system of their own there: the host's could
// not be opened where they are not open to all. Detach takes it away.
func (d *Driver) Prepare(dir string, base uint32, devices []Device) (Edits, error) {
	var all edits
	for i := range devices {
		all = all.with(devices[i].edits)
	}
	var out Edits
	if len(devices) == 0 {
		return out, nil
	}
	if err := makeNodes(dir, base, all.nodes, &out); err != nil {
		return Edits{}, errors.Join(err, d.Detach(dir))
	}
	for _, m := range all.mounts {
		if slices.ContainsFunc(out.Mounts, func(have specs.Mount) bool { return have.Destination == m.Destination }) {
			continue
		}
		if _, err := os.Stat(m.Source); err != nil {
			return Edits{}, errors.Join(&StaleError{Path: m.Source, Source: devices[0].Source}, d.Detach(dir))
		}
		out.Mounts = append(out.Mounts, m)
	}
	// Mounts below others come after them.
	slices.SortStableFunc(out.Mounts, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	out.Env = lastOfEach(all.env)
	for _, h := range all.hooks {
		list := &out.CreateContainer
		if h.stage == hookStartContainer {
			list = &out.StartContainer
		}
		same := func(have specs.Hook) bool {
			return have.Path == h.hook.Path && slices.Equal(have.Args, h.hook.Args) && slices.Equal(have.Env, h.hook.Env)
		}
		if !slices.ContainsFunc(*list, same) {
			*list = append(*list, h.hook)
		}
	}
	return out, nil
}

// StaleError is something that a device's description names and that is not
// there: the description is older than the driver, or the driver is not loaded.
type StaleError struct{ Path, Source string }

func (e *StaleError) Error() string {
	return fmt.Sprintf("%s, which the GPU needs by %s, is not there", e.Path, e.Source)
}

// lastOfEach keeps of variables that are set twice the later.
func lastOfEach(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		out = slices.DeleteFunc(out, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		out = append(out, kv)
	}
	return out
}

// makeNodes mounts a file system at dir and makes nodes in it, and says in out
// where they go.
func makeNodes(dir string, base uint32, nodes []node, out *Edits) error {
	if len(nodes) == 0 {
		return nil
	}
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the directory of device nodes: %w", err)
	}
	// No nodev: they are to be opened. Nothing else ever lies there.
	options := fmt.Sprintf("mode=0711,size=64k,nr_inodes=%d", 2*len(nodes)+8)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, options); err != nil {
		return &os.PathError{Op: "mount", Path: dir, Err: err}
	}
	for i, n := range nodes {
		if slices.ContainsFunc(nodes[:i], func(before node) bool { return before.path == n.path }) {
			continue
		}
		rdev, err := number(n.host)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return &StaleError{Path: n.host, Source: "its description"}
			}
			return err
		}
		path := filepath.Join(dir, strconv.Itoa(i))
		err = unix.Mknod(path, unix.S_IFCHR|nodeMode, int(rdev))
		switch {
		case errors.Is(err, unix.EPERM):
			// A daemon in a container may not make nodes; the host's does where
			// it is open to all.
			path = n.host
		case err != nil:
			return &os.PathError{Op: "mknod", Path: path, Err: err}
		default:
			// The umask took of it; to the sandbox it is its root's.
			if err := errors.Join(os.Chmod(path, nodeMode), os.Lchown(path, int(base), int(base))); err != nil {
				return fmt.Errorf("give a device node to the sandbox: %w", err)
			}
		}
		out.Mounts = append(out.Mounts, specs.Mount{Destination: n.path, Type: "bind", Source: path, Options: []string{"bind", "nosuid", "noexec", "rprivate"}})
		if n.access != "" {
			major, minor := int64(unix.Major(rdev)), int64(unix.Minor(rdev))
			out.Rules = append(out.Rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: n.access})
		}
	}
	return nil
}

// Detach takes away what Prepare made at dir; the sandbox that was given it keeps
// it. Nothing there is no error.
func (d *Driver) Detach(dir string) error {
	if err := mount.Unmount(dir); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the directory of device nodes: %w", err)
	}
	return nil
}
