package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// world is a state directory with a driver.
type world struct {
	t     testing.TB
	state string
	d     *Driver
}

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("disks need root")
	}
	return worldAt(t, t.TempDir())
}

func worldAt(t testing.TB, state string) *world {
	t.Helper()
	w := &world{t: t, state: state}
	if err := os.MkdirAll(filepath.Join(state, "sandboxes"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.restart()
	t.Cleanup(func() {
		if err := w.d.Close(); err != nil {
			t.Error(err)
		}
		w.wantAttached()
	})
	return w
}

// restart is a new daemon in place of one that was killed: it gave nothing back.
func (w *world) restart() {
	w.t.Helper()
	if w.d != nil {
		if err := w.d.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	d, err := New(Options{StateDir: w.state, Inst: fmt.Sprintf("%06x", os.Getpid()&0xffffff)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.d = d
}

func (w *world) dir(id string) string { return filepath.Join(w.state, "sandboxes", id) }

// create makes a sandbox's directory with its disk, as the Manager does, and
// returns the disk's root.
func (w *world) create(id string, s Spec) *os.File {
	w.t.Helper()
	root, err := w.tryCreate(id, s)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = root.Close() })
	return root
}

func (w *world) tryCreate(id string, s Spec) (*os.File, error) {
	fresh := w.dir(".new-" + id)
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return nil, err
	}
	root, err := w.d.Create(context.Background(), id, fresh, s)
	if err != nil {
		left, e := os.ReadDir(fresh)
		if len(left) > 0 {
			w.t.Errorf("left after a failed create: %v", left)
		}
		return nil, errors.Join(err, e, os.Remove(fresh))
	}
	return root, os.Rename(fresh, w.dir(id))
}

func (w *world) leave(id string) {
	w.t.Helper()
	if c := w.d.Leave(id); c != nil {
		if err := c.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// open opens the disk and its root.
func (w *world) open(id string, s Spec) *os.File {
	w.t.Helper()
	if err := w.d.Open(context.Background(), id, s); err != nil {
		w.t.Fatal(err)
	}
	return w.rootOf(id)
}

func (w *world) rootOf(id string) *os.File {
	w.t.Helper()
	root, err := mount.OpenWithin(w.d.handle(id).root, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = root.Close() })
	return root
}

func (w *world) wantAttached(ids ...string) {
	w.t.Helper()
	got, err := w.d.Attached()
	if err != nil {
		w.t.Fatal(err)
	}
	if len(got) != len(ids) {
		w.t.Errorf("attached %v, want %v", got, ids)
	}
	for _, id := range ids {
		if got[id] == "" {
			w.t.Errorf("attached %v, want %v", got, ids)
		}
	}
}

func (w *world) usage(id string) Usage {
	w.t.Helper()
	u, err := w.d.Usage(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// write writes up to n bytes to a new file, and tells how many went onto the disk.
func write(t testing.TB, root *os.File, name string, n int64) (int64, error) {
	t.Helper()
	f, err := mount.OpenWithin(root, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	done, err := io.CopyN(f, endless{}, n)
	return done, errors.Join(err, f.Sync())
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i*7 + 1)
	}
	return len(p), nil
}

func TestQuotaIsHard(t *testing.T) {
	w := newWorld(t)
	const size = 64 * mib
	root, other := w.create("one", Spec{Size: size}), w.create("two", Spec{Size: size})
	u := w.usage("one")
	if u.Quota != size {
		t.Errorf("the quota shown is %d, want %d", u.Quota, size)
	}
	if u.Host > 2*mib {
		t.Errorf("an empty disk takes %s of the host", human(u.Host))
	}
	t.Logf("empty: used %s, on the host %s", human(u.Used), human(u.Host))
	n, err := write(t, root, "big", size+mib)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("writing 65 MiB: %d bytes, %v; want ENOSPC", n, err)
	}
	if n < size*88/100 {
		t.Errorf("only %s could be written", human(n))
	}
	u = w.usage("one")
	t.Logf("full: written %s, used %s, on the host %s", human(n), human(u.Used), human(u.Host))
	if u.Host > size+mib/4 {
		t.Errorf("the host lost %s to a disk of %s", human(u.Host), human(size))
	}
	if n, err := write(t, other, "mine", 16*mib); err != nil || n != 16*mib {
		t.Errorf("the neighbour wrote %d bytes, %v", n, err)
	}
	if err := unix.Unlinkat(int(root.Fd()), "big", 0); err != nil {
		t.Fatal(err)
	}
	if err := w.d.Trim(context.Background(), "one"); err != nil {
		t.Fatal(err)
	}
	if u := w.usage("one"); u.Host > 8*mib {
		t.Errorf("after deleting and trimming the host still has %s of it in use", human(u.Host))
	}
	_ = root.Close()
	_ = other.Close()
	w.wantAttached("one", "two")
	w.leave("one")
	w.wantAttached("two")
	w.leave("two")
}

func TestFilesStayOnTheDisk(t *testing.T) {
	w := newWorld(t)
	s := Spec{Size: 32 * mib}
	root := w.create("one", s)
	if _, err := write(t, root, "file", 5*mib); err != nil {
		t.Fatal(err)
	}
	_ = root.Close()
	w.leave("one")
	w.wantAttached()
	if _, err := w.d.Device("one"); !errors.Is(err, ErrNotOpen) {
		t.Errorf("device of a closed disk: %v", err)
	}
	if u := w.usage("one"); u.Quota != s.Size || u.Host < 5*mib {
		t.Errorf("usage of a closed disk: %+v", u)
	}
	root = w.open("one", s)
	info, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/file", root.Fd()))
	if err != nil || info.Size() != 5*mib {
		t.Errorf("the file: %v, %v", info, err)
	}
	dev, err := w.d.Device("one")
	var st unix.Stat_t
	if e := unix.Stat("/dev/"+w.d.handle("one").loop, &st); err != nil || e != nil || dev.String() != fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)) {
		t.Errorf("device %v, %v; stat: %v", dev, err, e)
	}
	_ = root.Close()
	w.leave("one")
}

// A sandbox that runs keeps its file system when the daemon is killed; the next
// daemon's is the same one, not a second of the same image.
func TestNextDaemonFindsTheSameFileSystem(t *testing.T) {
	w := newWorld(t)
	s := Spec{Size: 32 * mib}
	held := w.create("one", s) // stands for the sandbox's overlay
	loop := w.d.handle("one").loop
	w.restart()
	w.wantAttached("one")
	root := w.open("one", s)
	if got := w.d.handle("one").loop; got != loop {
		t.Errorf("the next daemon has %s, the sandbox %s", got, loop)
	}
	if _, err := write(t, held, "file", mib); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/file", root.Fd())); err != nil {
		t.Errorf("what the sandbox wrote: %v", err)
	}
	// The sandbox ends, but not at once.
	_ = root.Close()
	w.leave("one")
	w.wantAttached("one")
	_ = held.Close()
	w.wantAttached()
}

func TestAnImageIsNeverAttachedTwice(t *testing.T) {
	w := newWorld(t)
	s := Spec{Size: 16 * mib}
	held := w.create("one", s)
	w.restart()
	w.d.prefix = "cove-other/" // it will not find the device by name
	w.d.last = map[string]string{}
	if _, err := w.d.tryOpen(context.Background(), "one", s); !errors.Is(err, errBusy) {
		t.Errorf("opened a second time: %v", err)
	}
	_ = held.Close()
	h, err := w.d.tryOpen(context.Background(), "one", s)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
}

func TestReserveTakesAllOrNothing(t *testing.T) {
	w := newWorld(t)
	root := w.create("one", Spec{Size: 32 * mib, Reserve: true})
	if u := w.usage("one"); u.Host < 32*mib || u.Host > 33*mib {
		t.Errorf("set aside: %s", human(u.Host))
	}
	if _, err := write(t, root, "big", 20*mib); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unlinkat(int(root.Fd()), "big", 0); err != nil {
		t.Fatal(err)
	}
	if err := w.d.Trim(context.Background(), "one"); err != nil {
		t.Fatal(err)
	}
	_ = root.Close()
	w.leave("one")
	if u := w.usage("one"); u.Host < 32*mib {
		t.Errorf("after a trim only %s are set aside", human(u.Host))
	}
	var st unix.Statfs_t
	if err := unix.Statfs(w.state, &st); err != nil {
		t.Fatal(err)
	}
	tooMuch := int64(st.Bavail)*st.Bsize + 8<<30
	_, err := w.tryCreate("two", Spec{Size: tooMuch, Reserve: true})
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(fmt.Sprint(err), "are free") {
		t.Errorf("setting aside %s: %v", human(tooMuch), err)
	}
	if root, err = w.tryCreate("two", Spec{Size: tooMuch}); err != nil {
		t.Fatalf("a thin disk of that size: %v", err)
	}
	_ = root.Close()
	w.leave("two")
}

func TestDiskGrowsWithItsFiles(t *testing.T) {
	w := newWorld(t)
	s := Spec{Size: 16 * mib}
	root := w.create("one", s)
	n, err := write(t, root, "first", 32*mib)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	s.Size = 48 * mib
	err = w.d.Grow(context.Background(), "one", s)
	live := err == nil
	if !live {
		t.Logf("live: %v", err)
		if !errors.Is(err, ErrOffline) {
			t.Fatal(err)
		}
		if u := w.usage("one"); u.Quota != 16*mib {
			t.Errorf("after a refusal: %+v", u)
		}
		_ = root.Close()
		w.leave("one")
		if err := w.d.Grow(context.Background(), "one", s); err != nil {
			t.Fatal(err)
		}
		w.wantAttached()
		root = w.open("one", s)
	}
	if u := w.usage("one"); u.Quota != s.Size {
		t.Errorf("after growing: %+v", u)
	}
	if _, err := write(t, root, "second", 24*mib); err != nil {
		t.Errorf("in the new space: %v", err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d/first", root.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(f)
	_ = f.Close()
	want := make([]byte, n)
	_, _ = io.ReadFull(endless{}, want[:32<<10])
	for i := range got {
		if got[i] != want[i%(32<<10)] {
			t.Fatalf("byte %d of the old file changed", i)
		}
	}
	if err := w.d.Grow(context.Background(), "one", s); err != nil {
		t.Errorf("to the same size: %v", err)
	}
	if err := w.d.Grow(context.Background(), "one", Spec{Size: 20 * mib}); !errors.Is(err, ErrShrink) {
		t.Errorf("to less: %v", err)
	}
	_ = root.Close()
	w.leave("one")
	fsck(t, filepath.Join(w.dir("one"), ImageFile))
}

func fsck(t testing.TB, image string) {
	t.Helper()
	if out, err := exec.Command("/usr/sbin/e2fsck", "-f", "-n", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

func TestDamagedImageIsNotMounted(t *testing.T) {
	w := newWorld(t)
	s := Spec{Size: 16 * mib}
	if err := os.Mkdir(w.dir("one"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.d.Open(context.Background(), "one", s); !errors.Is(err, ErrDamaged) {
		t.Errorf("no image: %v", err)
	}
	image := filepath.Join(w.dir("one"), ImageFile)
	if err := os.WriteFile(image, make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.d.Open(context.Background(), "one", s); !errors.Is(err, ErrDamaged) {
		t.Errorf("zeros: %v", err)
	}
	if _, err := w.d.Tree(w.dir("one"), nil); !errors.Is(err, ErrNotOpen) {
		t.Errorf("a disk that is not open: %v", err)
	}
	root := w.create("two", s)
	if _, err := write(t, root, "file", mib); err != nil {
		t.Fatal(err)
	}
	_ = root.Close()
	w.leave("two")
	// The kernel met an error: it is checked, and in order again.
	image = filepath.Join(w.dir("two"), ImageFile)
	if out, err := exec.Command("/usr/sbin/debugfs", "-w", "-R", "set_super_value state 2", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root = w.open("two", s)
	if _, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/file", root.Fd())); err != nil {
		t.Error(err)
	}
	_ = root.Close()
	w.leave("two")
	fsck(t, image)
}

func TestNoQuotaIsNoDisk(t *testing.T) {
	w := newWorld(t)
	root := w.create("one", Spec{})
	if _, err := write(t, root, "file", 100); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(w.dir("one"), "file")); err != nil {
		t.Error(err)
	}
	if err := w.d.Open(context.Background(), "one", Spec{}); err != nil {
		t.Error(err)
	}
	if u := w.usage("one"); u != (Usage{}) {
		t.Errorf("usage %+v", u)
	}
	if c := w.d.Leave("one"); c != nil {
		t.Error("something to leave")
	}
	w.wantAttached()
}

func TestTemplatesAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range maxTemplates + 3 {
		f, err := w.d.template(context.Background(), int64(16*mib+i*blockSize))
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	left, err := os.ReadDir(w.d.templates)
	if err != nil || len(left) > maxTemplates {
		t.Errorf("%d templates, %v", len(left), err)
	}
	for _, e := range left {
		if strings.HasPrefix(e.Name(), tmpPrefix) {
			t.Errorf("left half made: %s", e.Name())
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	for _, size := range []int64{64 * mib, 10 << 30} {
		b.Run(human(size), func(b *testing.B) {
			w := newWorld(b)
			_ = w.create("warm", Spec{Size: size}).Close()
			w.leave("warm")
			b.ResetTimer()
			for i := range b.N {
				id := fmt.Sprint(i)
				root, err := w.tryCreate(id, Spec{Size: size})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				_ = root.Close()
				w.leave(id)
				_ = os.RemoveAll(w.dir(id))
				b.StartTimer()
			}
		})
	}
}

// A host's disk that fills up behind a thin disk is an error inside, and no more:
// what was written before is still there.
func TestFullHostBehindADisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("disks need root")
	}
	base := t.TempDir()
	host := filepath.Join(base, "host")
	sh(t, fmt.Sprintf("truncate -s 128M %[1]s.img && mkfs.ext4 -q -m 0 %[1]s.img && mkdir %[1]s && mount -o loop %[1]s.img %[1]s", host))
	t.Cleanup(func() { sh(t, "umount "+host) })
	sh(t, "fallocate -l 40M "+host+"/ballast")
	w := worldAt(t, filepath.Join(host, "state"))
	s := Spec{Size: 1 << 30}
	root := w.create("one", s)
	for i := range 50 {
		if _, err := write(t, root, fmt.Sprint("before", i), 100); err != nil {
			t.Fatal(err)
		}
	}
	n, err := write(t, root, "big", 300*mib)
	if err == nil {
		t.Fatal("more was written than the host has")
	}
	t.Logf("%s were taken, then: %v", human(n), err)
	_ = root.Close()
	w.leave("one")
	// Space is back.
	image := filepath.Join(w.dir("one"), ImageFile)
	sh(t, "rm "+host+"/ballast")
	root = w.open("one", s)
	for i := range 50 {
		info, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/before%d", root.Fd(), i))
		if err != nil || info.Size() != 100 {
			t.Fatalf("a file of before: %v", err)
		}
	}
	if err := unix.Unlinkat(int(root.Fd()), "big", 0); err != nil && !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	if _, err := write(t, root, "after", mib); err != nil {
		t.Error(err)
	}
	_ = root.Close()
	w.leave("one")
	fsck(t, image)
}

func sh(t testing.TB, script string) {
	t.Helper()
	if out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// TestProbeOfNew tries a machine whose state directory has no template yet: to
// make the first one clears nothing away that is in use.
func TestProbeOfNew(t *testing.T) {
	w := newWorld(t)
	for _, c := range w.d.Probe(t.Context()) {
		if strings.Contains(c.Detail, "no such file") {
			t.Errorf("%s: %s", c.Name, c.Detail)
		}
	}
}

// A machine that loses its power leaves the image as it is at that moment.
func TestPowerCut(t *testing.T) {
	w := newWorld(t)
	s := Spec{Size: 32 * mib}
	root := w.create("one", s)
	for i := range 20 {
		if _, err := write(t, root, fmt.Sprint("file", i), 64<<10); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(w.dir("cut"), 0o700); err != nil {
		t.Fatal(err)
	}
	sh(t, "cp --sparse=always "+filepath.Join(w.dir("one"), ImageFile)+" "+w.dir("cut"))
	image := filepath.Join(w.dir("cut"), ImageFile)
	if out, _ := exec.Command("/usr/sbin/dumpe2fs", "-h", image).CombinedOutput(); !strings.Contains(string(out), "needs_recovery") {
		t.Errorf("the copy was not taken of a mounted file system:\n%s", out)
	}
	cut := w.open("cut", s)
	for i := range 20 {
		if info, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/file%d", cut.Fd(), i)); err != nil || info.Size() != 64<<10 {
			t.Errorf("what was synced: %v", err)
		}
	}
	_, _ = root.Close(), cut.Close()
	w.leave("one")
	w.leave("cut")
	fsck(t, image)
}

// More disks than a machine has loop devices at first.
func TestManyDisks(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for i := range 20 {
		id := fmt.Sprint("many", i)
		ids = append(ids, id)
		_ = w.create(id, Spec{Size: 16 * mib}).Close()
	}
	w.wantAttached(ids...)
	for _, id := range ids {
		w.leave(id)
	}
}

// What files without a disk occupy is counted, hard links once, and nothing outside.
func TestFilesAreCounted(t *testing.T) {
	w := newWorld(t)
	root := w.create("one", Spec{})
	if _, known := w.d.Files("nothing"); known {
		t.Error("files of no sandbox are known")
	}
	upper := filepath.Join(w.dir("one"), "upper", "root")
	sh(t, "mkdir -p "+upper+"/a/b && cd "+upper+"/a && ln -s / b/host && ln -s ../.. b/up && head -c 1M /dev/zero > file && for i in 1 2 3; do ln file b/link$i; done && cp file b/copy && sync .")
	deep := strings.Repeat("d/", 300)
	if _, known := w.d.Files("one"); known {
		t.Error("known before it was counted")
	}
	counted := func(id string) (int64, bool) {
		t.Helper()
		done := poll(t.Context(), 10*time.Second, func() bool {
			w.d.counter.mu.Lock()
			defer w.d.counter.mu.Unlock()
			return !w.d.counter.counts[id].due
		})
		if !done {
			t.Fatal("it is not counted")
		}
		return w.d.Files(id)
	}
	if n, known := counted("one"); !known || n < 2*mib || n > 2*mib+256<<10 {
		t.Errorf("%d bytes, %v; want 2 MiB and some", n, known)
	}
	_ = root.Close()
	// What is nested too deep is not known, rather than wrong.
	_ = w.create("two", Spec{}).Close()
	sh(t, "mkdir -p "+filepath.Join(w.dir("two"), "upper", deep))
	_, _ = w.d.Files("two")
	if n, known := counted("two"); known {
		t.Errorf("too deep: %d bytes", n)
	}
}

// Of two disks that are set aside at the same time, either fits, and both do not.
func TestSetAsideLeaves(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("disks need root")
	}
	base := t.TempDir()
	host := filepath.Join(base, "host")
	sh(t, fmt.Sprintf("truncate -s 256M %[1]s.img && mkfs.ext4 -q -m 0 %[1]s.img && mkdir %[1]s && mount -o loop %[1]s.img %[1]s", host))
	t.Cleanup(func() { sh(t, "umount "+host) })
	w := worldAt(t, filepath.Join(host, "state"))
	const leave = 100 * mib
	s := Spec{Size: 80 * mib, Reserve: true, Leave: leave}
	_ = w.create("first", Spec{Size: 80 * mib}).Close() // there is a template
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			root, err := w.tryCreate(fmt.Sprint("more", i), s)
			if errs[i] = err; err == nil {
				_ = root.Close()
			}
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		switch {
		case err == nil:
			made++
		case !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "of which 100 MiB stay so for all"):
			t.Error(err)
		}
	}
	if space, err := SpaceAt(host); err != nil || made != 1 || space.Free < leave {
		t.Errorf("%d were made; %s are free, %v", made, human(space.Free), err)
	}
}

// Who has many files waits for the next count, and not everybody behind.
func TestCountRests(t *testing.T) {
	for took, want := range map[time.Duration][2]time.Duration{
		time.Millisecond: {100 * time.Millisecond, 30 * time.Second},
		10 * time.Second: {5 * time.Second, 1000 * time.Second},
	} {
		if all, own := rests(took); all != want[0] || own != want[1] {
			t.Errorf("after %v: %v and %v, want %v", took, all, own, want)
		}
	}
}
