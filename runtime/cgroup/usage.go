package cgroup

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Quantity is one of the things that are measured.
type Quantity string

// The quantities.
const (
	CPU        Quantity = "cpu"
	Memory     Quantity = "memory"
	MemoryPeak Quantity = "memory_peak"
	Swap       Quantity = "swap"
	Pids       Quantity = "pids"
	IO         Quantity = "io"
	Throttled  Quantity = "cpu_throttled"
	OOMs       Quantity = "oom_kills"
	// The pressures.
	CPUPressure    Quantity = "cpu_pressure"
	MemoryPressure Quantity = "memory_pressure"
	IOPressure     Quantity = "io_pressure"
)

// Quantities are all of them.
func Quantities() []Quantity {
	return []Quantity{CPU, Throttled, Memory, MemoryPeak, Swap, OOMs, Pids, IO, CPUPressure, MemoryPressure, IOPressure}
}

// Usage is what a sandbox's group and all below it use. Sizes are in bytes; a
// limit of 0 is none.
type Usage struct {
	// CPU is the processor time since the group was made, CPULimit in cores.
	CPU      time.Duration
	CPULimit float64
	// Throttled is for how long the limit has kept it from running.
	Throttled time.Duration
	// Memory is what counts against the limit less inactive_file, the pages
	// that the kernel gives back first. MemoryPeak is the most that ever
	// counted, those pages included.
	Memory, MemoryPeak, MemoryLimit int64
	Swap                            int64
	Pids, PidsLimit                 int64
	// OOMKills is how many processes the kernel has killed for memory.
	OOMKills int64
	// IORead and IOWrite are bytes that went between the group and the disks
	// below all others: what is read through a loop device, or one that is made
	// of others, counts once.
	IORead, IOWrite int64
	// The pressures are the part, 0 to 1, of the last ten seconds in which some
	// process of the group waited for that resource ("some avg10",
	// Documentation/accounting/psi.rst).
	CPUPressure, MemoryPressure, IOPressure float64
	// Missing are the quantities that this host does not tell. It is not to
	// be changed.
	Missing []Quantity
}

// figure is one file of a group and what is read from it. Figures are read in
// their order: later ones complete what earlier ones found.
type figure struct {
	// controller is one, or v2: the hierarchy of version 2, which counts some
	// things without one.
	controller, file string
	quantity         Quantity
	read             func(u *Usage, data []byte) error
}

// v2 in the place of a controller is the hierarchy of version 2.
const v2 = "v2"

// pressures are told by version 2, beside version 1 too: there the OCI runtime
// puts sandboxes into groups of both.
func pressures() []figure {
	return []figure{
		{v2, "cpu.pressure", CPUPressure, pressure(func(u *Usage) *float64 { return &u.CPUPressure })},
		{v2, "memory.pressure", MemoryPressure, pressure(func(u *Usage) *float64 { return &u.MemoryPressure })},
		{v2, "io.pressure", IOPressure, pressure(func(u *Usage) *float64 { return &u.IOPressure })},
	}
}

// v1Figures are the files of v1 (Documentation/admin-guide/cgroup-v1). The
// limit of memory is the tightest of the group's own and of those above it.
func v1Figures(stacked func(device []byte) bool) []figure {
	return append([]figure{
		{"cpuacct", "cpuacct.usage", CPU, func(u *Usage, data []byte) error {
			n, err := number(data)
			u.CPU = time.Duration(n)
			return err
		}},
		{"cpu", "cpu.cfs_quota_us", "", func(u *Usage, data []byte) error {
			n, err := number(data)
			u.CPULimit = max(0, float64(n)) // none is -1
			return err
		}},
		{"cpu", "cpu.cfs_period_us", "", func(u *Usage, data []byte) error {
			n, err := number(data)
			if err == nil && n <= 0 {
				err = fmt.Errorf("a period of %d", n)
			}
			u.CPULimit = quotient(u.CPULimit, float64(n))
			return err
		}},
		{"cpu", "cpu.stat", Throttled, func(u *Usage, data []byte) error {
			stat, err := pick(data, "throttled_time")
			u.Throttled = time.Duration(stat[0])
			return err
		}},
		{"memory", "memory.oom_control", OOMs, func(u *Usage, data []byte) error {
			stat, err := pick(data, "oom_kill")
			u.OOMKills = stat[0]
			return err
		}},
		{"io", "blkio.throttle.io_service_bytes", IO, func(u *Usage, data []byte) (err error) {
			u.IORead, u.IOWrite, err = bytesV1(data, stacked)
			return err
		}},
		{"memory", "memory.usage_in_bytes", Memory, into(func(u *Usage) *int64 { return &u.Memory })},
		{"memory", "memory.max_usage_in_bytes", MemoryPeak, into(func(u *Usage) *int64 { return &u.MemoryPeak })},
		{"memory", "memory.stat", Swap, func(u *Usage, data []byte) error {
			stat, err := pick(data, "total_inactive_file", "hierarchical_memory_limit", "total_swap")
			u.Memory = max(0, u.Memory-stat[0])
			if u.MemoryLimit = stat[1]; u.MemoryLimit >= unlimited {
				u.MemoryLimit = 0
			}
			u.Swap = stat[2]
			return err
		}},
		{"pids", "pids.current", Pids, into(func(u *Usage) *int64 { return &u.Pids })},
		{"pids", "pids.max", "", into(func(u *Usage) *int64 { return &u.PidsLimit })},
	}, pressures()...)
}

// v2Figures are the files of v2 (cgroup-v2.rst). memory.peak exists since Linux
// 5.19; cpu.stat is there without the controller too.
func v2Figures(stacked func(device []byte) bool) []figure {
	return append([]figure{
		{v2, "cpu.stat", CPU, func(u *Usage, data []byte) error {
			stat, err := pick(data, "usage_usec")
			u.CPU = micros(stat[0])
			return err
		}},
		{"cpu", "cpu.stat", Throttled, func(u *Usage, data []byte) error {
			stat, err := pick(data, "throttled_usec")
			u.Throttled = micros(stat[0])
			return err
		}},
		{"cpu", "cpu.max", "", func(u *Usage, data []byte) error {
			quota, period, _ := bytes.Cut(bytes.TrimSpace(data), []byte(" "))
			q, err := number(quota)
			if err != nil {
				return err
			}
			p, err := number(period)
			if err == nil && p <= 0 {
				err = fmt.Errorf("a period of %d", p)
			}
			u.CPULimit = quotient(float64(q), float64(p))
			return err
		}},
		{"memory", "memory.current", Memory, into(func(u *Usage) *int64 { return &u.Memory })},
		{"memory", "memory.peak", MemoryPeak, into(func(u *Usage) *int64 { return &u.MemoryPeak })},
		{"memory", "memory.stat", Memory, func(u *Usage, data []byte) error {
			stat, err := pick(data, "inactive_file")
			u.Memory = max(0, u.Memory-stat[0])
			return err
		}},
		{"memory", "memory.max", "", into(func(u *Usage) *int64 { return &u.MemoryLimit })},
		{"memory", "memory.swap.current", Swap, into(func(u *Usage) *int64 { return &u.Swap })},
		{"memory", "memory.events", OOMs, func(u *Usage, data []byte) error {
			stat, err := pick(data, "oom_kill")
			u.OOMKills = stat[0]
			return err
		}},
		{"pids", "pids.current", Pids, into(func(u *Usage) *int64 { return &u.Pids })},
		{"pids", "pids.max", "", into(func(u *Usage) *int64 { return &u.PidsLimit })},
		{"io", "io.stat", IO, func(u *Usage, data []byte) (err error) {
			u.IORead, u.IOWrite, err = bytesV2(data, stacked)
			return err
		}},
	}, pressures()...)
}

func micros(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/1000)) * time.Microsecond
}

// unlimited is more than any limit: v1 writes no limit as the most pages that
// it can count, a little below the end of the numbers.
const unlimited = 1 << 62

// into reads a file that is one number, or "max" for no limit.
func into(field func(*Usage) *int64) func(*Usage, []byte) error {
	return func(u *Usage, data []byte) error {
		n, err := number(data)
		*field(u) = max(0, n)
		return err
	}
}

// number reads one number: 0 for "max", the largest for what is larger.
func number(data []byte) (int64, error) {
	data = bytes.TrimSpace(data)
	if string(data) == "max" {
		return 0, nil
	}
	return parse(data)
}

func parse(data []byte) (int64, error) {
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil && n == math.MaxInt64 {
		return n, nil // more than that: cut off
	}
	if err != nil {
		return 0, fmt.Errorf("no number: %q", clip(data))
	}
	return n, nil
}

func clip(data []byte) []byte { return data[:min(len(data), 40)] }

// pick reads the numbers behind keys in a flat keyed file in one pass. One that
// is not there is 0 and an error, which leaves the others as they are.
func pick(data []byte, keys ...string) ([3]int64, error) {
	var found [3]int64
	left := len(keys)
	seen := [3]bool{}
	for len(data) > 0 && left > 0 {
		line := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			line, data = data[:i], data[i+1:]
		} else {
			data = nil
		}
		for i, key := range keys {
			if seen[i] || len(line) <= len(key) || line[len(key)] != ' ' || string(line[:len(key)]) != key {
				continue
			}
			n, err := parse(bytes.TrimSpace(line[len(key)+1:]))
			if err != nil {
				return found, fmt.Errorf("%s: %w", key, err)
			}
			found[i], seen[i] = max(0, n), true
			left--
		}
	}
	for i, key := range keys {
		if !seen[i] {
			return found, fmt.Errorf("there is no %s", key)
		}
	}
	return found, nil
}

func quotient(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}
