package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

const (
	// uidFirst is where the ranges begin: systemd's "Users, Groups, UIDs and
	// GIDs on systemd Systems" leaves 1879048192..2147352575 to nobody.
	uidFirst = 1879048192
	// uidRange is how many uids a sandbox has, uidCount how many ranges fit.
	uidRange = 65536
	uidCount = 4092
	uidKind  = "uid"
)

// UIDLeases hands out ranges of 65536 uids, and as many gids of the same
// numbers, so that no two sandboxes of this machine have one in common. Its
// methods may be called by any goroutine.
type UIDLeases struct {
	leases *Leases
	// subIDs are the files of ranges that the machine's users have.
	subIDs []string
}

// OpenUIDLeases opens the machine's leases of uid ranges for one daemon; see
// [LeaseOptions] for the arguments. dir is [LeaseDir] but in tests.
func OpenUIDLeases(dir, inst, stateDir, boot string) (*UIDLeases, error) {
	l, err := OpenLeases(LeaseOptions{Dir: dir, Inst: inst, StateDir: stateDir, Boot: boot})
	if err != nil {
		return nil, err
	}
	u := &UIDLeases{leases: l, subIDs: []string{"/etc/subuid", "/etc/subgid"}}
	if err := l.Sweep(context.Background(), u.kind(nil)); err != nil {
		return nil, err
	}
	return u, nil
}

// kind is that of the ranges, without those that overlap the taken ones.
func (u *UIDLeases) kind(taken []idRange) Kind {
	return Kind{
		Name: uidKind, Count: uidCount, InUse: uidsInUse,
		Skip: func(n int) bool {
			first := uint64(uidBase(n))
			for _, r := range taken {
				if first <= r.last && r.first <= first+uidRange-1 {
					return true
				}
			}
			return false
		},
	}
}

// Acquire leases a range to the sandbox and returns its first uid. It overlaps
// no range of subuid(5) and subgid(5). [ErrExhausted]: all are taken.
func (u *UIDLeases) Acquire(ctx context.Context, sandbox string) (base uint32, err error) {
	taken, err := u.takenByUsers()
	if err != nil {
		return 0, err
	}
	lease, err := u.leases.Acquire(ctx, u.kind(taken), sandbox)
	if err != nil {
		return 0, err
	}
	return uidBase(lease.N), nil
}

// Own records which process stands for the lease, so that others see that it is
// in use when this daemon is gone.
func (u *UIDLeases) Own(base uint32, pid int, starttime uint64) error {
	n, err := uidNumber(base)
	if err != nil {
		return err
	}
	return u.leases.Own(uidKind, n, pid, starttime)
}

// Assign makes a range of this instance's another sandbox's.
func (u *UIDLeases) Assign(base uint32, sandbox string) error {
	n, err := uidNumber(base)
	if err != nil {
		return err
	}
	return u.leases.Assign(uidKind, n, sandbox)
}

// Release gives the range back. No process with one of its uids may be left.
func (u *UIDLeases) Release(base uint32) error {
	n, err := uidNumber(base)
	if err != nil {
		return err
	}
	return u.leases.Release(uidKind, n)
}

// Mine lists this instance's leases: first uid to sandbox.
func (u *UIDLeases) Mine() (map[uint32]string, error) {
	own, err := u.leases.ListOwn(uidKind)
	if err != nil {
		return nil, err
	}
	m := make(map[uint32]string, len(own))
	for _, lease := range own {
		m[uidBase(lease.N)] = lease.Sandbox
	}
	return m, nil
}

func uidBase(n int) uint32 { return uint32(uidFirst + n*uidRange) }

func uidNumber(base uint32) (int, error) {
	n := (int64(base) - uidFirst) / uidRange
	if n < 0 || n >= uidCount || uidBase(int(n)) != base {
		return 0, fmt.Errorf("%w first uid %d", ErrInvalid, base)
	}
	return int(n), nil
}

type idRange struct{ first, last uint64 }

// takenByUsers reads the ranges that the machine's users may use. They are read
// each time: useradd adds to them while the daemon runs.
func (u *UIDLeases) takenByUsers() ([]idRange, error) {
	var ranges []idRange
	for _, path := range u.subIDs {
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read the users' uid ranges: %w", err)
		}
		ranges = append(ranges, parseSubIDs(data)...)
	}
	return ranges, nil
}

// parseSubIDs reads lines of owner:first:count (subuid(5)). What newuidmap(1)
// cannot read either gives nobody anything, and is passed over.
func parseSubIDs(data []byte) []idRange {
	var ranges []idRange
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) != 3 {
			continue
		}
		first, err := strconv.ParseUint(fields[1], 10, 32)
		count, cerr := strconv.ParseUint(fields[2], 10, 32)
		if err == nil && cerr == nil && count > 0 {
			ranges = append(ranges, idRange{first, first + count - 1})
		}
	}
	return ranges
}

// uidsInUse tells whether any process has a uid or gid of the range: one that a
// killed daemon was just about to confine, say.
func uidsInUse(n int) (bool, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false, fmt.Errorf("look for processes: %w", err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		status, err := readProc("/proc/" + e.Name() + "/status")
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("look for processes: %w", err)
		}
		if statusInRange(status, uint64(uidBase(n))) {
			return true, nil
		}
	}
	return false, nil
}

// statusInRange looks at the Uid, Gid and Groups lines of /proc/PID/status.
func statusInRange(status []byte, first uint64) bool {
	for line := range bytes.Lines(status) {
		key, ids, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(key) != "Uid" && string(key) != "Gid" && string(key) != "Groups" {
			continue
		}
		for _, f := range bytes.Fields(ids) {
			if id, err := strconv.ParseUint(string(f), 10, 32); err == nil && id >= first && id < first+uidRange {
				return true
			}
		}
	}
	return false
}
