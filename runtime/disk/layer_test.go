package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// All who lie on a layer share one device, those of the next daemon too, and it goes
// with the last of them; none of them can change it.
func TestLayersAreShared(t *testing.T) {
	w := newWorld(t)
	root := w.create("one", Spec{Size: 32 * mib})
	if _, err := write(t, root, "file", mib); err != nil {
		t.Fatal(err)
	}
	_ = root.Close()
	if ok, err := w.d.Settled("one"); ok || err != nil {
		t.Errorf("while it is mounted: settled %v, %v", ok, err)
	}
	w.leave("one")
	if ok, err := w.d.Settled("one"); !ok || err != nil {
		t.Errorf("once it is closed: settled %v, %v", ok, err)
	}
	layer := filepath.Join(w.state, "layers", "snap-1")
	if err := errors.Join(os.MkdirAll(layer, 0o700), os.Rename(filepath.Join(w.dir("one"), ImageFile), filepath.Join(layer, ImageFile))); err != nil {
		t.Fatal(err)
	}
	trees := make([]*mount.Tree, 5)
	open := func(from, to int) {
		t.Helper()
		var wg sync.WaitGroup
		for i := from; i < to; i++ {
			wg.Go(func() {
				var err error
				if trees[i], err = w.d.Layer(context.Background(), layer, nil); err != nil {
					t.Errorf("the %dth: %v", i, err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	attached := func() []string {
		t.Helper()
		all, err := w.d.AttachedLayers()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(all))
	}
	open(0, 4)
	w.restart()
	open(4, 5)
	w.wantAttached() // no sandbox's
	devs := map[uint64]bool{}
	for _, tree := range trees {
		var st unix.Stat_t
		if err := unix.Fstat(int(tree.Dir().Fd()), &st); err != nil {
			t.Fatal(err)
		}
		devs[st.Dev] = true
		f, err := mount.OpenWithin(tree.Dir(), "file", unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(); err != nil || info.Size() != mib {
			t.Errorf("the file: %v, %v", info, err)
		}
		_ = f.Close()
		if f, err := mount.OpenWithin(tree.Dir(), "new", unix.O_WRONLY|unix.O_CREAT, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("it can be written to: %v, %v", f, err)
		}
	}
	if len(devs) != 1 || fmt.Sprint(attached()) != "[snap-1]" {
		t.Errorf("%d file systems, attached for %v", len(devs), attached())
	}
	for _, tree := range trees {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}
	if !poll(context.Background(), time.Minute, func() bool { return len(attached()) == 0 }) {
		t.Errorf("still attached for %v", attached())
	}
}
