package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// LeaseDir is where all daemons of a machine keep their leases.
const LeaseDir = "/run/cove-leases"

// Lease is the use of number N of a kind of thing that the daemons of one
// machine share: uid ranges, subnets, ports.
type Lease struct {
	Kind string `json:"kind"`
	N    int    `json:"n"`
	// Inst and StateDir say whose it is, Sandbox what for.
	Inst     string `json:"inst"`
	StateDir string `json:"state_dir"`
	Sandbox  string `json:"sandbox"`
	// Pid and StartTime name the process that stands for the lease: the daemon
	// at first, PID 1 of the sandbox once it runs.
	Pid       int    `json:"pid"`
	StartTime uint64 `json:"starttime"`
	Boot      string `json:"boot"`
}

// Leases gives out leases. Each is a file below one directory, changed only
// under that directory's flock(2): a lease outlives the daemon that took it, as
// the sandbox does, and ends when it is released, when the machine has booted
// since, or when nobody is there any more whose it could be. Its methods may be
// called by any goroutine.
type Leases struct {
	path  string
	owner Lease // what the leases of this daemon have in common

	turn chan struct{} // capacity 1: holds a token while a goroutine works in the directory

	mu       sync.Mutex
	released map[string][]int // by kind, the latest last
	next     map[string]int   // by kind, where to look first
}

// LeaseOptions say for whom leases are taken.
type LeaseOptions struct {
	// Dir is [LeaseDir] but in tests; it is made where there is none.
	Dir string
	// Inst and StateDir are the daemon's, which holds the state directory's
	// lock ([LockDir]) for as long as it uses the leases.
	Inst, StateDir string
	// Boot is the machine's boot id.
	Boot string
}

// OpenLeases opens the leases of a machine for one daemon. Errors: those of
// [LockDir]'s directories.
func OpenLeases(opt LeaseOptions) (*Leases, error) {
	if !validInst(opt.Inst) || opt.StateDir == "" || opt.Boot == "" {
		return nil, fmt.Errorf("%w lease options %+v", ErrInvalid, opt)
	}
	d, err := openOwned(opt.Dir, 0o755)
	if err != nil {
		return nil, fmt.Errorf("open the leases: %w", err)
	}
	defer d.Close()
	start, err := ProcStart(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("open the leases: %w", err)
	}
	return &Leases{
		path:     opt.Dir,
		owner:    Lease{Inst: opt.Inst, StateDir: opt.StateDir, Pid: os.Getpid(), StartTime: start, Boot: opt.Boot},
		turn:     make(chan struct{}, 1),
		released: map[string][]int{}, next: map[string]int{},
	}, nil
}

// Kind is a kind of thing to lease.
type Kind struct {
	// Name is of small letters.
	Name string
	// Count is how many there are, numbered from 0.
	Count int
	// Skip, when set, tells which numbers may not be given out.
	Skip func(n int) bool
	// InUse, when set, is asked about leases whose owners seem to be gone: true
	// keeps the number from being given out again.
	InUse func(n int) (bool, error)
}

// Acquire leases one of a kind to a sandbox: the one that this daemon released
// last, so that what the kernel still keeps for it is used again, else one that
// nobody has, else one whose owner is gone. [ErrExhausted]: there is none.
func (l *Leases) Acquire(ctx context.Context, k Kind, sandbox string) (Lease, error) {
	if err := validKind(k.Name); err != nil {
		return Lease{}, err
	}
	lease := l.owner
	lease.Kind, lease.Sandbox = k.Name, sandbox
	err := l.locked(ctx, func(dir *os.File) error {
		n, err := l.pick(dir, k)
		if err != nil {
			return err
		}
		lease.N = n
		return putLease(dir, lease)
	})
	if err != nil {
		return Lease{}, fmt.Errorf("lease a %s: %w", k.Name, err)
	}
	return lease, nil
}

// pick finds a free number. The directory is locked.
func (l *Leases) pick(dir *os.File, k Kind) (int, error) {
	usable := func(n int) bool { return n < k.Count && (k.Skip == nil || !k.Skip(n)) }
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := l.released[k.Name]; len(r) > 0; r = l.released[k.Name] {
		n := r[len(r)-1]
		l.released[k.Name] = r[:len(r)-1]
		if free, err := isFree(dir, k.Name, n); err != nil || free && usable(n) {
			return n, err
		}
	}
	from := l.next[k.Name]
	for i := range k.Count {
		n := (from + i) % k.Count
		if !usable(n) {
			continue
		}
		if free, err := isFree(dir, k.Name, n); err != nil {
			return 0, err
		} else if free {
			l.next[k.Name] = n + 1
			return n, nil
		}
	}
	for n := range k.Count {
		if !usable(n) {
			continue
		}
		if stale, err := l.stale(dir, k, n); err != nil || stale {
			return n, err
		}
	}
	return 0, ErrExhausted
}

// Own records which process stands for a lease of this instance's from now on:
// while it lives the lease stays, whatever becomes of the daemon.
func (l *Leases) Own(kind string, n, pid int, starttime uint64) error {
	err := l.locked(context.Background(), func(dir *os.File) error {
		lease, err := l.mine(dir, kind, n)
		if err != nil {
			return err
		}
		lease.Pid, lease.StartTime, lease.Boot = pid, starttime, l.owner.Boot
		return putLease(dir, lease)
	})
	if err != nil {
		return fmt.Errorf("own %s %d: %w", kind, n, err)
	}
	return nil
}

// Assign makes a lease of this instance's another sandbox's.
func (l *Leases) Assign(kind string, n int, sandbox string) error {
	err := l.locked(context.Background(), func(dir *os.File) error {
		lease, err := l.mine(dir, kind, n)
		if err != nil {
			return err
		}
		lease.Sandbox = sandbox
		return putLease(dir, lease)
	})
	if err != nil {
		return fmt.Errorf("assign %s %d: %w", kind, n, err)
	}
	return nil
}

// Release gives a lease of this instance's back; one that is not there is no
// error. [ErrForeign]: it is another's by now, which keeps it.
func (l *Leases) Release(kind string, n int) error {
	err := l.locked(context.Background(), func(dir *os.File) error {
		if _, err := l.mine(dir, kind, n); err != nil {
			return err
		}
		return unlinkAt(dir, leaseName(kind, n))
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release %s %d: %w", kind, n, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released[kind] = append(l.released[kind], n)
	return nil
}

// ListOwn gives this instance's leases of a kind, those of a killed daemon
// before this one among them.
func (l *Leases) ListOwn(kind string) ([]Lease, error) {
	var own []Lease
	err := l.locked(context.Background(), func(dir *os.File) error {
		names, err := dir.Readdirnames(-1)
		if err != nil {
			return err
		}
		for _, name := range names {
			n, ok := leaseNumber(kind, name)
			if !ok {
				continue
			}
			lease, err := l.mine(dir, kind, n)
			switch {
			case err == nil:
				own = append(own, lease)
			case !errors.Is(err, ErrForeign) && !errors.Is(err, ErrCorrupt):
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the leases: %w", err)
	}
	return own, nil
}

// Sweep removes the leases of a kind that nobody can come back for: those of
// earlier boots, and of state directories that are gone while nothing of them
// runs.
func (l *Leases) Sweep(ctx context.Context, k Kind) error {
	err := l.locked(ctx, func(dir *os.File) error {
		names, err := dir.Readdirnames(-1)
		if err != nil {
			return err
		}
		for _, name := range names {
			n, ok := leaseNumber(k.Name, name)
			if !ok {
				continue
			}
			lease, err := getLease(dir, k.Name, n)
			if err != nil || lease.Boot == l.owner.Boot && exists(lease.StateDir) {
				continue
			}
			if stale, err := l.stale(dir, k, n); err != nil || !stale {
				continue // it is in the way of nobody
			}
			if err := unlinkAt(dir, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sweep the leases: %w", err)
	}
	return nil
}

func exists(path string) bool {
	var st unix.Stat_t
	return !errors.Is(unix.Stat(path, &st), unix.ENOENT)
}

// mine reads a lease that must be this instance's.
func (l *Leases) mine(dir *os.File, kind string, n int) (Lease, error) {
	lease, err := getLease(dir, kind, n)
	if err == nil && (lease.Inst != l.owner.Inst || lease.StateDir != l.owner.StateDir) {
		return lease, fmt.Errorf("%w, %s of %s", ErrForeign, lease.Inst, lease.StateDir)
	}
	return lease, err
}

// stale tells whether a lease can be given to another: its owners are all gone.
func (l *Leases) stale(dir *os.File, k Kind, n int) (bool, error) {
	lease, err := getLease(dir, k.Name, n)
	own := err == nil && lease.Inst == l.owner.Inst && lease.StateDir == l.owner.StateDir
	switch {
	case errors.Is(err, ErrCorrupt): // by a power cut or by hand: nobody to ask but the kernel
	case err != nil:
		return false, err
	case alive(lease.Pid, lease.StartTime), !own && held(lease.StateDir):
		return false, nil
	case lease.Boot != l.owner.Boot: // whatever had it ended with that boot
		return true, nil
	case own:
		return false, nil
	}
	if k.InUse == nil {
		return err == nil, nil
	}
	used, err := k.InUse(n)
	return err == nil && !used, err
}

const lockTimeout = 10 * time.Second

// locked calls f with the directory opened and locked. Under the lock nobody
// does more than look at some files; where it is not to be had for long, a
// daemon was stopped in the middle.
func (l *Leases) locked(ctx context.Context, f func(dir *os.File) error) error {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// Opened each time: it may have been removed and made again.
	dir, err := openOwned(l.path, 0o755)
	if err != nil {
		return err
	}
	defer dir.Close() // unlocks
	if err := flock(ctx, dir); err != nil {
		return err
	}
	return noSpace(f(dir))
}

// flock takes the lock of an open directory, or gives up when ctx ends.
// flock(2) cannot be waited for together with anything else, hence the tries.
func flock(ctx context.Context, dir *os.File) error {
	pause := 100 * time.Microsecond
	for {
		err := restart(func() error { return unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", dir.Name(), err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("lock %s: %w", dir.Name(), context.Cause(ctx))
		}
		pause = min(2*pause, 5*time.Millisecond)
	}
}

func isFree(dir *os.File, kind string, n int) (bool, error) {
	var st unix.Stat_t
	err := restart(func() error {
		return unix.Fstatat(int(dir.Fd()), leaseName(kind, n), &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	return false, err
}

// putLease writes a lease, whole or not at all. The directory is locked.
func putLease(dir *os.File, lease Lease) error {
	data, err := json.Marshal(lease)
	if err != nil {
		return err
	}
	// As Replace does it, less what the directory's lock makes needless.
	const tmp = ".lease.tmp"
	f, err := openAt(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = renameAt(dir, tmp, leaseName(lease.Kind, lease.N))
	}
	if err != nil {
		return errors.Join(err, unlinkAt(dir, tmp))
	}
	return nil
}

func getLease(dir *os.File, kind string, n int) (Lease, error) {
	var lease Lease
	data, err := readAt(dir, leaseName(kind, n), maxSmall)
	if err != nil {
		return lease, err
	}
	if err := decode(leaseName(kind, n), data, &lease); err != nil {
		return lease, err
	}
	if lease.Kind != kind || lease.N != n || lease.Boot == "" {
		return lease, fmt.Errorf("%s: %w: it says %s", leaseName(kind, n), ErrCorrupt, leaseName(lease.Kind, lease.N))
	}
	return lease, nil
}

func leaseName(kind string, n int) string { return kind + "-" + strconv.Itoa(n) }

func leaseNumber(kind, name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, kind+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= 0 && leaseName(kind, n) == name
}

func validKind(kind string) error {
	if kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz") != "" || kind == instKind {
		return fmt.Errorf("%w kind of lease %q", ErrInvalid, kind)
	}
	return nil
}
