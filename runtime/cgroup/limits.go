package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cove/config"
)

// Warnings says, a sentence each, which of the limits asked for this host does
// not enforce. What else it lacks [Tree.Describe] tells. On a v2 host it is right
// once [Tree.Delegate] was called.
func (t *Tree) Warnings(r config.Resources) []string {
	var w []string
	for _, limit := range []struct {
		asked           bool
		key, controller string
	}{
		{r.CPU > 0, "cpu", "cpu"},
		{r.Memory > 0, "memory", "memory"},
		{r.Pids > 0, "pids", "pids"},
		{r.IORead > 0, "io_read", "io"},
		{r.IOWrite > 0, "io_write", "io"},
	} {
		if limit.asked && !t.Has(limit.controller) {
			w = append(w, fmt.Sprintf("resources.%s is not enforced: this host gives cove no %s controller", limit.key, limit.controller))
		}
	}
	if r.Memory > 0 && t.Has("memory") && !t.limitsSwap() && t.hasSwap() {
		w = append(w, "resources.swap is not enforced: this kernel does not count swap for groups")
	}
	if r.CPU > 0 && !r.AllCPUs && !t.Has("cpuset") {
		w = append(w, "programs count this machine's processors: this host gives cove no cpuset controller")
	}
	if r.IOWrite > 0 && t.layout.Mode != Unified && t.Has("io") {
		w = append(w, "resources.io_write holds for direct writes only: cgroup v1")
	}
	return w
}

// Describe says, for people, where the instance's groups are, which controllers
// they have, and what this host cannot do. The error names controllers whose lack
// leaves sandboxes without limits. On a v2 host it is right once [Tree.Delegate]
// was called.
func (t *Tree) Describe() (string, error) {
	where := "below " + t.top()
	if t.layout.Mode == Unified {
		where = "at " + filepath.Join(t.layout.Hierarchies[0].Path, t.top())
	}
	if t.layout.Delegated {
		where += ", delegated by systemd"
	}
	var has, limits, others []string
	for _, c := range wanted() {
		switch {
		case t.Has(c):
			has = append(has, c)
		case c == "cpu" || c == "memory" || c == "pids":
			limits = append(limits, c)
		default:
			others = append(others, c)
		}
	}
	text := fmt.Sprintf("%s %s: %s", t.layout.Mode, where, strings.Join(has, " "))
	var lack []string
	if len(others) > 0 {
		lack = append(lack, "controllers "+strings.Join(others, ", "))
	}
	if t.Has("memory") && !t.limitsSwap() {
		lack = append(lack, "limits of swap")
	}
	if t.layout.Mode != Unified {
		lack = append(lack, "limits of writes that are cached", "bytes of disks that have no limit")
	}
	if t.layout.Mode == Legacy {
		lack = append(lack, "pressure")
	}
	if len(lack) > 0 {
		text += "; this host lacks " + strings.Join(lack, ", ")
	}
	if len(limits) > 0 {
		return text, fmt.Errorf("%s; no limits of %s: %w", text, strings.Join(limits, ", "), ErrUnavailable)
	}
	return text, nil
}

// limitsSwap tells whether the kernel limits swap for groups.
func (t *Tree) limitsSwap() bool {
	h, ok := t.with("memory")
	if !ok {
		return false
	}
	file := filepath.Join(h.Path, "memory.memsw.limit_in_bytes")
	if h.V2 {
		// The top group of all has no limits; ours has.
		file = filepath.Join(h.Path, t.top(), "memory.swap.max")
	}
	_, err := os.Stat(file)
	return err == nil
}

// hasSwap tells whether the host has swap that somebody could use. /proc/swaps
// has one line of headings.
func (t *Tree) hasSwap() bool {
	data, err := os.ReadFile(filepath.Join(t.proc, "swaps"))
	return err != nil || bytes.Count(data, []byte("\n")) > 1
}

// OOMKills is how many processes of a sandbox the kernel has killed for memory
// since its group was made. It reads one file, in some microseconds. Errors:
// fs.ErrNotExist when there is no such group, [ErrUnavailable] where the host
// does not count.
func (t *Tree) OOMKills(id string) (uint64, error) {
	if err := checkID(id); err != nil {
		return 0, err
	}
	h, ok := t.with("memory")
	if !ok {
		return 0, fmt.Errorf("count of kills for memory: %w", ErrUnavailable)
	}
	file := "memory.oom_control" // counts since Linux 4.13
	if h.V2 {
		file = "memory.events"
	}
	path := filepath.Join(t.dir(h, id), file)
	data, err := readFile(path)
	if err != nil {
		return 0, fmt.Errorf("count of kills for memory: %w", err)
	}
	kills, ok, err := keyed(data, "oom_kill")
	if err == nil && !ok {
		err = ErrUnavailable
	}
	if err != nil {
		return 0, fmt.Errorf("count of kills for memory: %s: %w", path, err)
	}
	return kills, nil
}
