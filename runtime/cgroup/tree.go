package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrInvalid: no instance or sandbox can have that name.
var ErrInvalid = errors.New("invalid")

// ErrUnavailable: this host's control groups cannot do it.
var ErrUnavailable = errors.New("not available on this host")

// Tree is the groups of one instance. Its methods may be called by any
// goroutine, those for the daemon's start and end apart.
type Tree struct {
	layout Layout
	inst   string
	// proc is where the host's processes are seen.
	proc string
	// lacking are the controllers that a v2 host has and did not give us.
	lacking []string
}

// Open is [Detect] and [New].
func Open(inst string) (*Tree, error) {
	l, err := Detect()
	if err != nil {
		return nil, err
	}
	return New(l, inst)
}

// New gives the groups of an instance, six hex digits, in a layout. It makes
// nothing; see [Tree.Delegate]. [ErrInvalid]: not an instance.
func New(l Layout, inst string) (*Tree, error) {
	if !hexDigits(inst, 6) {
		return nil, fmt.Errorf("%w instance %q", ErrInvalid, inst)
	}
	if len(l.Hierarchies) == 0 {
		return nil, ErrNone
	}
	return &Tree{layout: l, inst: inst, proc: "/proc"}, nil
}

func hexDigits(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" }

func checkID(id string) error {
	if !hexDigits(id, 12) {
		return fmt.Errorf("%w sandbox id %q", ErrInvalid, id)
	}
	return nil
}

// Mode tells how this host arranges its control groups.
func (t *Tree) Mode() Mode { return t.layout.Mode }

// top is the instance's own group, relative to the mounts.
func (t *Tree) top() string { return filepath.Join(t.layout.Parent, "cove-"+t.inst) }

// OCIPath is the cgroupsPath of a sandbox's bundle. The OCI runtime takes an
// absolute one as relative to the mount of each hierarchy, and makes what is
// missing of it.
func (t *Tree) OCIPath(id string) string { return filepath.Join(t.top(), id) }

// dir is the directory of a sandbox's group in a hierarchy.
func (t *Tree) dir(h Hierarchy, id string) string { return filepath.Join(h.Path, t.top(), id) }

// dirs are the directories of a sandbox's group in all hierarchies, v2 first:
// there it is ended at once. They need not exist.
func (t *Tree) dirs(id string) []string {
	var v2, v1 []string
	for _, h := range t.layout.Hierarchies {
		if h.V2 {
			v2 = append(v2, t.dir(h, id))
		} else {
			v1 = append(v1, t.dir(h, id))
		}
	}
	return append(v2, v1...)
}

// with finds the hierarchy that has a controller. v2 calls blkio io.
func (t *Tree) with(controller string) (Hierarchy, bool) {
	for _, h := range t.layout.Hierarchies {
		name := controller
		if name == "io" && !h.V2 {
			name = "blkio"
		}
		// Beside v1 the OCI runtime uses no controller of v2.
		if slices.Contains(h.Controllers, name) && (!h.V2 || t.layout.Mode == Unified) {
			return h, true
		}
	}
	return Hierarchy{}, false
}

// Has tells whether the OCI runtime can use a controller for our groups: cpu,
// cpuset, io, memory, pids, devices (always on v2) or freezer. On a v2 host the
// answer is right once [Tree.Delegate] was called.
func (t *Tree) Has(controller string) bool {
	if t.layout.Mode == Unified && (controller == "devices" || controller == "freezer") {
		return true // by programs and by cgroup.freeze
	}
	_, ok := t.with(controller)
	return ok && !slices.Contains(t.lacking, controller)
}

// wanted are the controllers that limits need.
func wanted() []string { return []string{"cpu", "cpuset", "io", "memory", "pids"} }

// Delegate makes the instance's group on a v2 host and enables in it every
// controller that the host gives us; which it does not, [Tree.Warnings] and
// [Tree.Has] tell. Under systemd the daemon moves to a leaf of its unit's
// group. On other hosts it does nothing: the OCI runtime makes the groups.
// Called once, by the starting daemon.
func (t *Tree) Delegate() error {
	if t.layout.Mode != Unified {
		return nil
	}
	mount := t.layout.Hierarchies[0].Path
	parent, top := filepath.Join(mount, t.layout.Parent), filepath.Join(mount, t.top())
	if t.layout.Delegated {
		if err := moveToLeaf(parent); err != nil {
			return fmt.Errorf("move to a leaf of the unit's control group: %w", err)
		}
	}
	if err := makeOpen(top); err != nil {
		return fmt.Errorf("make the instance's control group: %w", err)
	}
	t.lacking = nil
	for _, c := range wanted() {
		// One by one: one that cannot be had keeps no other away. The parent
		// may have enabled it already and be closed to us.
		perr := enable(parent, c)
		if err := enable(top, c); err != nil {
			t.lacking = append(t.lacking, c)
			if err = errors.Join(perr, err); !isRefusal(err) {
				return fmt.Errorf("enable the %s controller: %w", c, err)
			}
		}
	}
	return nil
}

// Make makes the sandbox's group on a unified host, before the OCI runtime would:
// in a control group namespace the kernel mounts cgroup2 only where the
// sandbox's root may search every directory down to its group, and the
// daemon's umask would close them. On others the runtime makes it.
func (t *Tree) Make(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if t.layout.Mode != Unified {
		return nil
	}
	if err := makeOpen(t.dir(t.layout.Hierarchies[0], id)); err != nil {
		return fmt.Errorf("make the control group: %w", err)
	}
	return nil
}

// makeOpen makes a directory that everybody may search, whatever the umask.
func makeOpen(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// enable gives a controller to the groups below dir.
func enable(dir, controller string) error {
	return writeFile(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
}

// isRefusal tells whether the kernel does not let us have a controller: there
// is none (ENOENT), processes are in the way (EBUSY, ENOTSUP), realtime ones in
// the way of cpu (EINVAL), or the group is another's (EACCES, EPERM, EROFS).
func isRefusal(err error) bool {
	for _, e := range []unix.Errno{unix.ENOENT, unix.EBUSY, unix.ENOTSUP, unix.EINVAL, unix.EACCES, unix.EPERM, unix.EROFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// moveToLeaf moves every process of the delegated group, all of which are the
// unit's and so ours, to the leaf.
func moveToLeaf(group string) error {
	leaf := filepath.Join(group, daemonLeaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for {
		pids, err := readProcs(group)
		if err != nil {
			return err
		}
		moved := 0
		for _, pid := range pids {
			err := writeFile(filepath.Join(leaf, "cgroup.procs"), fmt.Sprint(pid))
			switch {
			case err == nil:
				moved++
			case !errors.Is(err, unix.ESRCH): // ended meanwhile
				return err
			}
		}
		if moved == 0 {
			return nil
		}
	}
}

// RemoveTop removes the instance's own group from every hierarchy where no
// sandbox is in it; where one is it stays, which is no error. Called by the
// ending daemon.
func (t *Tree) RemoveTop() error {
	var errs []error
	for _, h := range t.layout.Hierarchies {
		err := rmdir(filepath.Join(h.Path, t.top()))
		if err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, fmt.Errorf("remove the instance's control group: %w", err))
		}
	}
	return errors.Join(errs...)
}

// List gives the names of all groups below the instance's own in any hierarchy,
// sorted: the ids of sandboxes, and what else has been put there.
func (t *Tree) List() ([]string, error) {
	var ids []string
	for _, h := range t.layout.Hierarchies {
		entries, err := os.ReadDir(filepath.Join(h.Path, t.top()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list the control groups: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				ids = append(ids, e.Name())
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
