package cgroup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cove/config"
)

// limited makes a sandbox's group in the machine's own hierarchies.
func limited(t *testing.T, controller string) (tree *Tree, id, dir string, v2 bool) {
	t.Helper()
	tree = realTree(t, nil)
	id = randomHex(t, 12)
	mkdir(t, tree, tree.dirs(id)...)
	dir, v2, err := tree.group(id, controller)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tree, id, dir, v2
}

// holds checks what the kernel has made of it.
func holds(t *testing.T, dir, file, want string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Error(err)
	}
	if got := strings.TrimSpace(string(data)); got != want {
		t.Errorf("%s is %q, want %q", file, got, want)
	}
}

func TestSetCPU(t *testing.T) {
	tree, id, dir, v2 := limited(t, "cpu")
	for _, c := range []struct {
		cores                       float64
		max, weight, quota, sharesV string
	}{
		{1.5, "150000 100000", "150", "150000", "1536"},
		{0.25, "25000 100000", "25", "25000", "256"},
		{0, "max 100000", "100", "-1", "1024"},
	} {
		if err := tree.SetCPU(id, c.cores); err != nil {
			t.Fatal(err)
		}
		if v2 {
			holds(t, dir, "cpu.max", c.max)
			holds(t, dir, "cpu.weight", c.weight)
			continue
		}
		holds(t, dir, "cpu.cfs_quota_us", c.quota)
		holds(t, dir, "cpu.shares", c.sharesV)
	}
}

func TestSetPids(t *testing.T) {
	tree, id, dir, _ := limited(t, "pids")
	for n, want := range map[int64]string{0: "max", 77: "77"} {
		if err := tree.SetPids(id, n); err != nil {
			t.Fatal(err)
		}
		holds(t, dir, "pids.max", want)
	}
}

func TestSetMemory(t *testing.T) {
	tree, id, dir, v2 := limited(t, "memory")
	counts := tree.limitsSwap()
	// Up, down, with more and less swap, away and back: in every order v1 wants.
	for _, c := range []struct{ memory, swap config.Size }{
		{64 << 20, 0}, {128 << 20, 0}, {32 << 20, 512 << 20}, {256 << 20, 0}, {0, 0}, {16 << 20, 16 << 20}, {64 << 20, 0}, {8 << 20, 0},
	} {
		if err := tree.SetMemory(id, c.memory, c.swap); err != nil {
			t.Fatalf("%v and %v: %v", c.memory, c.swap, err)
		}
		switch {
		case v2:
			holds(t, dir, "memory.max", orMax(int64(c.memory)))
			if counts {
				holds(t, dir, "memory.swap.max", strconv.FormatInt(int64(c.swap), 10))
			}
		case c.memory == 0:
		default:
			holds(t, dir, "memory.limit_in_bytes", strconv.FormatInt(int64(c.memory), 10))
			if counts {
				holds(t, dir, "memory.memsw.limit_in_bytes", strconv.FormatInt(int64(c.memory+c.swap), 10))
			}
		}
	}
	if v2 {
		if err := tree.SetMemoryHigh(id, 4<<20); err != nil {
			t.Error(err)
		}
		holds(t, dir, "memory.high", "4194304")
	} else if err := tree.SetMemoryHigh(id, 4<<20); !errors.Is(err, ErrUnavailable) {
		t.Errorf("memory.high on v1: %v", err)
	}
}

// TestMemoryInUse has a process that holds 64 MiB: it is counted, is not taken
// back, and a limit below it is refused where the kernel refuses it.
func TestMemoryInUse(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	tree, id, dir, v2 := limited(t, "memory")
	const held = 64 << 20
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.SetMemory(id, 4*held, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperVar+"=hold")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	enter(t, cmd, []string{dir})
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has them
		t.Fatal(err)
	}
	memory, swap, err := tree.MemoryInUse(id)
	var noise config.Size
	if !v2 {
		noise = 1 << 20 // two counters that the kernel brings up to date by the batch
	}
	if err != nil || memory < held || memory > 2*held || swap > noise {
		t.Errorf("in use: %v and %v of swap, %v", memory, swap, err)
	}
	if !v2 {
		if err := tree.SetMemory(id, held/2, 0); !errors.Is(err, ErrInUse) {
			t.Errorf("a limit below what is in use: %v", err)
		}
		if _, err := tree.Reclaim(t.Context(), id, held); !errors.Is(err, ErrUnavailable) {
			t.Errorf("reclaim on v1: %v", err)
		}
		return
	}
	done, err := tree.Reclaim(t.Context(), id, 2*held)
	if err != nil || done >= 2*held {
		t.Errorf("reclaimed %v of what cannot be: %v", done, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if _, err := tree.Reclaim(ctx, id, held); !errors.Is(err, cause) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestSetCPUs(t *testing.T) {
	tree, id, _, _ := limited(t, "cpuset")
	for _, list := range []string{"0", "", "0"} {
		if err := tree.SetCPUs(id, list); err != nil {
			t.Fatal(err)
		}
		if got, err := tree.CPUs(id); err != nil || got != list {
			t.Errorf("set %q, got %q, %v", list, got, err)
		}
	}
	if err := tree.SetCPUs(id, "100000"); err == nil {
		t.Error("a processor that nobody has")
	}
}

func TestSetIO(t *testing.T) {
	tree, id, dir, v2 := limited(t, "io")
	d, err := DeviceOf("/")
	if errors.Is(err, ErrUnavailable) {
		d, err = DeviceOf("/var/tmp")
	}
	if err != nil {
		t.Skip(err)
	}
	if err := tree.SetIO(id, d, 1<<20, 2<<20); err != nil {
		t.Fatal(err)
	}
	if v2 {
		holds(t, dir, "io.max", d.String()+" rbps=1048576 wbps=2097152 riops=max wiops=max")
	} else {
		holds(t, dir, "blkio.throttle.read_bps_device", d.String()+" 1048576")
		holds(t, dir, "blkio.throttle.write_bps_device", d.String()+" 2097152")
	}
	if err := tree.SetIO(id, d, 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"io.max", "blkio.throttle.read_bps_device"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil && len(data) > 0 {
			t.Errorf("%s without limits: %q", file, data)
		}
	}
	if err := tree.SetIO(id, Device{Major: 4095, Minor: 1}, 1, 1); err == nil {
		t.Error("a device that is not there")
	}
}

func TestSetOfNothing(t *testing.T) {
	tree, _, _, _ := limited(t, "pids")
	none := randomHex(t, 12)
	for name, err := range map[string]error{
		"cpu": tree.SetCPU(none, 1), "pids": tree.SetPids(none, 1), "memory": tree.SetMemory(none, 64<<20, 0), "cpuset": tree.SetCPUs(none, "0"),
	} {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s of no group: %v", name, err)
		}
	}
	if err := tree.SetPids("../x", 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("a bad id: %v", err)
	}
}

// TestWholeDevice has a /sys of a disk with a partition, a mapped device and a
// loop device.
func TestWholeDevice(t *testing.T) {
	sys := t.TempDir()
	device := func(path, dev string, partition bool) {
		dir := filepath.Join(sys, "devices", path)
		for _, err := range []error{
			os.MkdirAll(dir, 0o755), os.MkdirAll(filepath.Join(sys, "dev/block"), 0o755),
			os.WriteFile(filepath.Join(dir, "dev"), []byte(dev+"\n"), 0o644), os.Symlink(dir, filepath.Join(sys, "dev/block", dev)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if partition {
			if err := os.WriteFile(filepath.Join(dir, "partition"), []byte("1\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	device("pci/nvme0n1", "259:0", false)
	device("pci/nvme0n1/nvme0n1p2", "259:2", true)
	device("virtual/dm-0", "253:0", false)
	device("virtual/loop3", "7:3", false)
	for d, want := range map[Device]Device{
		{259, 0}: {259, 0}, {259, 2}: {259, 0}, {253, 0}: {253, 0}, {7, 3}: {7, 3},
	} {
		if got, err := wholeDevice(sys, d); got != want || err != nil {
			t.Errorf("of %v: %v, %v", d, got, err)
		}
	}
	if d, err := wholeDevice(sys, Device{0, 42}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of a file system in memory: %v, %v", d, err)
	}
	if d, err := DeviceOf("/proc"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of /proc: %v, %v", d, err)
	}
}

func BenchmarkSetCPUs(b *testing.B) {
	tree := realTree(b, nil)
	id := randomHex(b, 12)
	mkdir(b, tree, tree.dirs(id)...)
	dir, _, err := tree.group(id, "cpuset")
	if err != nil {
		b.Skip(err)
	}
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(cmd.Process.Pid)); err != nil {
		b.Fatal(err)
	}
	lists := []string{"0", ""}
	for i := 0; b.Loop(); i++ {
		if err := tree.SetCPUs(id, lists[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}
