package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/runner"
)

const testBase = 1<<30 + 3*IDs

func TestIDMapHasTheExtraExtentAndIsNoSandboxNamespace(t *testing.T) {
	needRoot(t)
	pid, release, err := startHolder(testBase)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(); err != nil {
			t.Error(err)
		}
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("the holder lives on: %v", err)
		}
	}()
	for _, name := range []string{"uid_map", "gid_map"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("0 %d 65536 65536 0 1", testBase)
		if got := strings.Join(strings.Fields(string(raw)), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if err := runner.AssertUserNS(pid, testBase); !errors.Is(err, runner.ErrUserNS) {
		t.Errorf("a process with the extra extent passes as a sandbox: %v", err)
	}
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// Traced and stopped: it never ran an instruction of ours.
	if f := strings.Fields(string(state[strings.LastIndexByte(string(state), ')')+1:])); f[0] != "t" && f[0] != "R" {
		t.Errorf("state of the holder: %s", f[0])
	}
}

// No method may hand out what would let a process enter the namespace.
func TestIDMapKeepsItsDescriptorToItself(t *testing.T) {
	allowed := map[string]bool{"Base": true, "Close": true}
	typ := reflect.TypeFor[*IDMap]()
	for i := range typ.NumMethod() {
		if !allowed[typ.Method(i).Name] {
			t.Errorf("method %s of IDMap: see the danger in its doc comment", typ.Method(i).Name)
		}
	}
	for i := range typ.Elem().NumField() {
		if typ.Elem().Field(i).IsExported() {
			t.Errorf("field %s of IDMap is exported", typ.Elem().Field(i).Name)
		}
	}
}

func TestBaseIsChecked(t *testing.T) {
	s := NewIDMaps(2)
	defer func() { _ = s.Close() }()
	for _, base := range []uint32{0, 1, 1000, IDs - 1, 1<<32 - 1, 1<<32 - IDs} {
		if m, err := s.Get(context.Background(), base); err == nil {
			_ = m.Close()
			t.Errorf("base %d is accepted", base)
		}
	}
}

// fake makes maps without the kernel and counts them.
type fake struct {
	mu   sync.Mutex
	made map[uint32]int
	gate chan struct{} // when set, each making waits for it
	err  error
}

func (f *fake) make(base uint32) (*IDMap, error) {
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made[base]++
	if f.err != nil {
		return nil, f.err
	}
	ns, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	return &IDMap{ns: ns, base: base}, nil
}

func (f *fake) count(base uint32) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[base]
}

func get(t *testing.T, s *IDMaps, base uint32) {
	t.Helper()
	m, err := s.Get(context.Background(), base)
	if err != nil {
		t.Fatal(err)
	}
	if m.Base() != base {
		t.Fatalf("asked for %d, got %d", base, m.Base())
	}
	if _, err := m.ns.Stat(); err != nil {
		t.Fatalf("map %d is closed: %v", base, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestIDMapsKeepsTheLastUsed(t *testing.T) {
	f := &fake{made: map[uint32]int{}}
	s := newIDMaps(2, f.make)
	defer func() { _ = s.Close() }()
	for _, b := range []uint32{1, 2, 1, 1, 3, 1, 2} { // 3 puts 2 out, 2 puts 3 out
		get(t, s, b)
	}
	if f.count(1) != 1 || f.count(2) != 2 || f.count(3) != 1 {
		t.Errorf("made: %v", f.made)
	}
	if s.used.Len() != 2 || len(s.entries) != 2 {
		t.Errorf("%d and %d kept, not 2", s.used.Len(), len(s.entries))
	}
}

func TestIDMapsMakesOneForManyCallers(t *testing.T) {
	f := &fake{made: map[uint32]int{}, gate: make(chan struct{})}
	s := newIDMaps(2, f.make)
	defer func() { _ = s.Close() }()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { get(t, s, 7) })
	}
	f.gate <- struct{}{} // one making; a second would block for ever
	wg.Wait()
	if f.count(7) != 1 {
		t.Errorf("made %d times", f.count(7))
	}
}

func TestIDMapsWaiterGivesUpWithItsContext(t *testing.T) {
	f := &fake{made: map[uint32]int{}, gate: make(chan struct{})}
	s := newIDMaps(2, f.make)
	defer func() { _ = s.Close() }()
	var wg sync.WaitGroup
	started := make(chan struct{})
	wg.Go(func() {
		close(started)
		get(t, s, 7)
	})
	<-started
	for {
		s.mu.Lock()
		_, waiting := s.entries[7]
		s.mu.Unlock()
		if waiting {
			break
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Get(ctx, 7); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	close(f.gate)
	wg.Wait()
}

func TestIDMapsForgetsFailures(t *testing.T) {
	boom := errors.New("boom")
	f := &fake{made: map[uint32]int{}, err: boom}
	s := newIDMaps(2, f.make)
	defer func() { _ = s.Close() }()
	if _, err := s.Get(context.Background(), 5); !errors.Is(err, boom) {
		t.Fatalf("err = %v", err)
	}
	f.mu.Lock()
	f.err = nil
	f.mu.Unlock()
	get(t, s, 5)
}

func TestIDMapsPreparesAndCloses(t *testing.T) {
	f := &fake{made: map[uint32]int{}, gate: make(chan struct{})}
	s := newIDMaps(4, f.make)
	s.Prepare(9)
	f.gate <- struct{}{} // taken by the background goroutine, for nobody has called Get
	get(t, s, 9)
	if f.count(9) != 1 {
		t.Errorf("made %d times", f.count(9))
	}
	held, err := s.Get(context.Background(), 9)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := held.ns.Stat(); err != nil {
		t.Errorf("Close took a map that is in use: %v", err)
	}
	_ = held.Close()
	if _, err := s.Get(context.Background(), 9); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestNothingIsLeftOpen(t *testing.T) {
	needRoot(t)
	before := countFDs(t)
	s := NewIDMaps(8)
	for i := range 20 {
		get(t, s, testBase+uint32(i)*IDs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func BenchmarkIDMapMade(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		m, err := newIDMap(testBase)
		if err != nil {
			b.Fatal(err)
		}
		_ = m.Close()
	}
}

func BenchmarkIDMapCached(b *testing.B) {
	needRoot(b)
	s := NewIDMaps(2)
	defer func() { _ = s.Close() }()
	for b.Loop() {
		m, err := s.Get(b.Context(), testBase)
		if err != nil {
			b.Fatal(err)
		}
		_ = m.Close()
	}
}
