package oci

import (
	"fmt"
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"

	"cove/runtime/guest"
)

// runSize bounds what programs inside may put into /run, which is memory.
const runSize = 64 << 20

func mounts(in Input) []specs.Mount {
	memory := int64(in.Spec.Resources.Memory)
	// /dev/shm is half of the memory there is, as the kernel has it by
	// default; without a limit the half is the machine's.
	shm, run := "size=50%", int64(runSize)
	if memory > 0 {
		shm, run = fmt.Sprintf("size=%d", memory/2), min(run, memory/4)
	}
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", shm}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755", fmt.Sprintf("size=%d", run)}},
		{Destination: guest.InitPath, Type: "bind", Source: in.InitPath, Options: []string{"bind", "ro", "nosuid", "nodev", "rprivate"}},
	}
	if in.OnlineCPUs != "" {
		all = append(all, specs.Mount{
			Destination: "/sys/devices/system/cpu/online", Type: "bind", Source: in.OnlineCPUs,
			Options: []string{"bind", "ro", "nosuid", "nodev", "noexec", "rprivate"},
		})
	}
	for _, f := range in.ProcFiles {
		all = append(all, specs.Mount{
			Destination: "/proc/" + path.Base(f), Type: "bind", Source: f, Options: []string{"bind", "ro", "nosuid", "nodev", "noexec", "rprivate"},
		})
	}
	return all
}

// maskedPaths hides what tells of the host or its hardware: the lists of moby
// and containerd. Power and thermal counters are side channels (PLATYPUS,
// CVE-2020-8694), interrupts are one for keystrokes.
func maskedPaths(h Host) []string {
	return append([]string{
		"/proc/acpi",
		"/proc/asound",
		"/proc/interrupts",
		"/proc/kcore",
		"/proc/keys",
		"/proc/latency_stats",
		"/proc/sched_debug",
		"/proc/scsi",
		"/proc/timer_list",
		"/proc/timer_stats",
		"/sys/devices/virtual/powercap",
		"/sys/firmware",
	}, h.MaskedPaths...)
}

// readonlyPaths are the parts of /proc by which root changes the kernel's
// behaviour.
func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
