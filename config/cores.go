package config

import "math"

const (
	// CPUPeriod is what [Resources.CPUQuota] is a part of, in microseconds: the
	// kernel's own default.
	CPUPeriod = 100_000
	// minQuota is the least quota that the kernel takes, in microseconds.
	minQuota = 1000
	// weightPerCore and sharesPerCore make a sandbox of one core weigh as much
	// as a group that was given no weight.
	weightPerCore, minWeight, maxWeight = 100, 1, 10_000
	sharesPerCore, minShares, maxShares = 1024, 2, 262_144
)

// CPUQuota is how many microseconds of processor time a sandbox may use in each
// [CPUPeriod], all its processes together; 0 is no limit.
func (r Resources) CPUQuota() int64 {
	if !(r.CPU > 0) {
		return 0
	}
	return max(minQuota, int64(math.Round(r.CPU*CPUPeriod)))
}

// CPUWeight is the sandbox's part of processors that are not enough for all, on
// version 2 of control groups (cpu.weight): in proportion to the limit. The
// conversion from shares of OCI runtimes is not (runc 1.5 makes 59 and 174 of
// half a core and two). Without a limit it is the kernel's default.
func (r Resources) CPUWeight() uint64 {
	if !(r.CPU > 0) {
		return weightPerCore
	}
	return uint64(min(maxWeight, max(minWeight, math.Round(r.CPU*weightPerCore))))
}

// CPUShares is [Resources.CPUWeight] on version 1 (cpu.shares).
func (r Resources) CPUShares() uint64 {
	if !(r.CPU > 0) {
		return sharesPerCore
	}
	return uint64(min(maxShares, max(minShares, math.Round(r.CPU*sharesPerCore))))
}

// Processors is how many processors the limit keeps busy at once: its cores,
// rounded up; 0 is no limit.
func (r Resources) Processors() int {
	if !(r.CPU > 0) {
		return 0
	}
	return int(math.Ceil(r.CPU))
}
