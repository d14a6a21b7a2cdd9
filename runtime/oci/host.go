package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DetectHost looks at the machine the daemon runs on. It is called once, at
// start, by the daemon: the limits it reads are the calling process's own.
func DetectHost() (Host, error) {
	var h Host
	var nofile unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &nofile); err != nil {
		return h, fmt.Errorf("limit of open files: %w", err)
	}
	h.NoFile = nofile.Max

	var caps [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]); err != nil {
		return h, fmt.Errorf("capabilities: %w", err)
	}
	h.KeepRlimits = caps[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0

	adj, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return h, err
	}
	if h.OOMScoreAdj, err = strconv.Atoi(strings.TrimSpace(string(adj))); err != nil {
		return h, fmt.Errorf("oom_score_adj: %w", err)
	}

	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil {
		return h, fmt.Errorf("control groups: %w", err)
	}
	h.CgroupV2 = st.Type == unix.CGROUP2_SUPER_MAGIC
	swapFile := "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
	if h.CgroupV2 {
		// The file that limits swap is not in the top group; the kernel has
		// both where it was built with swap.
		swapFile = "/proc/swaps"
	}
	switch _, err := os.Stat(swapFile); {
	case err == nil:
		h.Swap = true
	case !errors.Is(err, fs.ErrNotExist):
		return h, err
	}

	if h.AppArmorProfile, err = appArmorProfile("/sys"); err != nil {
		return h, err
	}
	if h.MaskedPaths, err = filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle"); err != nil {
		return h, err
	}
	return h, nil
}

// appArmorProfile gives the name of the loaded profile that sandboxes are to
// have: one of the administrator's for cove, else docker's, else none.
func appArmorProfile(sys string) (string, error) {
	enabled, err := os.ReadFile(filepath.Join(sys, "module/apparmor/parameters/enabled"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(enabled), "Y") {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("apparmor: %w", err)
	}
	f, err := os.Open(filepath.Join(sys, "kernel/security/apparmor/profiles"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		// Its file system is not mounted, or we are confined ourselves.
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("apparmor: %w", err)
	}
	defer func() { _ = f.Close() }()
	found := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		switch name, mode, _ := strings.Cut(lines.Text(), " "); {
		case mode != "(enforce)":
		case name == "cove-default":
			return name, nil
		case name == "docker-default":
			found = name
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("apparmor: %w", err)
	}
	return found, nil
}
