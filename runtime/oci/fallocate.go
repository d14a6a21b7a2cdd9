package oci

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"cove/config"
)

// writesToHost tells whether the sandbox writes files on the host's own file
// systems: those of one without a disk, or of a directory that it may write.
func writesToHost(s config.Spec) bool {
	return s.Resources.Disk == 0 || slices.ContainsFunc(s.Mounts, func(m config.Mount) bool {
		return m.Mode == config.MountRW || m.Mode == config.MountRWAsRoot
	})
}

// forbidPreallocation has the filter refuse to set space aside for a file, as a
// file system does that cannot (EOPNOTSUPP: the C library's posix_fallocate then
// writes). On the host's file system it takes terabytes in a moment, before
// anybody who keeps a reserve has looked. To give space back stays allowed.
func forbidPreallocation(filter *specs.LinuxSeccomp) {
	refusal := func(errno uint) *uint { return &errno }
	judged := []string{"fallocate", "ioctl"}
	for i := range filter.Syscalls {
		// The list may be shared with the profile it comes from.
		filter.Syscalls[i].Names = slices.DeleteFunc(slices.Clone(filter.Syscalls[i].Names), func(name string) bool { return slices.Contains(judged, name) })
	}
	filter.Syscalls = slices.DeleteFunc(filter.Syscalls, func(s specs.LinuxSyscall) bool { return len(s.Names) == 0 })
	rule := func(name string, mask, value uint64) {
		filter.Syscalls = append(filter.Syscalls, specs.LinuxSyscall{
			Names: []string{name}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Value: mask, ValueTwo: value, Op: specs.OpMaskedEqual}},
		})
	}
	refuse := func(name string, mask, value uint64, errno uint) {
		rule(name, mask, value)
		last := &filter.Syscalls[len(filter.Syscalls)-1]
		last.Action, last.ErrnoRet = specs.ActErrno, refusal(errno)
	}

	const gives = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_COLLAPSE_RANGE
	refuse("fallocate", gives, 0, uint(unix.EOPNOTSUPP))
	rule("fallocate", unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_PUNCH_HOLE)
	rule("fallocate", gives, unix.FALLOC_FL_COLLAPSE_RANGE)

	// The same by ioctl(2), of any file system: FS_IOC_RESVSP and those that share
	// all of its number but the last byte (linux/falloc.h). Of the argument the
	// kernel looks at 32 bits, so what differs in one of the others is another.
	const family, number, bits = 0x4030_5800, 8, 32
	refuse("ioctl", 1<<bits-1<<number, family, uint(unix.EOPNOTSUPP))
	for bit := number; bit < bits; bit++ {
		rule("ioctl", 1<<bit, ^uint64(family)&(1<<bit))
	}
}
