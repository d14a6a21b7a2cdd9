package rootfs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newLayers(t *testing.T) (l *Layers, state, run string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("owners and whiteouts need root")
	}
	state, run = t.TempDir(), t.TempDir()
	l, err := OpenLayers(t.Context(), state, run)
	if err != nil {
		t.Fatal(err)
	}
	return l, state, run
}

func fill(name, text string) func(context.Context, *os.File) error {
	return func(_ context.Context, root *os.File) error {
		return os.WriteFile(filepath.Join(root.Name(), name), []byte(text), 0o644)
	}
}

func TestLayerIsMadeOnce(t *testing.T) {
	l, _, _ := newLayers(t)
	var built atomic.Int32
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			release, err := l.Make(t.Context(), "sha256-a", func(ctx context.Context, root *os.File) error {
				built.Add(1)
				<-gate
				return fill("f", "x")(ctx, root)
			})
			if err != nil {
				t.Error(err)
				return
			}
			release()
		})
	}
	for built.Load() == 0 {
		runtime.Gosched()
	}
	close(gate)
	wg.Wait()
	if built.Load() != 1 || !l.Has("sha256-a") {
		t.Errorf("built %d times, there: %v", built.Load(), l.Has("sha256-a"))
	}
}

// The one whose build it is gives up: another takes it over. One that fails leaves
// nothing, and everybody who waited has its error.
func TestLayerThatIsNotMade(t *testing.T) {
	l, state, _ := newLayers(t)
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := l.Make(ctx, "sha256-b", func(ctx context.Context, _ *os.File) error {
			close(begun)
			<-ctx.Done()
			return context.Cause(ctx)
		})
		first <- err
	}()
	<-begun
	second := make(chan error, 1)
	go func() {
		release, err := l.Make(t.Context(), "sha256-b", fill("f", "x"))
		if err == nil {
			release()
		}
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	if err := <-second; err != nil || !l.Has("sha256-b") {
		t.Errorf("the second: %v", err)
	}
	failure := errors.New("it fails")
	if _, err := l.Make(t.Context(), "sha256-c", func(context.Context, *os.File) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("one that fails: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(state, layersName))
	if err != nil || len(entries) != 1 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

func TestCollect(t *testing.T) {
	l, state, run := newLayers(t)
	for _, name := range []string{"used", "pinned", "mounted", "unused"} {
		release, err := l.Make(t.Context(), name, fill("f", name))
		if err != nil {
			t.Fatal(err)
		}
		if name != "pinned" {
			release()
		}
	}
	if err := os.WriteFile(filepath.Join(run, refsName, "0123"), []byte("mounted\nhost-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"host-1", "usr.scan", makingPrefix + "x", gonePrefix + "y"} {
		if err := os.Mkdir(filepath.Join(state, layersName, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Collect(t.Context(), func() (map[string]bool, error) { return nil, errors.New("unknown") }); err == nil || !l.Has("unused") {
		t.Errorf("where nobody knows what is used: %v", err)
	}
	if err := l.Collect(t.Context(), func() (map[string]bool, error) { return map[string]bool{"used": true}, nil }); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"used": true, "pinned": true, "mounted": true, "unused": false} {
		if l.Has(name) != want {
			t.Errorf("%s is there: %v", name, !want)
		}
	}
	if _, err := l.Pin("used", "unused"); !errors.Is(err, ErrNoLayer) {
		t.Errorf("pinned what is not there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(state, layersName, "host-1")); err != nil {
		t.Errorf("a layer of the host image: %v", err)
	}
	if _, err := OpenLayers(t.Context(), state, run); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{makingPrefix + "x", gonePrefix + "y"} {
		if _, err := os.Stat(filepath.Join(state, layersName, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "..", "a/b", "host-2", "usrmask-1", "-x", "A", ".gone-z"} {
		if _, err := l.Make(t.Context(), bad, fill("f", "")); err == nil {
			t.Errorf("a layer called %q", bad)
		}
	}
}

// One whose caller gave up leaves nothing that stays, nor stands in the way of a layer
// of the same name; and who comes meanwhile waits.
func TestCollectIsCutOff(t *testing.T) {
	l, state, _ := newLayers(t)
	nothing := func() (map[string]bool, error) { return nil, nil }
	put := func() {
		release, err := l.Make(t.Context(), "a", fill("f", "a"))
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	put()
	ctx, cancel := context.WithCancel(t.Context())
	if err := l.Collect(ctx, func() (map[string]bool, error) { cancel(); return nil, nil }); !errors.Is(err, context.Canceled) || l.Has("a") {
		t.Fatalf("cut off: %v, it is there: %v", err, l.Has("a"))
	}
	if _, err := os.Stat(filepath.Join(state, layersName, gonePrefix+"a")); err != nil {
		t.Fatalf("it was not cut off: %v", err)
	}
	put()
	l.removing <- struct{}{}
	if err := l.Collect(ctx, nothing); !errors.Is(err, context.Canceled) {
		t.Errorf("it does not wait: %v", err)
	}
	<-l.removing
	if err := l.Collect(t.Context(), nothing); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(state, layersName)); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

// changes are what an upper may hold.
func changes(t *testing.T, top string) {
	t.Helper()
	run := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(top, name) }
	run(os.MkdirAll(at("root/d/deep"), 0o750))
	run(os.MkdirAll(at("usr/bin"), 0o755))
	run(os.WriteFile(at("root/f"), []byte("file"), 0o640))
	run(os.Chown(at("root/f"), 1000, 1000))
	run(os.Link(at("root/f"), at("root/d/hard")))
	run(os.Symlink("/nowhere", at("root/link")))
	run(unix.Mknod(at("usr/bin/gone"), unix.S_IFCHR, 0))
	run(unix.Mkfifo(at("root/pipe"), 0o600))
	run(unix.Setxattr(at("root/d"), opaqueXattr, []byte("y"), 0))
	run(unix.Setxattr(at("root/f"), "user.a", []byte("b"), 0))
	sparse, err := os.Create(at("root/sparse"))
	run(err)
	_, err = sparse.WriteAt([]byte("end"), 8<<20)
	run(err)
	run(sparse.Close())
}

// listed is all that a tree is, in lines.
func listed(t *testing.T, root string) string {
	t.Helper()
	out, err := exec.Command("bash", "-c", `cd "$0" && find . -printf '%p %y %m %U:%G %s %n %l %T@\n' | sed 's/\.[0-9]* *$//' | sort
		find . -type f -print0 | sort -z | xargs -0 -r sha256sum
		getfattr -R -d -m - -h . 2>/dev/null | sort || true`, root).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestClone(t *testing.T) {
	l, _, _ := newLayers(t)
	top := t.TempDir()
	changes(t, top)
	from, err := os.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	var c *Cloner
	release, err := l.MakeClone(t.Context(), "snap-1", func(ctx context.Context, to *os.File) error {
		c = NewCloner(from, to, nil)
		for again := time.Now().Add(time.Minute); ; {
			before := c.Copied()
			if err := c.HotPass(ctx); err != nil {
				return err
			}
			if c.Copied() == before && before > 0 {
				break
			}
			// What was changed a moment ago may be.
			if time.Now().After(again) {
				t.Fatalf("what nobody changes is copied again and again: %d bytes", c.Copied())
			}
		}
		// Between two passes everything may become something else.
		for _, err := range []error{
			os.WriteFile(filepath.Join(top, "root/f"), []byte("FILE"), 0o640), os.Remove(filepath.Join(top, "root/link")),
			os.Mkdir(filepath.Join(top, "root/link"), 0o700), os.RemoveAll(filepath.Join(top, "root/d/deep")),
			os.WriteFile(filepath.Join(top, "root/d/deep"), []byte("no directory any more"), 0o600), os.Remove(filepath.Join(top, "usr/bin/gone")),
			os.WriteFile(filepath.Join(top, "usr/bin/gone"), []byte("back"), 0o755), os.Chmod(filepath.Join(top, "root/pipe"), 0o644),
			os.Rename(filepath.Join(top, "root/sparse"), filepath.Join(top, "root/moved")),
		} {
			if err != nil {
				return err
			}
		}
		return c.Pass(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if want, got := listed(t, top), listed(t, l.Path("snap-1")); want != got {
		t.Errorf("the copy is\n%s\nthe original\n%s", got, want)
	}
	if c.Copied() > 16<<20 {
		t.Errorf("%d bytes were copied: holes too", c.Copied())
	}
}
