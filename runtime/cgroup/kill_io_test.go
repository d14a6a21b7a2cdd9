package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cove/config"
)

// TestKillLiftsIO has a killed group's limits of disks gone: what waits for its turn
// at a slow one would not end before it came.
func TestKillLiftsIO(t *testing.T) {
	tree := realTree(t, nil)
	if !tree.Has("io") {
		t.Skip("no io controller")
	}
	device, err := DeviceOf(t.TempDir())
	if err != nil {
		t.Skip(err)
	}
	id := randomHex(t, 12)
	mkdir(t, tree, tree.dirs(id)...)
	if err := tree.SetIO(id, device, 5*config.KiB, 6*config.KiB); err != nil {
		t.Fatal(err)
	}
	limits := func() string {
		h, _ := tree.with("io")
		var all strings.Builder
		for _, name := range []string{"io.max", "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"} {
			data, err := os.ReadFile(filepath.Join(tree.dir(h, id), name))
			if err == nil {
				all.Write(data)
			}
		}
		return all.String()
	}
	if got := limits(); !strings.Contains(got, "5120") || !strings.Contains(got, "6144") {
		t.Fatalf("the limits are %q", got)
	}
	start(t, tree.dirs(id), "sleep", "1000")
	kill(t, tree, id)
	if got := limits(); got != "" {
		t.Errorf("of one that was killed the limits are %q", got)
	}
	remove(t, tree, id)
}
