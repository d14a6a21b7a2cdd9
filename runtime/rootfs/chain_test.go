package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// listing describes all that is below dir: kinds, modes, owners, times, contents,
// attributes, and which names are one file.
func listing(t testing.TB, dir string) []string {
	t.Helper()
	first := map[uint64]string{}
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		if !e.IsDir() {
			line += fmt.Sprintf(" %d %d.%d rdev %d", st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Rdev)
			if at, ok := first[st.Ino]; ok {
				line += " is " + at
			} else if st.Nlink > 1 {
				first[st.Ino] = rel
			}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", data)
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + to
		}
		names := make([]byte, 4096)
		n, err := unix.Llistxattr(path, names)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
		keys := strings.Split(strings.TrimSuffix(string(names[:max(n, 0)]), "\x00"), "\x00")
		slices.Sort(keys)
		for _, k := range keys {
			// What overlayfs says of the inodes below is of no other layer.
			if k == "" || strings.HasPrefix(k, "trusted.overlay.") && k != opaqueXattr {
				continue
			}
			v := make([]byte, 4096)
			n, err := unix.Lgetxattr(path, k, v)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %s=%q", k, v[:n])
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameListing(t testing.TB, what string, got, want []string) {
	t.Helper()
	for _, l := range want {
		if !slices.Contains(got, l) {
			t.Errorf("%s: lost: %.300s", what, l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			t.Errorf("%s: new: %.300s", what, l)
		}
	}
}

// withLayers is a world with a store, and a base in it.
func withLayers(t testing.TB) (*world, *Layers, Base) {
	t.Helper()
	w := newWorld(t, fixture(t))
	l, err := OpenLayers(context.Background(), w.state, w.run)
	if err != nil {
		t.Fatal(err)
	}
	w.host.opts.Layers = l
	release, err := l.Make(context.Background(), "ground", func(_ context.Context, root *os.File) error {
		for _, d := range places() {
			if err := makeDir(root, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	return w, l, Base{Layers: []string{"ground"}}
}

func (w *world) mountOn(t testing.TB, id string, b Base) string {
	t.Helper()
	if err := createAt(w.dir(id), "", ""); err != nil {
		t.Fatal(err)
	}
	if err := w.host.Mount(context.Background(), w.dir(id), w.target(id), baseA, b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.down(id) })
	return w.target(id)
}

// mischief does what one does in a directory: few names, so that they meet.
func mischief(t testing.TB, r *rand.Rand, root string, step int) {
	t.Helper()
	dirs := []string{"srv", "srv/a", "srv/a/b", "srv/c"}
	names := []string{"x", "y", "z", "a", "b", "c"}
	path := func() string { return filepath.Join(root, dirs[r.IntN(len(dirs))], names[r.IntN(len(names))]) }
	for range 12 {
		p, q := path(), path()
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			if err := os.RemoveAll(filepath.Join(root, "srv")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		// That one or the other is not possible just now is part of it.
		switch r.IntN(9) {
		case 0, 1, 2:
			_ = os.WriteFile(p, fmt.Appendf(nil, "%d-%d", step, r.IntN(1000)), 0o644)
		case 3:
			_ = os.RemoveAll(p)
		case 4:
			_ = os.RemoveAll(p)
			_ = os.MkdirAll(p, 0o750) // opaque where there was one
			_ = os.WriteFile(filepath.Join(p, "in"), fmt.Appendf(nil, "%d", step), 0o600)
		case 5:
			_ = os.Symlink(fmt.Sprintf("to-%d", step), p)
		case 6:
			_ = os.Link(p, q)
		case 7:
			_ = os.Chmod(p, os.FileMode(0o600+r.IntN(0o100)))
			_ = unix.Setxattr(p, "user.k", fmt.Appendf(nil, "%d", step), 0)
		case 8:
			_ = os.Rename(p, q)
		}
	}
}

// A chain of sixty states that the kernel's overlay made looks the same when most of
// it is one layer, on what lies below.
func TestMergeAChain(t *testing.T) {
	w, l, b := withLayers(t)
	r := rand.New(rand.NewPCG(1, 2))
	const depth, kept = 60, 8
	for i := range depth {
		root := w.mountOn(t, "a", b)
		mischief(t, r, root, i)
		w.down("a")
		name := fmt.Sprintf("state-%d", i)
		if err := w.host.Commit(context.Background(), w.dir("a"), w.target("a"), name); err != nil {
			t.Fatal(err)
		}
		b = b.With(name)
	}
	want := listing(t, w.mountOn(t, "a", b))
	if len(want) < 20 {
		t.Fatalf("hardly anything in it: %q", want)
	}
	lower, release, err := l.Merge(context.Background(), "lower", Base{Layers: b.Layers[:len(b.Layers)-kept]})
	if err != nil {
		t.Fatal(err)
	}
	release()
	short := Base{Layers: slices.Concat(lower, b.Layers[len(b.Layers)-kept:])}
	sameListing(t, "merged below", listing(t, w.mountOn(t, "b", short)), want)
	all, release, err := l.Merge(context.Background(), "all", b)
	if err != nil {
		t.Fatal(err)
	}
	release()
	sameListing(t, "all merged", listing(t, w.mountOn(t, "c", Base{Layers: all})), want)
	// And once more, of what is merged already.
	twice, release, err := l.Merge(context.Background(), "twice", short)
	if err != nil {
		t.Fatal(err)
	}
	release()
	sameListing(t, "merged twice", listing(t, w.mountOn(t, "d", Base{Layers: twice})), want)
	// Only what is used stays.
	for _, id := range []string{"a", "b", "c", "d"} {
		w.down(id)
	}
	if err := l.Collect(context.Background(), func() (map[string]bool, error) { return map[string]bool{all[0]: true}, nil }); err != nil {
		t.Fatal(err)
	}
	if l.Has("ground") || l.Has(lower[0]) || !l.Has(all[0]) {
		t.Error("the wrong ones were collected")
	}
	sameListing(t, "alone", listing(t, w.mountOn(t, "c", Base{Layers: all})), want)
}

// What is copied of a sandbox that goes on is what it was while it stood still.
func TestCopyOfARunningSandbox(t *testing.T) {
	w, l, b := withLayers(t)
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 2 {
		root := w.mountOn(t, "a", b)
		for i := range 10 {
			mischief(t, r, root, i)
		}
		big := filepath.Join(root, "big")
		f, err := os.Create(big)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("end"), 64<<20); err != nil {
			t.Fatal(err)
		}
		shared, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		shared[0] = 'a' // its page is dirty, and stays writable
		upper, err := os.Open(filepath.Join(w.dir("a"), Upper))
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("copy-%d", round)
		var want []string
		var copied int64
		release, err := l.MakeClone(context.Background(), name, func(ctx context.Context, to *os.File) error {
			c := NewCloner(upper, to, nil)
			if err := c.HotPass(ctx); err != nil {
				return err
			}
			shared[1] = 'b' // no time of the file's tells of it, but for the sync
			mischief(t, r, root, 100+round)
			want = listing(t, upper.Name())
			err := c.Pass(ctx)
			copied = c.Copied()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		release()
		sameListing(t, name, listing(t, l.Path(name)), want)
		if copied > 16<<20 {
			t.Errorf("%d bytes were copied of a file with a hole", copied)
		}
		if err := errors.Join(unix.Munmap(shared), f.Close(), upper.Close()); err != nil {
			t.Fatal(err)
		}
		w.down("a")
		if t.Failed() {
			return
		}
	}
}

// A copy that there is no room for is broken off, and leaves nothing.
func TestCloneBrokenOff(t *testing.T) {
	l, _, _ := newLayers(t)
	top := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(top, "root"), 0o755), os.Mkdir(filepath.Join(top, "usr"), 0o755),
		os.WriteFile(filepath.Join(top, "root/big"), make([]byte, 2*admitEvery), 0o600)); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	short, shared := errors.New("no room"), false
	_, err = l.MakeClone(context.Background(), "snap-1", func(ctx context.Context, to *os.File) error {
		c := NewCloner(from, to, func() error { return short })
		err := c.Pass(ctx)
		shared = err == nil && c.Copied() == 0 // XFS, btrfs: nothing to refuse
		if shared {
			err = short
		}
		return err
	})
	if !errors.Is(err, short) || l.Has("snap-1") {
		t.Errorf("no room: %v", err)
	}
	left, err := os.ReadDir(l.dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
