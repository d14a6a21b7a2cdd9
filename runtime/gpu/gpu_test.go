package gpu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func equal(t *testing.T, want, got any, about ...any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%swant - got +\n%s", fmt.Sprint(about...), d)
	}
}

func contains(t *testing.T, text, part string, about ...any) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s%q lacks %q", fmt.Sprint(about...), text, part)
	}
}

// specDir is a directory of specifications that only root can change.
func specDir(t *testing.T, files map[string]string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only what is root's is trusted")
	}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// spec is a specification of devices, "name: node node".
func spec(kind string, devices ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cdiVersion: 0.6.0\nkind: %s\ndevices:\n", kind)
	for _, d := range devices {
		name, nodes, _ := strings.Cut(d, "= ")
		fmt.Fprintf(&b, "  - name: %q\n    containerEdits:\n      deviceNodes:\n", name)
		for _, n := range strings.Fields(nodes) {
			fmt.Fprintf(&b, "        - path: /dev/%s\n", n)
		}
	}
	return b.String()
}

func ids(devices []Device) []string {
	var list []string
	for i, d := range devices {
		if d.Index != i {
			list = append(list, fmt.Sprintf("index %d at %d", d.Index, i))
		}
		list = append(list, strings.Join(d.Names, " "))
	}
	return list
}

// A card is one device under all its names, "all" is none, and the order is that
// of numbers.
func TestDevicesAreCards(t *testing.T) {
	dir := specDir(t, map[string]string{
		"nvidia.yaml": spec("nvidia.com/gpu", "10= random", "2= zero", "0= null", "GPU-b= zero", "GPU-a= null", "GPU-c= random", "all= null zero random"),
		"other.json":  `{"cdiVersion": "0.6.0", "kind": "one.example/gpu", "devices": [{"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/full"}]}}]}`,
		"same.yml":    spec("k8s.example/gpu", "x= zero"),
		"net.yaml":    "cdiVersion: 1.1.0\nkind: vendor.example/net\ndevices:\n- {name: eth, containerEdits: {netDevices: [{hostInterfaceName: a, name: b}]}}\n",
		"notes.txt":   "not a specification",
	})
	inv := New(Options{Dirs: []string{dir, dir + "/missing"}}).Devices(t.Context())
	equal(t, []string{
		"nvidia.com/gpu=0 nvidia.com/gpu=GPU-a", "nvidia.com/gpu=2 k8s.example/gpu=x nvidia.com/gpu=GPU-b", "nvidia.com/gpu=10 nvidia.com/gpu=GPU-c",
		"one.example/gpu=all",
	}, ids(inv.Devices))
	equal(t, 0, len(inv.Problems), inv.Problems)
	first := inv.Devices[0]
	equal(t, "GPU-a", first.UUID)
	equal(t, []string{"/dev/null"}, first.Nodes)
	equal(t, filepath.Join(dir, "nvidia.yaml"), first.Source)
}

// Of two directories the later one's counts, of two files of one none does.
func TestOneNameTwice(t *testing.T) {
	etc := specDir(t, map[string]string{"a.yaml": spec("v.example/gpu", "0= null", "1= zero", "2= full")})
	run := specDir(t, map[string]string{"b.yaml": spec("v.example/gpu", "0= random", "2= full"), "c.yaml": spec("v.example/gpu", "2= tty")})
	inv := New(Options{Dirs: []string{etc, run}}).Devices(t.Context())
	equal(t, []string{"v.example/gpu=0", "v.example/gpu=1"}, ids(inv.Devices))
	equal(t, []string{"/dev/random"}, inv.Devices[0].Nodes)
	if len(inv.Problems) != 1 {
		t.Fatalf("problems: %v", inv.Problems)
	}
	contains(t, inv.Problems[0].Why, "v.example/gpu=2 is in "+run)
}

// What others could change, or what leads elsewhere, is not read, and named.
func TestUntrusted(t *testing.T) {
	text := spec("v.example/gpu", "0= null")
	for name, c := range map[string]struct {
		spoil func(dir, file string) error
		why   string
	}{
		"file of another":     {func(_, f string) error { return os.Chown(f, 1, 0) }, "belongs to uid 1"},
		"file for the group":  {func(_, f string) error { return os.Chmod(f, 0o664) }, "has the mode 0664"},
		"file for all":        {func(_, f string) error { return os.Chmod(f, 0o646) }, "has the mode 0646"},
		"directory of others": {func(d, _ string) error { return os.Chown(d, 1, 0) }, "belongs to uid 1"},
		"directory for all":   {func(d, _ string) error { return os.Chmod(d, 0o777) }, "has the mode 0777"},
		"sticky directory":    {func(d, _ string) error { return os.Chmod(d, 0o777|os.ModeSticky) }, "has the mode 1777"},
		"way there":           {func(d, _ string) error { return os.Chmod(filepath.Dir(d), 0o777) }, "has the mode 0777"},
		"link":                {func(d, f string) error { return errors.Join(os.Rename(f, d+"/x"), os.Symlink("x", f)) }, "it is a link"},
		"pipe":                {func(_, f string) error { return errors.Join(os.Remove(f), unix.Mkfifo(f, 0o644)) }, "no regular file"},
		"directory's link": {func(d, _ string) error {
			return errors.Join(os.Rename(d, d+".real"), os.Symlink(d+".real", d))
		}, "not a directory"},
		"large": {func(_, f string) error { return os.Truncate(f, maxSpec+1) }, "more than"},
		"huge":  {func(_, f string) error { return os.Truncate(f, 1<<40) }, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(specDir(t, nil), "cdi")
			file := filepath.Join(dir, "v.yaml")
			if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
			d := New(Options{Dirs: []string{dir}})
			equal(t, 1, len(d.Devices(t.Context()).Devices), "before")
			if err := c.spoil(dir, file); err != nil {
				t.Fatal(err)
			}
			inv := d.Devices(t.Context())
			if len(inv.Devices) != 0 || len(inv.Problems) != 1 {
				t.Fatalf("%+v", inv)
			}
			contains(t, inv.Problems[0].Why, c.why)
			contains(t, fmt.Sprint(d.Probe(t.Context())), c.why)
		})
	}
}

// A specification that wants what cove does not do is not used in part.
func TestRefusedEdits(t *testing.T) {
	const device = "\ndevices:\n- {name: '0', containerEdits: {%s}}\n"
	for edits, why := range map[string]string{
		`hooks: [{hookName: createRuntime, path: /bin/true}]`:       "would run as the host's root",
		`hooks: [{hookName: prestart, path: /bin/true}]`:            "would run as the host's root",
		`hooks: [{hookName: poststop, path: /bin/true}]`:            "would run as the host's root",
		`hooks: [{hookName: often, path: /bin/true}]`:               "unknown kind",
		`hooks: [{hookName: createContainer, path: true}]`:          "no clean absolute path",
		`hooks: [{hookName: createContainer, path: /nowhere/hook}]`: "its hook cannot be run",
		`hooks: [{hookName: createContainer, path: /etc/passwd}]`:   "its hook cannot be run",
		`hooks: [null]`: "empty hook",
		`mounts: [{hostPath: /usr, containerPath: /proc/x}]`:              "over cove's own /proc",
		`mounts: [{hostPath: /usr, containerPath: /run/cove}]`:            "over cove's own /run/cove",
		`mounts: [{hostPath: /usr, containerPath: /dev}]`:                 "over cove's own /dev",
		`mounts: [{hostPath: /usr, containerPath: /a/../b}]`:              "no clean absolute path",
		`mounts: [{hostPath: usr, containerPath: /b}]`:                    "no clean absolute path",
		`mounts: [{hostPath: overlay, containerPath: /b, type: overlay}]`: "mounts a overlay",
		`mounts: [{hostPath: /, containerPath: /b}]`:                      "no clean absolute path",
		`deviceNodes: [{path: /etc/x, hostPath: /dev/null}]`:              "not below /dev",
		`deviceNodes: [{path: /dev/sda, type: b}]`:                        "not a character device",
		`deviceNodes: [{path: /dev/x, hostPath: /etc/passwd}]`:            "not a character device",
		`deviceNodes: [{path: /dev/nothing-there}]`:                       "no such file",
		`deviceNodes: [{path: /dev/null, permissions: rwx}]`:              "permissions",
		`env: [NONSENSE]`:       "not NAME=VALUE",
		`intelRdt: {closID: x}`: "Intel RDT",
		`netDevices: [{hostInterfaceName: eth0, name: eth0}]`: "network devices",
		`surprise: 1`: "surprise",
	} {
		version := "1.1.0"
		for _, where := range []string{"device", "common"} {
			text := "cdiVersion: " + version + "\nkind: v.example/gpu" + fmt.Sprintf(device, edits)
			if where == "common" {
				if strings.Contains(edits, "nothing-there") || strings.Contains(edits, "/etc/passwd}]") && strings.HasPrefix(edits, "dev") {
					continue // found out when it is taken
				}
				text = "cdiVersion: " + version + "\nkind: v.example/gpu\ncontainerEdits: {" + edits + "}" + fmt.Sprintf(device, "env: [A=b]")
			}
			list, err := parse([]byte(text), "test")
			if err == nil || len(list) != 0 {
				t.Errorf("%s, %s: %v, %d devices", where, edits, err, len(list))
				continue
			}
			contains(t, err.Error(), why, where, " ", edits, ": ")
		}
	}
	for _, text := range []string{
		spec("v.example/gpu", "0= null", "0= zero"), spec("v.example/gpu", " x = null"), spec("v/gpu/x", "0= null"), spec("../x/gpu", "0= null"),
		"", "[]", "kind: v.example/gpu", "cdiVersion: 99.0.0\nkind: v.example/gpu", "cdiVersion: 0.6.0\nkind: gpu", "\x00", "a: &a [*a]",
	} {
		if list, err := parse([]byte(text), "test"); err == nil || len(list) > 0 {
			t.Errorf("%q is a specification", text)
		}
	}
	// NVIDIA's own hook for what cove never asks for is left out, and by its name only.
	const limits = `hooks: [{hookName: createRuntime, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, apply-cuda-memory-limits]}], deviceNodes: [{path: /dev/null}]`
	list, err := parse([]byte("cdiVersion: 0.6.0\nkind: v.example/gpu"+fmt.Sprintf(device, limits)), "test")
	if err != nil || len(list) != 1 || len(list[0].own.hooks) != 0 {
		t.Errorf("%v, %+v", err, list)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(spec("nvidia.com/gpu", "0= null zero", "all= null")))
	f.Add([]byte(`{"cdiVersion":"0.5.0","kind":"a.b/gpu","devices":[{"name":"0","containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/b","options":["rbind"]}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, _ := parse(data, "fuzz")
		devices, _ := collect(list)
		for _, d := range devices {
			for _, n := range d.edits.nodes {
				if !strings.HasPrefix(n.path, "/dev/") || strings.Contains(n.path, "..") {
					t.Fatalf("a node at %q", n.path)
				}
			}
			for _, m := range d.edits.mounts {
				if !slices.Contains(m.Options, "ro") || !slices.Contains(m.Options, "nodev") || !clean(m.Destination) {
					t.Fatalf("a mount %+v", m)
				}
			}
			for _, h := range d.edits.hooks {
				if h.stage != hookCreateContainer && h.stage != hookStartContainer {
					t.Fatalf("a hook at %s", h.stage)
				}
			}
		}
	})
}

// What the drivers say of their cards, below a root of the test's own.
func TestKernelFiles(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"proc/driver/nvidia/gpus/0000:01:00.0/information":    "Model: \t\t NVIDIA H200\nIRQ:   \t\t 41\nGPU UUID: \t GPU-6f2f\nDevice Minor: \t 1\n",
		"proc/driver/nvidia/gpus/0000:00:06.0/information":    "Model: \t\t Tesla\nGPU UUID: \t GPU-????????\nDevice Minor: \t 0\n",
		"proc/driver/nvidia/gpus/0000:02:00.0/information":    "nonsense",
		"sys/module/nvidia/version":                           "580.159.04\n",
		"sys/class/drm/renderD128/device/vendor":              "0x1002\n",
		"sys/class/drm/renderD128/device/device":              "0x73bf\n",
		"sys/class/drm/renderD128/device/unique_id":           "abc123\n",
		"sys/class/drm/renderD128/device/gpu_busy_percent":    "37\n",
		"sys/class/drm/renderD128/device/mem_info_vram_used":  "1048576\n",
		"sys/class/drm/renderD128/device/mem_info_vram_total": "17163091968\n",
		"sys/class/drm/renderD129/device/vendor":              "0x8086\n",
		"sys/class/drm/renderD130/device/vendor":              "0x1002\n",
		"sys/class/drm/renderD130/device/product_name":        "AMD Instinct MI300X\n",
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	d := New(Options{Dirs: []string{}})
	d.root, d.meter.root = root, root
	equal(t, "[{Tesla  0} {NVIDIA H200 GPU-6f2f 1}]", fmt.Sprint(d.cards()))
	equal(t, "580.159.04", d.nvidiaVersion())

	if list, problems := d.findAMD(); len(list)+len(problems) != 0 {
		t.Errorf("without /dev/kfd: %v %v", list, problems)
	}
	if os.Geteuid() != 0 {
		t.Skip("device nodes need root")
	}
	if err := os.MkdirAll(root+"/dev/dri", 0o755); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"kfd", "dri/renderD128", "dri/renderD130"} {
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o600, int(unix.Mkdev(226, uint32(i)))); err != nil {
			t.Skipf("make a device node: %v", err)
		}
	}
	list, problems := d.findAMD()
	devices, more := collect(list)
	d.describe(devices)
	equal(t, 0, len(problems)+len(more))
	equal(t, []string{"amd.com/gpu=0", "amd.com/gpu=1"}, ids(devices))
	equal(t, []string{"GPU-abc123", "AMD GPU 73bf", "AMD"}, []string{devices[0].UUID, devices[0].Model, devices[0].Vendor})
	equal(t, []string{"/dev/kfd", "/dev/dri/renderD130"}, devices[1].Nodes)
	equal(t, "AMD Instinct MI300X", devices[1].Model)
	// One node for all of them makes them no less two.
	if c := devices[0].Claim(false); c.Takes(&devices[1]) || !c.Takes(&devices[0]) {
		t.Errorf("%+v takes %+v", c, devices[1])
	}
	equal(t, []Use{{Utilization: 0.37, Memory: 1 << 20, MemoryTotal: 17163091968}, unknown()}, d.Use([]Claim{devices[0].Claim(false), devices[1].Claim(false)}))
}

func TestParseSMI(t *testing.T) {
	got := parseSMI("GPU-a, 98, 1024, 143771\nGPU-b, [N/A], 0, 81559\nGPU-c, [Unknown Error], [Not Supported], \n")
	equal(t, map[string]Use{
		"GPU-a": {Utilization: 0.98, Memory: 1 << 30, MemoryTotal: 143771 << 20},
		"GPU-b": {MemoryTotal: 81559 << 20, Missing: []string{Utilization}},
		"GPU-c": unknown(),
	}, got)
	for _, text := range []string{"No devices were found\n", "a,b\n", "\"\n"} {
		if got := parseSMI(text); len(got) != 0 {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestLinkerCache(t *testing.T) {
	got := linkerCache([]byte(`3 libs found in cache `+"`/etc/ld.so.cache'"+`
	libcuda.so.1 (libc6,x86-64) => /usr/local/nvidia/lib64/libcuda.so.1
	libcuda.so.1 (libc6,x86-64) => /usr/local/nvidia/lib64/libcuda.so.2
	libcuda.so.1 (libc6) => /lib/i386-linux-gnu/libcuda.so.1
	../evil.so (libc6,x86-64) => /lib/evil.so
	libx.so (libc6,x86-64) => lib/x.so
Cache generated by: ldconfig`), "x86-64")
	equal(t, []string{"libcuda.so.1 /usr/local/nvidia/lib64/libcuda.so.1"}, func() (list []string) {
		for _, l := range got {
			list = append(list, l.name+" "+l.path)
		}
		return list
	}())
}

// A tool that says too much, or nothing for too long, is ended with all that it
// started.
func TestToolsAreBounded(t *testing.T) {
	if _, err := output(t.Context(), time.Minute, "/bin/sh", "-c", "yes"); !errors.Is(err, errTooMuch) {
		t.Errorf("an endless output: %v", err)
	}
	mark := filepath.Join(t.TempDir(), "pid")
	_, err := output(t.Context(), 300*time.Millisecond, "/bin/sh", "-c", "sleep 1000 & echo $! >"+mark+"; wait")
	if err == nil || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("a tool that hangs: %v", err)
	}
	pid, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	if fd, err := unix.PidfdOpen(n, 0); err == nil { // else it is gone
		defer unix.Close(fd)
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); n != 1 {
			t.Errorf("what it started runs on: %v", err)
		}
	}
	_, err = output(t.Context(), time.Minute, "/bin/sh", "-c", "echo warning >&2; echo broken >&2; exit 3")
	if err == nil || err.Error() != "sh: exit status 3: broken" {
		t.Errorf("a tool that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := output(ctx, time.Minute, "/bin/sleep", "1000"); err == nil {
		t.Error("a tool outlives who wants it")
	}
}
