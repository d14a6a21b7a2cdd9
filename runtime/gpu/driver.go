package gpu

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// Options are what a Driver is made of.
type Options struct {
	// Dirs are directories of CDI specifications to take devices from, and from
	// nowhere else. Nil is [DefaultDirs], and what the drivers of NVIDIA and
	// AMD have.
	Dirs []string
	// Log gets what no caller is told. Nil discards it.
	Log *slog.Logger
}

// Driver finds GPUs and prepares them. Its methods may be called at any time by
// any goroutine until Close.
type Driver struct {
	dirs    []string
	vendors bool // look beyond the directories
	log     *slog.Logger
	root    string // of /proc, /sys and /dev: "" but in tests
	meter   *meter

	mu     sync.Mutex
	nvidia nvidiaCache // guarded by mu
}

// New makes a Driver. It looks at nothing yet.
func New(o Options) *Driver {
	d := &Driver{dirs: o.Dirs, log: o.Log}
	if d.dirs == nil {
		d.dirs, d.vendors = DefaultDirs(), true
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.meter = newMeter(d.root)
	return d
}

// Close ends what the Driver does in the background. It fails never.
func (d *Driver) Close() error {
	d.meter.close()
	return nil
}

// Devices looks which GPUs there are now.
func (d *Driver) Devices(ctx context.Context) Inventory {
	d.mu.Lock()
	defer d.mu.Unlock()
	inv := Inventory{Looked: slices.Clone(d.dirs)}
	all, problems := readDirs(d.dirs)
	if d.vendors {
		has := func(domain string) bool {
			return slices.ContainsFunc(all, func(f found) bool { return f.vendor == domain })
		}
		if !has("nvidia.com") {
			more, bad := d.findNVIDIA(ctx)
			all, problems = append(all, more...), append(problems, bad...)
		}
		if !has("amd.com") {
			more, bad := d.findAMD()
			all, problems = append(all, more...), append(problems, bad...)
		}
		inv.Looked = append(inv.Looked, "the drivers of NVIDIA and AMD")
	}
	devices, bad := collect(all)
	inv.Devices, inv.Problems = devices, append(problems, bad...)
	d.describe(inv.Devices)
	return inv
}

// Check is one finding of a Probe: see package doctor.
type Check struct {
	Name   string
	OK     bool
	Detail string
}

// Probe tells which GPUs there are, and which descriptions of some are not used.
func (d *Driver) Probe(ctx context.Context) []Check {
	inv := d.Devices(ctx)
	var list []string
	for i := range inv.Devices {
		dev := &inv.Devices[i]
		list = append(list, fmt.Sprintf("%d %s %s (%s)", dev.Index, dev.ID, dev.Model, dev.Source))
	}
	detail := strings.Join(list, ", ")
	if detail == "" {
		detail = "none in " + strings.Join(inv.Looked, ", ")
	}
	checks := []Check{{Name: "GPUs", OK: true, Detail: detail}}
	for _, p := range inv.Problems {
		checks = append(checks, Check{Name: "GPUs of " + p.Source, Detail: "not used: " + p.Why})
	}
	return checks
}
