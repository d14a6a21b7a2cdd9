package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// owner is one instance on a machine of its own directory of leases.
func owner(t testing.TB, dir, inst, stateDir, boot string) *Leases {
	t.Helper()
	needRoot(t)
	return must[*Leases](t)(OpenLeases(LeaseOptions{Dir: dir, Inst: inst, StateDir: stateDir, Boot: boot}))
}

func leaseDir(t testing.TB) string { return filepath.Join(t.TempDir(), "leases") }

func acquire(t testing.TB, l *Leases, k Kind, sandbox string) int {
	t.Helper()
	return must[Lease](t)(l.Acquire(t.Context(), k, sandbox)).N
}

func things(count int) Kind { return Kind{Name: "thing", Count: count} }

func TestLeases(t *testing.T) {
	dir := leaseDir(t)
	a, b := owner(t, dir, "aaaaaa", private(t), "boot"), owner(t, dir, "bbbbbb", private(t), "boot")
	var got []int
	for i := range 3 {
		got = append(got, acquire(t, a, things(6), fmt.Sprint("a", i)), acquire(t, b, things(6), fmt.Sprint("b", i)))
	}
	slices.Sort(got)
	if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("leased: %v", got)
	}
	if _, err := a.Acquire(t.Context(), things(6), "more"); !errors.Is(err, ErrExhausted) {
		t.Errorf("a seventh of six: %v", err)
	}
	if n := acquire(t, a, Kind{Name: "other", Count: 1}, "x"); n != 0 {
		t.Errorf("of another kind: %d", n)
	}
	own := must[[]Lease](t)(b.ListOwn("thing"))
	var sandboxes []string
	for _, lease := range own {
		sandboxes = append(sandboxes, lease.Sandbox)
		if lease.Inst != "bbbbbb" || lease.Pid != os.Getpid() || lease.Boot != "boot" || !alive(lease.Pid, lease.StartTime) {
			t.Errorf("%+v", lease)
		}
		if err := a.Release("thing", lease.N); !errors.Is(err, ErrForeign) {
			t.Errorf("releasing another's: %v", err)
		}
		if err := a.Own("thing", lease.N, 1, 1); !errors.Is(err, ErrForeign) {
			t.Errorf("owning another's: %v", err)
		}
	}
	slices.Sort(sandboxes)
	if d := cmp.Diff([]string{"b0", "b1", "b2"}, sandboxes); d != "" {
		t.Error(d)
	}
	// The latest back is the first out, also when others are free.
	for _, n := range []int{own[1].N, own[0].N, own[2].N} {
		ok(t, b.Release("thing", n))
		ok(t, b.Release("thing", n)) // it is not there any more
	}
	if n := acquire(t, b, things(6), "again"); n != own[2].N {
		t.Errorf("%d, want the latest, %d", n, own[2].N)
	}
	if n := acquire(t, a, things(6), "taken over"); n != own[0].N && n != own[1].N {
		t.Errorf("%d, want a released one", n)
	}
	if n := acquire(t, b, things(6), "the rest"); n != own[0].N && n != own[1].N {
		t.Errorf("%d, want a released one that nobody took", n)
	}
	if err := b.Own("thing", 17, 1, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("owning what is not leased: %v", err)
	}
}

func TestLeaseKinds(t *testing.T) {
	l := owner(t, leaseDir(t), "aaaaaa", private(t), "boot")
	for _, name := range []string{"", "inst", "a-b", "../x", "A", "a1"} {
		if _, err := l.Acquire(t.Context(), Kind{Name: name, Count: 1}, "x"); !errors.Is(err, ErrInvalid) {
			t.Errorf("kind %q: %v", name, err)
		}
	}
	for _, opt := range []LeaseOptions{{Inst: "a"}, {Inst: "aaaaaa", Boot: "b"}, {Inst: "aaaaaa", StateDir: "/x"}} {
		opt.Dir = leaseDir(t)
		if _, err := OpenLeases(opt); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", opt, err)
		}
	}
}

// TestStaleLeases has one thing of a kind, leased, and asks in turn, with each
// of its owners gone or not, whether another may have it.
func TestStaleLeases(t *testing.T) {
	sleeper := func(t *testing.T) (pid int, start uint64) {
		cmd := exec.Command("sleep", "1000")
		ok(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd.Process.Pid, must[uint64](t)(ProcStart(cmd.Process.Pid))
	}
	tests := map[string]struct {
		boot     string // of the lease
		running  bool   // the process that stands for it
		reused   bool   // its pid is another's
		daemon   bool   // holds the state directory
		gone     bool   // the state directory
		own      bool   // asked by the same instance
		kernel   bool   // says that it is in use
		corrupt  bool
		acquired bool
	}{
		"the daemon and the sandbox live":   {boot: "now", running: true, daemon: true},
		"only the sandbox lives":            {boot: "now", running: true},
		"the sandbox lives, its state gone": {boot: "now", running: true, gone: true},
		"only the daemon lives":             {boot: "now", daemon: true},
		"nobody lives":                      {boot: "now", acquired: true},
		"nobody lives, and the state gone":  {boot: "now", gone: true, acquired: true},
		"its pid is another's":              {boot: "now", running: true, reused: true, acquired: true},
		"nobody seems to live":              {boot: "now", kernel: true},
		"its own":                           {boot: "now", own: true},
		"another boot":                      {boot: "before", acquired: true},
		"its own of another boot":           {boot: "before", own: true, acquired: true},
		"another boot, the daemon is back":  {boot: "before", daemon: true},
		"another boot as it seems":          {boot: "before", running: true},
		"not readable":                      {boot: "now", corrupt: true, acquired: true},
		"not readable, in use":              {boot: "now", corrupt: true, kernel: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir, state := leaseDir(t), private(t)
			a := owner(t, dir, "aaaaaa", state, tt.boot)
			n := acquire(t, a, things(1), "x")
			pid, start := 0, uint64(0)
			if tt.running {
				if pid, start = sleeper(t); tt.reused {
					start--
				}
			}
			ok(t, a.Own("thing", n, pid, start))
			if tt.daemon {
				holder(t, state)
			}
			if tt.gone {
				ok(t, os.RemoveAll(state))
			}
			if tt.corrupt {
				ok(t, os.WriteFile(filepath.Join(dir, "thing-0"), []byte(`{"kind":"th`), 0o600))
			}
			b := owner(t, dir, "bbbbbb", private(t), "now")
			if tt.own {
				b = owner(t, dir, "aaaaaa", state, "now")
			}
			k := things(1)
			k.InUse = func(int) (bool, error) { return tt.kernel, nil }
			lease, err := b.Acquire(t.Context(), k, "y")
			switch {
			case tt.acquired && err != nil:
				t.Errorf("not given: %v", err)
			case !tt.acquired && !errors.Is(err, ErrExhausted):
				t.Errorf("given: %+v, %v", lease, err)
			}
		})
	}
}

func TestSweep(t *testing.T) {
	dir := leaseDir(t)
	state, gone := private(t), private(t)
	before, here := owner(t, dir, "aaaaaa", state, "before"), owner(t, dir, "cccccc", state, "now")
	lost := owner(t, dir, "bbbbbb", gone, "now")
	k := things(10)
	for _, l := range []*Leases{before, here, lost} {
		ok(t, l.Own("thing", acquire(t, l, k, "x"), 0, 0))
	}
	ok(t, os.RemoveAll(gone))
	ok(t, owner(t, dir, "dddddd", private(t), "now").Sweep(t.Context(), k))
	for name, l := range map[string]*Leases{"of another boot": before, "of this": here, "of a directory that is gone": lost} {
		want := 0
		if l == here { // its daemon may come back for it
			want = 1
		}
		if own := must[[]Lease](t)(l.ListOwn("thing")); len(own) != want {
			t.Errorf("%s: %v", name, own)
		}
	}
}

// TestLeasesOfManyProcesses has several daemons take leases at once.
func TestLeasesOfManyProcesses(t *testing.T) {
	needRoot(t)
	dir := leaseDir(t)
	var mu sync.Mutex
	taken := map[string]string{}
	var all sync.WaitGroup
	for i := range 6 {
		inst := strings.Repeat(fmt.Sprint(i), 6)
		cmd := helper(t, "leases", dir, inst, private(t))
		all.Go(func() {
			out, err := cmd.Output()
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			bases := strings.Fields(string(out))
			if len(bases) != 50 {
				t.Errorf("%s has %d", inst, len(bases))
			}
			for _, base := range bases {
				if other, again := taken[base]; again {
					t.Errorf("%s is %s's and %s's", base, inst, other)
				}
				taken[base] = inst
			}
		})
	}
	all.Wait()
	if len(taken) != 300 {
		t.Errorf("%d leases", len(taken))
	}
}

func TestLeasesOfManyGoroutines(t *testing.T) {
	dir := leaseDir(t)
	l := owner(t, dir, "aaaaaa", private(t), "boot")
	var mu sync.Mutex
	have := map[int]bool{}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 30 {
				lease, err := l.Acquire(t.Context(), things(20), "x")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if have[lease.N] {
					t.Errorf("%d is leased twice", lease.N)
				}
				have[lease.N] = true
				mu.Unlock()
				if err := l.Own("thing", lease.N, os.Getpid(), 1); err != nil {
					t.Error(err)
				}
				mu.Lock()
				delete(have, lease.N)
				mu.Unlock()
				if err := l.Release("thing", lease.N); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if own := must[[]Lease](t)(l.ListOwn("thing")); len(own) > 0 {
		t.Errorf("left: %v", own)
	}
}

// TestStoppedDaemon: one that was stopped while it held the lock keeps nobody
// waiting for longer than he wants to.
func TestStoppedDaemon(t *testing.T) {
	dir := leaseDir(t)
	l := owner(t, dir, "aaaaaa", private(t), "boot")
	d := must[*os.File](t)(os.Open(dir))
	defer d.Close()
	ok(t, unix.Flock(int(d.Fd()), unix.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := l.Acquire(ctx, things(1), "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ok(t, unix.Flock(int(d.Fd()), unix.LOCK_UN))
	acquire(t, l, things(1), "x")
}

func TestLeasesOnFullDisk(t *testing.T) {
	dir := filepath.Join(smallDisk(t, 256<<10), "leases")
	l := owner(t, dir, "aaaaaa", private(t), "boot")
	n := acquire(t, l, things(5), "x")
	free := fillDisk(t, filepath.Dir(dir))
	if _, err := l.Acquire(t.Context(), things(5), "y"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("on a full disk: %v", err)
	}
	if own := must[[]Lease](t)(l.ListOwn("thing")); len(own) != 1 || own[0].N != n {
		t.Errorf("%v", own)
	}
	ok(t, l.Release("thing", n))
	free()
	acquire(t, l, things(5), "y")
}

func BenchmarkAcquireRelease(b *testing.B) {
	l := must[*UIDLeases](b)(OpenUIDLeases(leaseDir(b), "aaaaaa", private(b), "boot"))
	for b.Loop() {
		base := must[uint32](b)(l.Acquire(b.Context(), "x"))
		ok(b, l.Release(base))
	}
}

// BenchmarkAcquire takes ranges that were never leased, with many leased
// already.
func BenchmarkAcquire(b *testing.B) {
	l := must[*UIDLeases](b)(OpenUIDLeases(leaseDir(b), "aaaaaa", private(b), "boot"))
	taken := 0
	for b.Loop() {
		if taken++; taken > 4000 {
			b.StopTimer()
			for base := range must[map[uint32]string](b)(l.Mine()) {
				ok(b, l.Release(base))
			}
			taken = 0
			b.StartTimer()
		}
		must[uint32](b)(l.Acquire(b.Context(), "x"))
	}
}
