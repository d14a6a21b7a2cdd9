package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

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
	var buf [1024]byte
	n, err := readSmall(path, buf[:])
	if err != nil {
		return 0, fmt.Errorf("count of kills for memory: %w", err)
	}
	kills, ok, err := keyed(buf[:n], "oom_kill")
	if err == nil && !ok {
		err = ErrUnavailable
	}
	if err != nil {
		return 0, fmt.Errorf("count of kills for memory: %s: %w", path, err)
	}
	return kills, nil
}

// readSmall reads a file of the kernel's that is as short as buf. It bypasses
// the runtime's poller, into which these files would go and which costs more
// than reading them.
func readSmall(path string, buf []byte) (int, error) {
	fd := -1
	err := restart(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	n := 0
	err = restart(func() (err error) {
		n, err = unix.Read(fd, buf)
		return err
	})
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return n, nil
}

func restart(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// keyed reads the number behind a key in a flat keyed file (cgroup-v2.rst).
func keyed(data []byte, key string) (value uint64, ok bool, err error) {
	for line := range bytes.Lines(data) {
		k, v, found := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if found && string(k) == key {
			value, err = strconv.ParseUint(string(v), 10, 64)
			return value, err == nil, err
		}
	}
	return 0, false, nil
}
