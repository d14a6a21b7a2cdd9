package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"cove/config"
	"cove/runtime/guest"
)

var update = flag.Bool("update", false, "write the golden files")

func plain() Input {
	return Input{
		ID: "0123456789ab", Hostname: "quiet-otter", Rootfs: "/run/cove/sandboxes/0123456789ab/rootfs", UIDBase: 1 << 20,
		CgroupsPath: "/cove-a1b2c3/0123456789ab", InitPath: "/usr/libexec/cove/cove-init",
		Host: Host{NoFile: 1048576, CgroupV2: true, Swap: true},
		Spec: config.Spec{
			Image: "host", NoNewPrivileges: true,
			Resources: config.Resources{CPU: 2, Memory: 4 << 30, Pids: 4096},
			Network:   config.Network{BlockAll: true},
		},
	}
}

// variants are the inputs of the golden files.
func variants() map[string]func(*Input) {
	return map[string]func(*Input){
		"plain": func(*Input) {},
		// A virtual machine with version 1 control groups and little to give.
		"small-host": func(in *Input) {
			in.Host = Host{NoFile: 20000, OOMScoreAdj: 300, MaskedPaths: []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"}}
			in.Spec.NoNewPrivileges = false
			in.Spec.Resources = config.Resources{CPU: 0.25, Memory: 64 << 20, Pids: 64}
		},
		"unlimited": func(in *Input) {
			in.Spec.Resources = config.Resources{Swap: 1 << 30}
			in.Host.AppArmorProfile = "docker-default"
		},
		"devices": func(in *Input) {
			in.Devices = Devices{
				Rules:           []specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Major: new(int64(195)), Minor: new(int64(0)), Access: "rw"}},
				Mounts:          []specs.Mount{{Destination: "/dev/nvidia0", Type: "bind", Source: "/run/cove/sandboxes/x/devices/0", Options: []string{"bind", "nosuid", "noexec", "rprivate"}}},
				CreateContainer: []specs.Hook{{Path: "/usr/bin/nvidia-cdi-hook", Args: []string{"nvidia-cdi-hook", "update-ldcache"}}},
			}
		},
		"swap": func(in *Input) {
			in.Host.CgroupV2 = false
			in.Spec.Resources.Swap = 1 << 30
		},
	}
}

func TestGolden(t *testing.T) {
	for name, edit := range variants() {
		t.Run(name, func(t *testing.T) {
			in := plain()
			edit(&in)
			spec, err := Bundle(in)
			if err != nil {
				t.Fatal(err)
			}
			// The filter is the architecture's; TestSeccompGolden has it.
			spec.Linux.Seccomp = nil
			golden(t, name+".json", spec)
		})
	}
}

func TestSeccompGolden(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden file is for amd64")
	}
	spec, err := Bundle(plain())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "seccomp.amd64.json", spec.Linux.Seccomp)
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	// The first line that differs; -update and the diff show the rest.
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s:%d: got %q, want %q", path, i+1, g[i], w[i])
		}
	}
	t.Fatalf("%s: got %d lines, want %d", path, len(g), len(w))
}

// What must hold whatever a golden file says.
func TestInvariants(t *testing.T) {
	for name, edit := range variants() {
		t.Run(name, func(t *testing.T) {
			in := plain()
			edit(&in)
			s, err := Bundle(in)
			if err != nil {
				t.Fatal(err)
			}
			for _, ids := range [][]specs.LinuxIDMapping{s.Linux.UIDMappings, s.Linux.GIDMappings} {
				if len(ids) != 1 || ids[0] != (specs.LinuxIDMapping{HostID: in.UIDBase, Size: 65536}) {
					t.Errorf("ids: %v", ids)
				}
			}
			kinds := map[specs.LinuxNamespaceType]bool{}
			for _, n := range s.Linux.Namespaces {
				kinds[n.Type] = n.Path == ""
			}
			for _, k := range []specs.LinuxNamespaceType{
				specs.UserNamespace, specs.PIDNamespace, specs.MountNamespace, specs.UTSNamespace,
				specs.IPCNamespace, specs.NetworkNamespace, specs.CgroupNamespace,
			} {
				if !kinds[k] {
					t.Errorf("no %s namespace of its own", k)
				}
			}
			c := s.Process.Capabilities
			if len(c.Ambient) != 0 || len(c.Inheritable) != 0 || !slices.Equal(c.Bounding, c.Effective) || !slices.Equal(c.Bounding, c.Permitted) {
				t.Errorf("capabilities: %+v", c)
			}
			for _, bad := range []string{"CAP_NET_RAW", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE"} {
				if slices.Contains(c.Bounding, bad) {
					t.Errorf("%s is given", bad)
				}
			}
			if s.Process.NoNewPrivileges != in.Spec.NoNewPrivileges || s.Process.Terminal {
				t.Error("no_new_privileges or terminal")
			}
			for _, l := range s.Process.Rlimits {
				if l.Hard > in.Host.NoFile || l.Soft > l.Hard {
					t.Errorf("limit %+v on a host with %d", l, in.Host.NoFile)
				}
			}
			if d := s.Linux.Resources.Devices; len(d) != 1+len(in.Devices.Rules) || d[0].Allow || d[0].Type != "" {
				t.Errorf("devices: %+v", d)
			}
			if *s.Linux.Resources.Pids.Limit == 0 {
				t.Error("a pids limit of 0 is none at all")
			}
			for _, m := range s.Mounts {
				// Of the host's files there is one, and what devices bring along.
				given := slices.ContainsFunc(in.Devices.Mounts, func(g specs.Mount) bool { return g.Destination == m.Destination })
				if !given && ((m.Type == "bind") != (m.Destination == guest.InitPath) || m.Type == "bind" && !slices.Contains(m.Options, "ro")) {
					t.Errorf("mount: %+v", m)
				}
				if !slices.Contains(m.Options, "nosuid") {
					t.Errorf("a mount with setuid: %+v", m)
				}
			}
			if !in.Host.CgroupV2 && s.Linux.Resources.Unified != nil {
				t.Error("version 2 files on version 1")
			}
		})
	}
}

func TestSyscalls(t *testing.T) {
	spec, err := Bundle(plain())
	if err != nil {
		t.Fatal(err)
	}
	f := spec.Linux.Seccomp
	if len(f.Architectures) != 1 || f.DefaultAction != specs.ActErrno {
		t.Errorf("%v, default %v", f.Architectures, f.DefaultAction)
	}
	allowed := map[string]bool{}
	for _, s := range f.Syscalls {
		if s.Action == specs.ActAllow && len(s.Args) == 0 {
			for _, n := range s.Names {
				allowed[n] = true
			}
		}
	}
	for _, n := range []string{"read", "execve", "setuid", "chroot", "openat2", "epoll_pwait2"} {
		if !allowed[n] {
			t.Errorf("%s is not allowed", n)
		}
	}
	for _, n := range []string{
		"mount", "umount2", "move_mount", "fsopen", "open_tree", "unshare", "setns", "bpf", "keyctl", "add_key", "init_module",
		"kexec_load", "perf_event_open", "userfaultfd", "io_uring_setup", "open_by_handle_at", "clone", "clone3", "socket", "personality",
	} {
		if allowed[n] {
			t.Errorf("%s is allowed without conditions", n)
		}
	}
}

// Where files of the sandbox's are root's on the host, none may be setuid or
// have capabilities there.
func TestWritesAsRoot(t *testing.T) {
	in := plain()
	in.Spec.Mounts = []config.Mount{{Source: "/a", Target: "/a", Mode: config.MountRW}, {Source: "/b", Target: "/b", Mode: config.MountRWAsRoot}}
	spec, err := Bundle(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range [][]string{spec.Process.Capabilities.Bounding, spec.Process.Capabilities.Effective, spec.Process.Capabilities.Permitted} {
		if slices.Contains(set, "CAP_SETFCAP") {
			t.Errorf("it may set capabilities: %v", set)
		}
	}
	judged := map[string]int{}
	for _, s := range spec.Linux.Seccomp.Syscalls {
		for _, name := range s.Names {
			switch name {
			case "chmod", "fchmod", "fchmodat", "fchmodat2", "creat", "mknod", "mknodat", "open", "openat", "openat2":
				judged[name]++
				if s.Action == specs.ActAllow && len(s.Args) != 1 {
					t.Errorf("%s is allowed with %v", name, s.Args)
				}
			}
		}
	}
	want := map[string]int{"chmod": 1, "fchmod": 1, "fchmodat": 1, "fchmodat2": 1, "creat": 1, "mknod": 1, "mknodat": 1, "open": 2, "openat": 2, "openat2": 1}
	if !maps.Equal(judged, want) {
		t.Errorf("rules %v, want %v", judged, want)
	}
	again, err := Bundle(plain())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range again.Linux.Seccomp.Syscalls {
		if slices.Contains(s.Names, "chmod") && len(s.Args) > 0 {
			t.Error("other sandboxes are judged too")
		}
	}
}

func TestRefused(t *testing.T) {
	for name, edit := range map[string]func(*Input){
		"empty id":           func(in *Input) { in.ID = "" },
		"id with a path":     func(in *Input) { in.ID = "../x" },
		"hidden id":          func(in *Input) { in.ID = ".x" },
		"option for an id":   func(in *Input) { in.ID = "--force" },
		"no hostname":        func(in *Input) { in.Hostname = "" },
		"hostname too long":  func(in *Input) { in.Hostname = strings.Repeat("a", 65) },
		"hostname with dash": func(in *Input) { in.Hostname = "-a" },
		"hostname with zero": func(in *Input) { in.Hostname = "a\x00" },
		"relative root":      func(in *Input) { in.Rootfs = "rootfs" },
		"the host's root":    func(in *Input) { in.Rootfs = "/" },
		"root with dots":     func(in *Input) { in.Rootfs = "/run/../etc" },
		"top cgroup":         func(in *Input) { in.CgroupsPath = "/" },
		"no cgroup":          func(in *Input) { in.CgroupsPath = "" },
		"cgroup with dots":   func(in *Input) { in.CgroupsPath = "/cove/../x" },
		"no init":            func(in *Input) { in.InitPath = "" },
		"uid 0":              func(in *Input) { in.UIDBase = 0 },
		"uids of the host":   func(in *Input) { in.UIDBase = 65535 },
		"uids run over":      func(in *Input) { in.UIDBase = math.MaxUint32 - 65535 },
		"another runtime":    func(in *Input) { in.Spec.Runtime = "runsc" },
		"negative memory":    func(in *Input) { in.Spec.Resources.Memory = -1 },
		"negative swap":      func(in *Input) { in.Spec.Resources.Swap = -1 },
		"memory runs over":   func(in *Input) { in.Spec.Resources.Memory, in.Spec.Resources.Swap = math.MaxInt64, 1 },
		"negative pids":      func(in *Input) { in.Spec.Resources.Pids = -1 },
		"negative cpu":       func(in *Input) { in.Spec.Resources.CPU = -1 },
		"cpu not a number":   func(in *Input) { in.Spec.Resources.CPU = math.NaN() },
		"infinite cpu":       func(in *Input) { in.Spec.Resources.CPU = math.Inf(1) },
	} {
		t.Run(name, func(t *testing.T) {
			in := plain()
			edit(&in)
			if _, err := Bundle(in); !errors.Is(err, ErrInput) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	for name, edit := range map[string]func(*Input){
		"swap alone on v1": func(in *Input) { in.Host.CgroupV2, in.Spec.Resources.Memory = false, 0 },
		"no accounting":    func(in *Input) { in.Host.Swap = false },
	} {
		in := plain()
		in.Spec.Resources.Swap = 1 << 20
		edit(&in)
		if _, err := Bundle(in); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplacedFiles(t *testing.T) {
	in := plain()
	in.OnlineCPUs = "/run/cove/sandboxes/0123456789ab/cpus"
	spec, err := Bundle(in)
	if err != nil {
		t.Fatal(err)
	}
	last := spec.Mounts[len(spec.Mounts)-1]
	if last.Source != in.OnlineCPUs || last.Destination != "/sys/devices/system/cpu/online" || !slices.Contains(last.Options, "ro") {
		t.Errorf("mounted: %+v", last)
	}
	in.ProcFiles = []string{"/var/lib/lxcfs/proc/meminfo", "/var/lib/lxcfs/proc/stat"}
	if spec, err = Bundle(in); err != nil {
		t.Fatal(err)
	}
	last = spec.Mounts[len(spec.Mounts)-1]
	if last.Source != in.ProcFiles[1] || last.Destination != "/proc/stat" || !slices.Contains(last.Options, "ro") {
		t.Errorf("mounted: %+v", last)
	}
	in.ProcFiles = []string{"/var/../x"}
	if _, err := Bundle(in); !errors.Is(err, ErrInput) {
		t.Errorf("a file that is somewhere: %v", err)
	}
	in.ProcFiles = nil
	in.OnlineCPUs = "cpus"
	if _, err := Bundle(in); !errors.Is(err, ErrInput) {
		t.Errorf("a relative path: %v", err)
	}
}

func TestResources(t *testing.T) {
	for _, c := range []struct {
		cpu    float64
		quota  int64
		shares uint64
		weight string
	}{{1, 100_000, 1024, "100"}, {0.001, 1000, 2, "1"}, {0.5, 50_000, 512, "50"}, {1.234567, 123_457, 1264, "123"}, {400, 40_000_000, 262144, "10000"}} {
		r, err := Resources(config.Resources{CPU: c.cpu}, Host{})
		if err != nil {
			t.Fatal(err)
		}
		if *r.CPU.Quota != c.quota || *r.CPU.Shares != c.shares || *r.CPU.Period != 100_000 {
			t.Errorf("%v cores: quota %d, shares %d, period %d", c.cpu, *r.CPU.Quota, *r.CPU.Shares, *r.CPU.Period)
		}
		if r, err = Resources(config.Resources{CPU: c.cpu}, Host{CgroupV2: true}); err != nil {
			t.Fatal(err)
		}
		if *r.CPU.Quota != c.quota || r.CPU.Shares != nil || r.Unified["cpu.weight"] != c.weight {
			t.Errorf("%v cores on version 2: quota %d, shares %v, files %v", c.cpu, *r.CPU.Quota, r.CPU.Shares, r.Unified)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	a, err := Bundle(plain())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Bundle(plain())
	if err != nil {
		t.Fatal(err)
	}
	var files [][]byte
	for _, s := range []*specs.Spec{a, b} {
		if err := Write(dir, s); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same input gave two bundles")
	}
	var back specs.Spec
	if err := json.Unmarshal(files[0], &back); err != nil || back.Hostname != "quiet-otter" {
		t.Errorf("read back: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("in the directory: %v, %v", left, err)
	}
	if info, err := left[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := Write(filepath.Join(dir, "none"), a); err == nil {
		t.Error("written into a directory that is not there")
	}
}

func TestAppArmorProfile(t *testing.T) {
	for name, c := range map[string]struct{ enabled, profiles, want string }{
		"none":         {},
		"off":          {"N\n", "cove-default (enforce)\n", ""},
		"not mounted":  {"Y\n", "", ""},
		"docker":       {"Y\n", "/usr/bin/man (enforce)\ndocker-default (enforce)\n", "docker-default"},
		"ours":         {"Y\n", "docker-default (enforce)\ncove-default (enforce)\n", "cove-default"},
		"complaining":  {"Y\n", "docker-default (complain)\ncove-default (complain)\n", ""},
		"similar name": {"Y\n", "docker-default//null (enforce)\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			sys := t.TempDir()
			for path, text := range map[string]string{"module/apparmor/parameters/enabled": c.enabled, "kernel/security/apparmor/profiles": c.profiles} {
				if text == "" {
					continue
				}
				path = filepath.Join(sys, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := appArmorProfile(sys); err != nil || got != c.want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestDetectHost(t *testing.T) {
	h, err := DetectHost()
	if err != nil {
		t.Fatal(err)
	}
	if h.NoFile == 0 {
		t.Errorf("%+v", h)
	}
	in := plain()
	in.Host = h
	if _, err := Bundle(in); err != nil {
		t.Errorf("this host: %v", err)
	}
}

func FuzzBundle(f *testing.F) {
	f.Add("id", "host", "/r", "/c", "/i", uint32(1<<20), 1.0, int64(1), int64(2), int64(3))
	f.Fuzz(func(t *testing.T, id, host, root, group, init string, base uint32, cpu float64, memory, swap, pids int64) {
		in := Input{ID: id, Hostname: host, Rootfs: root, CgroupsPath: group, InitPath: init, UIDBase: base, Host: Host{NoFile: 1024, CgroupV2: true, Swap: true}}
		in.Spec.Resources = config.Resources{CPU: cpu, Memory: config.Size(memory), Swap: config.Size(swap), Pids: pids}
		s, err := Bundle(in)
		if err != nil {
			if !errors.Is(err, ErrInput) {
				t.Error(err)
			}
			return
		}
		if m := s.Linux.UIDMappings[0]; m.HostID < 65536 || m.HostID > math.MaxUint32-m.Size {
			t.Errorf("maps %+v", m)
		}
		if c := s.Linux.Resources.CPU; c != nil && *c.Quota < 1000 {
			t.Errorf("quota %d", *c.Quota)
		}
		if m := s.Linux.Resources.Memory; m != nil && m.Swap != nil && *m.Swap < *m.Limit {
			t.Errorf("memory %d, with swap %d", *m.Limit, *m.Swap)
		}
	})
}

// Who writes on the host's own file systems cannot take all of them in a moment; on
// a disk of its own a sandbox may.
func TestPreallocation(t *testing.T) {
	mount := func(mode string) []config.Mount {
		return []config.Mount{{Source: "/a", Target: "/a", Mode: mode}}
	}
	for name, c := range map[string]struct {
		disk   config.Size
		mounts []config.Mount
		free   bool
	}{
		"no disk":             {},
		"a disk":              {disk: config.GiB, free: true},
		"a disk, and reads":   {disk: config.GiB, mounts: mount(config.MountRO), free: true},
		"a disk, and copies":  {disk: config.GiB, mounts: mount(config.MountCOW), free: true},
		"a disk, and writes":  {disk: config.GiB, mounts: mount(config.MountRW)},
		"a disk, and as root": {disk: config.GiB, mounts: mount(config.MountRWAsRoot)},
	} {
		in := plain()
		in.Spec.Resources.Disk, in.Spec.Mounts = c.disk, c.mounts
		spec, err := Bundle(in)
		if err != nil {
			t.Fatal(err)
		}
		free := false
		for _, s := range spec.Linux.Seccomp.Syscalls {
			if slices.Contains(s.Names, "fallocate") && s.Action == specs.ActAllow && len(s.Args) == 0 {
				free = true
			}
		}
		if free != c.free {
			t.Errorf("%s: fallocate is allowed: %v", name, free)
		}
	}
}
