package oci

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"cove/config"
)

// writesAsRoot tells whether the sandbox makes files that are root's on the
// host. A setuid program or one with capabilities among them would make root of
// whoever runs it there: nosuid is a mount's, and the host's mount of the
// directory has none.
func writesAsRoot(s config.Spec) bool {
	return slices.ContainsFunc(s.Mounts, func(m config.Mount) bool { return m.Mode == config.MountRWAsRoot })
}

// setuidBits are those of a mode that make a program run as its file's owner or
// group.
const setuidBits = unix.S_ISUID | unix.S_ISGID

// forbidSetuid has the filter refuse, with EPERM, to set those bits by any
// system call, in all of the sandbox: a filter sees no paths.
func forbidSetuid(filter *specs.LinuxSeccomp) {
	// Where the mode is among the arguments.
	modes := map[uint][]string{
		1: {"chmod", "fchmod", "creat", "mknod"},
		2: {"fchmodat", "fchmodat2", "open", "mknodat"},
		3: {"openat"},
	}
	// A mode is one only where a file may be made; else it is whatever was in
	// the register.
	const makes = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY
	flags := map[uint][]string{1: {"open"}, 2: {"openat"}}

	var judged []string
	var rules []specs.LinuxSyscall
	unset := func(index uint, bits uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: index, Value: bits, ValueTwo: 0, Op: specs.OpMaskedEqual}}
	}
	for index := uint(1); index <= 3; index++ {
		if names := modes[index]; names != nil {
			judged = append(judged, names...)
			rules = append(rules, specs.LinuxSyscall{Names: names, Action: specs.ActAllow, Args: unset(index, setuidBits)})
		}
		if names := flags[index]; names != nil {
			rules = append(rules, specs.LinuxSyscall{Names: names, Action: specs.ActAllow, Args: unset(index, makes)})
		}
	}
	// Its mode is in memory, which a filter does not see; without it programs
	// use openat.
	judged = append(judged, "openat2")
	missing := uint(unix.ENOSYS)
	rules = append(rules, specs.LinuxSyscall{Names: []string{"openat2"}, Action: specs.ActErrno, ErrnoRet: &missing})

	for i := range filter.Syscalls {
		// The list may be shared with the profile it comes from.
		filter.Syscalls[i].Names = slices.DeleteFunc(slices.Clone(filter.Syscalls[i].Names), func(name string) bool { return slices.Contains(judged, name) })
	}
	filter.Syscalls = slices.DeleteFunc(filter.Syscalls, func(s specs.LinuxSyscall) bool { return len(s.Names) == 0 })
	filter.Syscalls = append(filter.Syscalls, rules...)
}
