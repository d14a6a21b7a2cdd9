package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode is how a host arranges its control groups.
type Mode string

// The modes.
const (
	Unified Mode = "v2"     // one hierarchy with every controller
	Hybrid  Mode = "hybrid" // v1 controllers, and a v2 hierarchy beside them
	Legacy  Mode = "v1"
)

// Where the OCI runtime looks for control groups
// (opencontainers/cgroups v0.1.0, utils.go).
const (
	mountRoot    = "/sys/fs/cgroup"
	unifiedMount = "/sys/fs/cgroup"
	hybridMount  = "/sys/fs/cgroup/unified"
)

// ErrNone: no control groups are mounted where they belong.
var ErrNone = errors.New("no control groups are mounted below " + mountRoot)

// Hierarchy is one mounted tree of control groups.
type Hierarchy struct {
	// Path is where it is mounted.
	Path string
	V2   bool
	// Controllers are those of a v1 hierarchy ("name=systemd" is one without);
	// of a v2 hierarchy those that its top group has.
	Controllers []string
}

// Layout is what control groups a host has, and the daemon's place in them.
type Layout struct {
	Mode        Mode
	Hierarchies []Hierarchy
	// Parent is the group in which cove-INST is made, "/" but where systemd
	// has handed a group of its own to the daemon's unit. As in the OCI spec,
	// it is relative to the mounts.
	Parent string
	// Delegated says that Parent is such a group.
	Delegated bool
}

// Detect finds out the machine's layout. It changes nothing. [ErrNone]: there
// are no control groups, or in no place where the OCI runtime finds them.
func Detect() (Layout, error) { return detect("/") }

// detect is Detect of a machine whose files are below root.
func detect(root string) (Layout, error) {
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return Layout{}, fmt.Errorf("find the control groups: %w", err)
	}
	own, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return Layout{}, fmt.Errorf("find the daemon's control group: %w", err)
	}
	found := parseMounts(mounts)
	l := Layout{Parent: "/"}
	for _, m := range found {
		h := Hierarchy{Path: filepath.Join(root, m.target), V2: m.v2, Controllers: m.controllers}
		if m.v2 {
			data, err := os.ReadFile(filepath.Join(h.Path, "cgroup.controllers"))
			if err != nil {
				return Layout{}, fmt.Errorf("read the controllers: %w", err)
			}
			h.Controllers = strings.Fields(string(data))
		}
		l.Hierarchies = append(l.Hierarchies, h)
	}
	is := func(m groupMount) bool { return m.v2 && m.target == unifiedMount }
	switch i := slices.IndexFunc(found, is); {
	case len(found) == 0:
		return Layout{}, ErrNone
	case i >= 0:
		// The runtime looks at the file system there and nowhere else.
		l.Mode, l.Hierarchies = Unified, l.Hierarchies[i:i+1]
		l.Parent, l.Delegated = delegated(l.Hierarchies[0].Path, ownGroup(own, found[i].root))
	case slices.ContainsFunc(found, func(m groupMount) bool { return m.v2 }):
		l.Mode = Hybrid
	default:
		l.Mode = Legacy
	}
	return l, nil
}

// groupMount is a control group file system in mountinfo.
type groupMount struct {
	root, target string
	v2           bool
	controllers  []string
}

// parseMounts finds the control groups that the OCI runtime uses: those mounted
// at /sys/fs/cgroup or right below. A later mount hides an earlier one at the
// same place; of a v1 hierarchy that is mounted twice the first place counts,
// and of v2 beside v1 only the place called unified.
func parseMounts(mountinfo []byte) []groupMount {
	var found []groupMount
	scan := bufio.NewScanner(bytes.NewReader(mountinfo))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		m, ok := parseMount(scan.Text())
		if !ok {
			continue
		}
		found = slices.DeleteFunc(found, func(o groupMount) bool { return o.target == m.target || m.target == mountRoot })
		if m.controllers != nil || m.v2 {
			found = append(found, m)
		}
	}
	unified := slices.ContainsFunc(found, func(m groupMount) bool { return m.v2 && m.target == unifiedMount })
	seen := map[string]bool{}
	return slices.DeleteFunc(found, func(m groupMount) bool {
		if unified {
			return m.target != unifiedMount
		}
		if m.v2 {
			return m.target != hybridMount
		}
		key := strings.Join(m.controllers, ",")
		again := seen[key]
		seen[key] = true
		return again
	})
}

// parseMount reads one line of mountinfo (proc_pid_mountinfo(5)): id, parent,
// device, root, target, options, optional fields, a dash, type, source, options
// of the file system. Other file systems at the same places are returned too,
// without controllers: they hide what is below.
func parseMount(line string) (groupMount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(before), strings.Fields(after)
	if !ok || len(left) < 6 || len(right) < 3 {
		return groupMount{}, false
	}
	m := groupMount{root: unescape(left[3]), target: unescape(left[4])}
	if m.target != mountRoot && filepath.Dir(m.target) != mountRoot {
		return groupMount{}, false
	}
	switch right[0] {
	case "cgroup2":
		m.v2 = true
	case "cgroup":
		for o := range strings.SplitSeq(right[2], ",") {
			if name, named := strings.CutPrefix(o, "name="); named && name != "" || isController(o) {
				m.controllers = append(m.controllers, o)
			}
		}
	}
	return m, true
}

// isController tells a controller from the other options of a v1 mount
// (cgroups(7)).
func isController(option string) bool {
	switch option {
	case "rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "nofavordynmods", "none", "all":
		return false
	}
	return option != "" && !strings.Contains(option, "=")
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// ownGroup takes the v2 group out of /proc/self/cgroup and makes it relative to
// the mount, whose root may be a group itself (a container without a cgroup
// namespace). It is "/" where it cannot be seen from here.
func ownGroup(procSelfCgroup []byte, root string) string {
	for line := range strings.Lines(string(procSelfCgroup)) {
		group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		group = strings.TrimSuffix(group, " (deleted)")
		if root != "/" {
			rest, below := strings.CutPrefix(group, root)
			if !below || rest != "" && rest[0] != '/' {
				return "/"
			}
			group = "/" + strings.TrimPrefix(rest, "/")
		}
		if !filepath.IsAbs(group) || strings.HasPrefix(group, "/../") || group == "/.." || filepath.Clean(group) != group {
			return "/"
		}
		return group
	}
	return "/"
}

// daemonLeaf is the group below a delegated one in which the daemon itself is:
// a group that has controllers for others cannot have processes
// (cgroup-v2.rst, "No Internal Process Constraint"). The unit names it too
// (DelegateSubgroup=, systemd v254).
const daemonLeaf = "daemon"

// delegated finds the group that systemd has handed over: the one above, when
// the daemon was started in its leaf. systemd marks it (CGROUP_DELEGATION.md:
// user.delegate since v251, trusted.delegate before).
//
// A systemd that knows no leaf starts the daemon in the group itself. That is
// left alone: with sandboxes below, it could not be started there again (EBUSY),
// and they go on when the unit is restarted.
func delegated(mount, own string) (parent string, ok bool) {
	group := filepath.Dir(own)
	if filepath.Base(own) != daemonLeaf || group == "/" {
		return "/", false
	}
	for _, attr := range []string{"user.delegate", "trusted.delegate"} {
		value := make([]byte, 8)
		n, err := unix.Lgetxattr(filepath.Join(mount, group), attr, value)
		if err == nil && string(value[:n]) == "1" {
			return group, true
		}
	}
	return "/", false
}
