// Package doctor looks at the machine: what of it an instance has taken and no
// sandbox accounts for (the leak audit), and what the kernel lets cove do (the
// checks, found out by doing).
package doctor

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Leak is one thing of an instance's that no sandbox accounts for.
type Leak struct {
	Kind string // mount, cgroup, container, process, network, disk, loop, directory, lease, gpu, name
	What string
}

// Facts are what an audit knows before it looks: what should be there.
type Facts struct {
	Inst             string
	StateDir, RunDir string
	// Sandboxes are the ids that exist, Running those of them whose
	// processes may run.
	Sandboxes, Running map[string]bool
	// Kept are deleted sandboxes in the trash that can be brought back.
	Kept map[string]bool
	// Cgroups, Containers and Leases (by first uid) are what the drivers list.
	Cgroups, Containers []string
	Leases              map[uint32]string
	// Network is what the network's driver has of no sandbox.
	Network []string
	// GPUs are devices that are held for no sandbox that runs.
	GPUs []string
	// Disks are devices that serve images of sandboxes that do not run.
	Disks []string
	// Names are the links of the name directory.
	Names map[string]string
}

// Audit compares what is there with what should be. It needs root to see all
// mounts and processes; what it cannot read is an error, never "no leak".
func Audit(f Facts) ([]Leak, error) {
	var leaks []Leak
	add := func(kind, format string, a ...any) {
		leaks = append(leaks, Leak{Kind: kind, What: fmt.Sprintf(format, a...)})
	}
	for _, id := range f.Cgroups {
		if !f.Running[id] {
			add("cgroup", "cove-%s/%s", f.Inst, id)
		}
	}
	for _, id := range f.Containers {
		if !f.Running[id] {
			add("container", "%s", id)
		}
	}
	for base, id := range f.Leases {
		if !f.Running[id] {
			add("lease", "uids from %d for %s", base, id)
		}
	}
	for _, what := range f.Network {
		add("network", "%s", what)
	}
	for _, what := range f.GPUs {
		add("gpu", "%s", what)
	}
	for _, what := range f.Disks {
		add("disk", "%s", what)
	}
	for name, id := range f.Names {
		if !f.Sandboxes[id] {
			add("name", "%s -> %s", name, id)
		}
	}
	for _, look := range []func(Facts, func(string, string, ...any)) error{directories, mounts, processes, loops} {
		if err := look(f, add); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(leaks, func(a, b Leak) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What)) })
	return slices.Compact(leaks), nil
}

// directories looks for directories of sandboxes that do not exist or do not run.
func directories(f Facts, add func(string, string, ...any)) error {
	for _, d := range []struct {
		path  string
		known map[string]bool
	}{
		{filepath.Join(f.StateDir, "sandboxes"), f.Sandboxes},
		{filepath.Join(f.StateDir, "trash"), f.Kept},
		{filepath.Join(f.RunDir, "sandboxes"), f.Running},
		{filepath.Join(f.RunDir, "runc"), f.Running},
	} {
		entries, err := os.ReadDir(d.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("read %s: %w", d.path, err)
		}
		for _, e := range entries {
			if !d.known[e.Name()] {
				add("directory", "%s", filepath.Join(d.path, e.Name()))
			}
		}
	}
	return nil
}

// mounts looks in the machine's first mount namespace, where nothing of ours
// may ever be, and in this one, where only roots of running sandboxes may be.
func mounts(f Facts, add func(string, string, ...any)) error {
	run := filepath.Join(f.RunDir, "sandboxes")
	for _, file := range []string{"/proc/1/mountinfo", "/proc/self/mountinfo"} {
		own := file == "/proc/self/mountinfo"
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the mounts: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) < 5 {
				continue
			}
			target := unescape(fields[4])
			for _, dir := range []string{run, filepath.Join(f.StateDir, "sandboxes"), filepath.Join(f.StateDir, "layers")} {
				rest, below := strings.CutPrefix(target, dir+"/")
				id, _, _ := strings.Cut(rest, "/")
				if below && !(own && dir == run && f.Running[id]) {
					add("mount", "%s", target)
				}
			}
		}
	}
	return nil
}

// unescape undoes the octal escapes of mountinfo (proc_pid_mountinfo(5)).
func unescape(s string) string {
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

// processes looks for processes in control groups of sandboxes that do not run.
func processes(f Facts, add func(string, string, ...any)) error {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return fmt.Errorf("list the processes: %w", err)
	}
	ours := "/cove-" + f.Inst + "/"
	for _, file := range files {
		h, err := os.Open(file)
		if err != nil {
			continue // it has ended
		}
		scan := bufio.NewScanner(h)
		for scan.Scan() {
			_, rest, ok := strings.Cut(scan.Text(), ours)
			if !ok {
				continue
			}
			id, _, _ := strings.Cut(rest, "/")
			if dir := filepath.Dir(file); !f.Running[strings.TrimSuffix(id, " (deleted)")] && !ended(dir) {
				add("process", "pid %s of sandbox %s", filepath.Base(dir), id)
				break
			}
		}
		_ = h.Close()
	}
	return nil
}

// ended tells whether a process only waits to be reaped by its parent, which
// is the machine's init: it holds nothing any more.
func ended(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return true
	}
	// The state follows the name, which may hold anything, in parentheses.
	i := strings.LastIndex(string(data), ") ")
	return i >= 0 && i+2 < len(data) && (data[i+2] == 'Z' || data[i+2] == 'X')
}

// loops looks for loop devices on files below the state directory that are not
// disks of running sandboxes.
func loops(f Facts, add func(string, string, ...any)) error {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return fmt.Errorf("list the loop devices: %w", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // detached in between
		}
		backing := strings.TrimSuffix(strings.TrimSpace(string(data)), " (deleted)")
		rest, below := strings.CutPrefix(backing, f.StateDir+"/sandboxes/")
		id, name, _ := strings.Cut(rest, "/")
		if below && f.Running[id] && name == "disk.img" {
			continue
		}
		shared := strings.HasPrefix(backing, f.StateDir+"/layers/") || strings.HasPrefix(backing, f.StateDir+"/volumes/")
		if shared && slices.Contains(slices.Collect(maps.Values(f.Running)), true) {
			continue // of whom that is the Manager asks by the device's name
		}
		if strings.HasPrefix(backing, f.StateDir+"/") {
			add("loop", "%s on %s", filepath.Base(filepath.Dir(filepath.Dir(file))), backing)
		}
	}
	return nil
}
