package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Rung is a way of making an overlay of id-mapped layers.
type Rung int

// The rungs, the best first.
const (
	// RungFD hands detached mounts over as descriptors (Linux 6.15).
	RungFD Rung = iota + 1
	// RungPath names attached mounts one by one (lowerdir+, Linux 6.7).
	RungPath
	// RungClassic names attached mounts in the options of mount(2) (Linux 5.19).
	RungClassic
)

func (r Rung) String() string {
	switch r {
	case RungFD:
		return "overlay by file descriptor"
	case RungPath:
		return "overlay by path"
	case RungClassic:
		return "overlay by mount(2)"
	}
	return "none"
}

// Check is one thing that was tried, for people to read.
type Check struct {
	Name   string
	OK     bool
	Detail string // why not, or a version, or ""
}

// Mounter makes overlays the way that works on this kernel. It may be used by
// any goroutine and holds nothing that needs closing.
type Mounter struct {
	rung      Rung
	attachDir string
	checks    []Check
}

// Config is what [Detect] needs.
type Config struct {
	// Scratch is an existing directory on the file system that will hold
	// layers and uppers: overlays are tried there.
	Scratch string
	// AttachDir is an existing directory, closed to others, in the caller's own
	// mount namespace (see [EnterPrivateNamespace]), where older kernels need
	// layers mounted for a moment.
	AttachDir string
	// IDMaps makes the map for the trial.
	IDMaps *IDMaps
	// Rungs are the ways to try, in this order; nil means all, best first.
	Rungs []Rung
}

// probeBase is a range of ids that the trial shifts to; no process runs there
// and nothing outlives the trial.
const probeBase = 1 << 30

// Detect finds the best rung by climbing: it makes an overlay each way, reads
// and writes through it, and looks at the owners that arrive on disk. It takes
// a few milliseconds and leaves nothing behind. Errors: [ErrNoIDMap], naming
// what is missing.
func Detect(ctx context.Context, c Config) (_ *Mounter, err error) {
	rungs := c.Rungs
	if rungs == nil {
		rungs = []Rung{RungFD, RungPath, RungClassic}
	}
	id, err := c.IDMaps.Get(ctx, probeBase)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, id.Close()) }()
	dir, err := os.MkdirTemp(c.Scratch, ".probe-")
	if err != nil {
		return nil, fmt.Errorf("try overlays: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	var checks []Check
	var failures []error
	for _, r := range rungs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m := &Mounter{rung: r, attachDir: c.AttachDir}
		err := m.try(filepath.Join(dir, fmt.Sprintf("%d", r)), id)
		if err == nil {
			m.checks = append(checks, Check{Name: r.String(), OK: true})
			return m, nil
		}
		checks = append(checks, Check{Name: r.String(), Detail: err.Error()})
		failures = append(failures, fmt.Errorf("%s: %w", r, err))
	}
	return nil, fmt.Errorf("%w: %w", ErrNoIDMap, errors.Join(failures...))
}

// Rung is the way this Mounter uses.
func (m *Mounter) Rung() Rung { return m.rung }

// Checks are the rungs that were tried, the one that worked last.
func (m *Mounter) Checks() []Check { return append([]Check(nil), m.checks...) }

// try makes one overlay in dir and uses it.
func (m *Mounter) try(dir string, id *IDMap) (err error) {
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "lower", "old"), []byte("old"), 0o644); err != nil {
		return err
	}
	lower, err := Clone(filepath.Join(dir, "lower"), id, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lower.Close()) }()
	rw, err := Clone(dir, id, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rw.Close()) }()
	merged, err := m.Overlay(Overlay{Lower: []*Tree{lower}, Upper: rw, UpperDir: "upper", WorkDir: "work"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, merged.Close()) }()

	old, err := OpenWithin(merged.Dir(), "old", unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("read through the overlay: %w", err)
	}
	defer func() { _ = old.Close() }()
	if err := wantOwner(old, id.Base()); err != nil {
		return fmt.Errorf("lower layer: %w", err)
	}
	fresh, err := OpenWithin(merged.Dir(), "new", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write through the overlay: %w", err)
	}
	defer func() { _ = fresh.Close() }()
	onDisk, err := os.Open(filepath.Join(dir, "upper", "new"))
	if err != nil {
		return fmt.Errorf("find what was written: %w", err)
	}
	defer func() { _ = onDisk.Close() }()
	if err := wantOwner(onDisk, IDs); err != nil {
		return fmt.Errorf("upper layer: %w", err)
	}
	return nil
}

func wantOwner(f *os.File, uid uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if st.Uid != uid || st.Gid != uid {
		return fmt.Errorf("owner is %d:%d, not %d", st.Uid, st.Gid, uid)
	}
	return nil
}
