package rootfs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// chainOf makes layers as sandboxes do: each is what was changed at random in an
// overlay of all before, on what lies at host.
func chainOf(t *testing.T, l *Layers, host string, n int, seed uint64) Base {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := Base{Host: true}
	for i := range n {
		name := fmt.Sprintf("l%d", i)
		release, err := l.MakeClone(t.Context(), name, func(_ context.Context, dir *os.File) error {
			upper := filepath.Join(dir.Name(), layerRoot)
			if err := os.Mkdir(upper, 0o755); err != nil {
				return err
			}
			work := t.TempDir()
			at := t.TempDir()
			opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=nofollow,metacopy=off,index=off", lowerDirs(l, b, host), upper, work)
			if err := unix.Mount("x", at, "overlay", 0, opts); err != nil {
				return fmt.Errorf("overlay: %w", err)
			}
			change(t, rnd, at)
			return unix.Unmount(at, 0)
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		b = b.With(name)
	}
	return b
}

func lowerDirs(l *Layers, b Base, host string) string {
	var dirs []string
	for i := len(b.Layers) - 1; i >= 0; i-- {
		dirs = append(dirs, filepath.Join(l.Path(b.Layers[i]), layerRoot))
	}
	return strings.Join(append(dirs, host), ":")
}

// change does some things to a tree, at random.
func change(t *testing.T, rnd *rand.Rand, top string) {
	t.Helper()
	name := func() string {
		parts := make([]string, 1+rnd.IntN(3))
		for i := range parts {
			parts[i] = string(rune('a' + rnd.IntN(4)))
		}
		return filepath.Join(top, filepath.Join(parts...))
	}
	for range 6 {
		at := name()
		switch rnd.IntN(7) {
		case 0, 1:
			_ = os.MkdirAll(at, 0o755)
			_ = os.WriteFile(filepath.Join(at, "f"), []byte(fmt.Sprint(rnd.Int())), 0o644)
		case 2:
			_ = os.RemoveAll(at)
		case 3:
			_ = os.RemoveAll(at)
			_ = os.Mkdir(at, 0o700) // opaque, where there was one
		case 4:
			_ = os.RemoveAll(at)
			_ = os.WriteFile(at, []byte(fmt.Sprint(rnd.Int())), 0o600)
		case 5:
			_ = os.Chmod(at, 0o711)
		case 6:
			_ = os.Remove(at)
			_ = os.Symlink("a/b", at)
		}
	}
}

// A root of the merged layer is what one of all the layers is, also where they hide
// what is below them.
func TestMerge(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l, _, _ := newLayers(t)
			host := t.TempDir()
			rnd := rand.New(rand.NewPCG(seed, 7))
			for range 8 {
				change(t, rnd, host)
			}
			b := chainOf(t, l, host, 24, seed)
			layers, release, err := l.Merge(t.Context(), "merged", b)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			want := viewed(t, lowerDirs(l, b, host))
			got := viewed(t, lowerDirs(l, Base{Layers: layers}, host))
			if want != got {
				t.Errorf("seed %d: merged it is\n%s\nbefore it was\n%s", seed, got, want)
			}
			if strings.Count(want, "\n") < 3 {
				t.Errorf("there is nothing in it: %s", want)
			}
			// Nothing is below: nothing has to be hidden.
			alone := Base{Layers: b.Layers}
			_, release, err = l.Merge(t.Context(), "alone", alone)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			empty := t.TempDir()
			if want, got := viewed(t, lowerDirs(l, alone, empty)), viewed(t, lowerDirs(l, Base{Layers: []string{"alone"}}, empty)); want != got {
				t.Errorf("seed %d: alone, merged it is\n%s\nbefore it was\n%s", seed, got, want)
			}
			if out, err := exec.Command("find", l.Path("alone"), "-type", "c").CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("whiteouts of nothing: %s, %v", out, err)
			}
		})
	}
}

// viewed is all that an overlay of these layers shows, but for how many names a file
// has.
func viewed(t *testing.T, lower string) string {
	t.Helper()
	at := t.TempDir()
	if err := unix.Mount("x", at, "overlay", unix.MS_RDONLY, "lowerdir="+lower+",redirect_dir=nofollow,metacopy=off,index=off"); err != nil {
		t.Fatalf("overlay: %v", err)
	}
	defer func() { _ = unix.Unmount(at, 0) }()
	out, err := exec.Command("bash", "-c", `cd "$0" && find . -printf '%p %y %m %U:%G %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 -r sha256sum`, at).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
