package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"cove/config"
)

// ErrInUse: a limit of memory cannot be put below what is in use and cannot be
// given back.
var ErrInUse = errors.New("more is in use")

// The limits of a sandbox that runs are changed by these, each its controller's
// alone. Errors: fs.ErrNotExist when there is no such group, [ErrUnavailable]
// where this host has no such controller. A change that fails in its middle is
// undone by another call with what was before. Those of a sandbox whose programs
// are to live on are [Tree.ResizePids] and [Tree.ResizeMemory].

// group finds a sandbox's group that has a controller.
func (t *Tree) group(id, controller string) (dir string, v2 bool, err error) {
	if err := checkID(id); err != nil {
		return "", false, err
	}
	h, ok := t.with(controller)
	if !ok || !t.Has(controller) {
		return "", false, fmt.Errorf("no %s controller: %w", controller, ErrUnavailable)
	}
	return t.dir(h, id), h.V2, nil
}

// setting is a value for one of a group's files.
type setting struct{ file, value string }

func write(dir string, settings ...setting) error {
	for _, s := range settings {
		if err := writeFile(filepath.Join(dir, s.file), s.value); err != nil {
			return err
		}
	}
	return nil
}

// orMax is a limit as v2 has it, where 0 is none.
func orMax(n int64) string {
	if n == 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// SetCPU limits the cores that a sandbox may use, 0 for no limit, and its weight
// beside others in proportion.
func (t *Tree) SetCPU(id string, cores float64) error {
	dir, v2, err := t.group(id, "cpu")
	if err == nil {
		r := config.Resources{CPU: cores}
		if v2 {
			err = write(dir,
				setting{"cpu.max", orMax(r.CPUQuota()) + " " + strconv.Itoa(config.CPUPeriod)},
				setting{"cpu.weight", strconv.FormatUint(r.CPUWeight(), 10)})
		} else {
			quota := r.CPUQuota()
			if quota == 0 {
				quota = -1
			}
			err = write(dir,
				setting{"cpu.cfs_period_us", strconv.Itoa(config.CPUPeriod)},
				setting{"cpu.cfs_quota_us", strconv.FormatInt(quota, 10)},
				setting{"cpu.shares", strconv.FormatUint(r.CPUShares(), 10)})
		}
	}
	if err != nil {
		return fmt.Errorf("limit the processor time of %s: %w", id, err)
	}
	return nil
}

// SetPids limits the processes and threads of a sandbox, 0 for no limit. Those
// that are too many already go on.
func (t *Tree) SetPids(id string, n int64) error {
	dir, _, err := t.group(id, "pids")
	if err == nil {
		err = write(dir, setting{"pids.max", orMax(n)})
	}
	if err != nil {
		return fmt.Errorf("limit the processes of %s: %w", id, err)
	}
	return nil
}

// SetMemory limits the memory of a sandbox, and the swap on top of it; memory 0
// is no limit, swap 0 is none to be used.
//
// A limit below what is in use: version 1 of control groups takes back what it
// can and refuses with [ErrInUse] when that is not enough; version 2 takes it and
// kills until the rest fits. Look at [Tree.MemoryInUse] and call [Tree.Reclaim]
// before.
func (t *Tree) SetMemory(id string, memory, swap config.Size) error {
	dir, v2, err := t.group(id, "memory")
	switch {
	case err != nil:
	case v2:
		err = write(dir, setting{"memory.max", orMax(int64(memory))})
		if err == nil {
			err = optional(write(dir, setting{"memory.swap.max", strconv.FormatInt(int64(swap), 10)}))
		}
	default:
		err = setMemoryV1(dir, int64(memory), int64(swap))
	}
	if errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return fmt.Errorf("limit the memory of %s: %w", id, err)
	}
	return nil
}

// optional is an error, but for a file that this kernel does not have.
func optional(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// setMemoryV1 sets the two limits of v1: of memory, and of memory with swap,
// which must never be the smaller one.
func setMemoryV1(dir string, memory, swap int64) error {
	both := memory + swap
	if memory == 0 {
		memory, both = -1, -1
	}
	first, second := setting{"memory.limit_in_bytes", strconv.FormatInt(memory, 10)}, setting{"memory.memsw.limit_in_bytes", strconv.FormatInt(both, 10)}
	was, err := readFile(filepath.Join(dir, first.file))
	if err != nil {
		return err
	}
	if _, err := readFile(filepath.Join(dir, second.file)); errors.Is(err, fs.ErrNotExist) {
		return write(dir, first) // a kernel that does not count swap
	} else if err != nil {
		return err
	}
	// One that goes down may be refused, and comes before one that goes up: then
	// the other is as it was. Of two that go down memory is the first.
	if now, err := number(was); err != nil || memory < 0 || memory >= now {
		return write(dir, second, first)
	}
	if err := write(dir, first); err != nil {
		return err
	}
	if err := write(dir, second); err != nil {
		return errors.Join(err, write(dir, setting{first.file, string(was)}))
	}
	return nil
}

// SetMemoryHigh sets the amount of memory above which a sandbox is slowed down
// and what it uses is taken back, 0 for none (memory.high). Sandboxes have none
// by themselves: one that cannot give anything back then creeps for hours, where
// at the limit it is told so by a kill. It is for a shrink, which ends.
// [ErrUnavailable] on version 1.
func (t *Tree) SetMemoryHigh(id string, n config.Size) error {
	dir, v2, err := t.group(id, "memory")
	switch {
	case err != nil:
	case !v2:
		err = ErrUnavailable
	default:
		err = write(dir, setting{"memory.high", orMax(int64(n))})
	}
	if err != nil {
		return fmt.Errorf("press on the memory of %s: %w", id, err)
	}
	return nil
}

// MemoryInUse is what counts against the limit of memory now, the pages that the
// kernel would give back included, and the swap in use on top.
func (t *Tree) MemoryInUse(id string) (memory, swap config.Size, err error) {
	dir, v2, err := t.group(id, "memory")
	if err == nil {
		files := [2]string{"memory.usage_in_bytes", "memory.memsw.usage_in_bytes"}
		if v2 {
			files = [2]string{"memory.current", "memory.swap.current"}
		}
		var found [2]int64
		for i, file := range files {
			data, rerr := readFile(filepath.Join(dir, file))
			if i == 1 && (errors.Is(rerr, fs.ErrNotExist) || errors.Is(rerr, unix.EOPNOTSUPP)) {
				break // a kernel that does not count swap
			}
			if rerr == nil {
				found[i], rerr = number(data)
			}
			if err = rerr; err != nil {
				break
			}
			if i == 1 && !v2 {
				found[1] = max(0, found[1]-found[0])
			}
		}
		memory, swap = config.Size(found[0]), config.Size(found[1])
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory in use of %s: %w", id, err)
	}
	return memory, swap, nil
}

// reclaimStep is how much is asked for at a time: some milliseconds of work
// that cannot be broken off.
const reclaimStep = 16 << 20

// Reclaim has the kernel take back so many bytes of a sandbox's memory: caches,
// and what fits into its swap. It returns how many it asked for with success;
// fewer than n is no error: there is no more to be had. It fails with the cause
// of ctx's end, and with [ErrUnavailable] where the kernel cannot: before Linux
// 5.19, and on version 1, where lowering the limit does the same.
func (t *Tree) Reclaim(ctx context.Context, id string, n config.Size) (config.Size, error) {
	dir, v2, err := t.group(id, "memory")
	var done config.Size
	if err == nil && !v2 {
		err = ErrUnavailable
	}
	for err == nil && done < n {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
			break
		}
		step := min(n-done, reclaimStep)
		err = writeFile(filepath.Join(dir, "memory.reclaim"), strconv.FormatInt(int64(step), 10))
		switch {
		case err == nil:
			done += step
		case errors.Is(err, unix.EAGAIN):
			return done, nil
		case errors.Is(err, fs.ErrNotExist):
			if _, _, there := t.MemoryInUse(id); there == nil {
				err = ErrUnavailable
			}
		}
	}
	if err != nil {
		return done, fmt.Errorf("reclaim memory of %s: %w", id, err)
	}
	return done, nil
}

// SetCPUs says on which processors a sandbox runs, as a list ("0-2,5"); empty
// for all. What it is on now is left at once.
func (t *Tree) SetCPUs(id, list string) error {
	dir, v2, err := t.group(id, "cpuset")
	if err == nil {
		if list == "" && !v2 {
			list, err = allCPUs(dir, v2)
		}
		if err == nil {
			err = write(dir, setting{"cpuset.cpus", list + "\n"})
		}
		if list == "" && errors.Is(err, unix.ENOSPC) {
			// Once there is a set, v2 takes none that is empty while processes
			// are in the group (validate_change of kernel/cgroup/cpuset.c).
			if list, err = allCPUs(dir, v2); err == nil {
				err = write(dir, setting{"cpuset.cpus", list + "\n"})
			}
		}
	}
	if err != nil {
		return fmt.Errorf("choose the processors of %s: %w", id, err)
	}
	return nil
}

// CPUs is the set that [Tree.SetCPUs] has set: empty for all.
func (t *Tree) CPUs(id string) (string, error) {
	dir, v2, err := t.group(id, "cpuset")
	var own []byte
	var all string
	if err == nil {
		own, err = readFile(filepath.Join(dir, "cpuset.cpus"))
	}
	if err == nil {
		all, err = allCPUs(dir, v2)
	}
	if err != nil {
		return "", fmt.Errorf("read the processors of %s: %w", id, err)
	}
	if list := string(bytes.TrimSpace(own)); list != all {
		return list, nil
	}
	return "", nil
}

// allCPUs are those of the group above. v1 has no set for all, and none that is
// empty.
func allCPUs(dir string, v2 bool) (string, error) {
	file := "cpuset.cpus"
	if v2 {
		file = "cpuset.cpus.effective"
	}
	data, err := readFile(filepath.Join(filepath.Dir(dir), file))
	return string(bytes.TrimSpace(data)), err
}

// SetIO limits the bytes per second that a sandbox reads from a device and writes to
// it, 0 for no limit. On version 1 that holds for direct and for read data only:
// what is written to a cache is written back in nobody's name.
func (t *Tree) SetIO(id string, d Device, read, write config.Size) error {
	dir, v2, err := t.group(id, "io")
	switch {
	case err != nil:
	case v2:
		err = writeFile(filepath.Join(dir, "io.max"), fmt.Sprintf("%v rbps=%s wbps=%s", d, orMax(int64(read)), orMax(int64(write))))
	default:
		err = errors.Join(
			writeFile(filepath.Join(dir, "blkio.throttle.read_bps_device"), fmt.Sprintf("%v %d", d, read)),
			writeFile(filepath.Join(dir, "blkio.throttle.write_bps_device"), fmt.Sprintf("%v %d", d, write)))
	}
	if err != nil {
		return fmt.Errorf("limit the disk's speed for %s: %w", id, err)
	}
	return nil
}
