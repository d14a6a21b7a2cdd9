package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"cove/config"
)

// Warnings says, a sentence each, which of the limits asked for this host does
// not enforce, and what its control groups cannot do at all. On a v2 host it is
// right once [Tree.Delegate] was called.
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
	switch t.layout.Mode {
	case Unified:
	case Hybrid:
		w = append(w, "cgroup v1 (hybrid): the limits hold, but there is no pressure information and no soft memory limit")
	case Legacy:
		w = append(w, "cgroup v1: the limits hold, but there is no pressure information and no soft memory limit")
	}
	return w
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
