package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func openOplog(t testing.TB, path string) *Oplog {
	t.Helper()
	o := must[*Oplog](t)(OpenOplog(path, false))
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func expectOp(t *testing.T, path string, want LastOp) {
	t.Helper()
	got := must[LastOp](t)(ReadOplog(path))
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(LastOp{}, "Began"), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestOplog(t *testing.T) {
	for _, sync := range []bool{false, true} {
		path := filepath.Join(private(t), "oplog")
		expectOp(t, path, LastOp{})
		o := must[*Oplog](t)(OpenOplog(path, sync))
		expectOp(t, path, LastOp{})
		ok(t, o.Begin("create", "creating"))
		expectOp(t, path, LastOp{Op: "create", From: "creating", Unfinished: true})
		ok(t, o.Stage("leased"))
		ok(t, o.Stage("mounted"))
		expectOp(t, path, LastOp{Op: "create", From: "creating", Unfinished: true, Stage: "mounted"})
		ok(t, o.Close())
		o = must[*Oplog](t)(OpenOplog(path, sync))
		ok(t, o.Stage("started"))
		ok(t, o.End("done"))
		expectOp(t, path, LastOp{Op: "create", From: "creating", Stage: "started", Result: "done"})
		ok(t, o.BeginWith("resize", "started", map[string]int{"cpu": 2}))
		expectOp(t, path, LastOp{Op: "resize", From: "started", Args: []byte(`{"cpu":2}`), Unfinished: true})
		if began := must[LastOp](t)(ReadOplog(path)).Began; time.Since(began) > time.Minute || time.Since(began) < 0 {
			t.Errorf("began at %v", began)
		}
		// A new one without an end to the old: the daemon after a killed one.
		ok(t, o.Begin("stop", "started"))
		expectOp(t, path, LastOp{Op: "stop", From: "started", Unfinished: true})
		ok(t, o.Close())
	}
}

// TestOplogCutAnywhere: whatever a kill leaves of the file, the records that
// are whole count, and the next daemon can go on.
func TestOplogCutAnywhere(t *testing.T) {
	dir := private(t)
	path := filepath.Join(dir, "oplog")
	o := openOplog(t, path)
	ok(t, o.Begin("create", "creating"))
	ok(t, o.Stage("a"))
	ok(t, o.End("done"))
	ok(t, o.Begin("delete", "started"))
	ok(t, o.Stage("b"))
	whole := must[[]byte](t)(os.ReadFile(path))
	after := []LastOp{
		{},
		{Op: "create", From: "creating", Unfinished: true},
		{Op: "create", From: "creating", Unfinished: true, Stage: "a"},
		{Op: "create", From: "creating", Stage: "a", Result: "done"},
		{Op: "delete", From: "started", Unfinished: true},
		{Op: "delete", From: "started", Unfinished: true, Stage: "b"},
	}
	for n := range len(whole) + 1 {
		cut := filepath.Join(dir, "cut")
		ok(t, os.WriteFile(cut, whole[:n], 0o600))
		want := after[strings.Count(string(whole[:n]), "\n")]
		expectOp(t, cut, want)
		again := must[*Oplog](t)(OpenOplog(cut, false))
		expectOp(t, cut, want)
		ok(t, again.Stage("later"))
		if want.Unfinished {
			want.Stage = "later"
		}
		expectOp(t, cut, want)
		ok(t, again.Begin("start", "stopped"))
		expectOp(t, cut, LastOp{Op: "start", From: "stopped", Unfinished: true})
		ok(t, again.Close())
		if t.Failed() {
			t.Fatalf("cut after %d of %d bytes", n, len(whole))
		}
	}
}

func TestOplogStaysSmall(t *testing.T) {
	path := filepath.Join(private(t), "oplog")
	o := openOplog(t, path)
	for range 2000 {
		ok(t, o.Begin("start", "stopped"))
		ok(t, o.Stage("somewhere"))
		ok(t, o.End("done"))
	}
	if st := must[os.FileInfo](t)(os.Stat(path)); st.Size() > 2*oplogKeep {
		t.Errorf("%d bytes", st.Size())
	}
	// An operation that never ends does not grow for ever, and is not lost.
	ok(t, o.Begin("create", "creating"))
	var err error
	for i := 0; err == nil && i < 100000; i++ {
		err = o.Stage(strings.Repeat("s", 1000))
	}
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("endless stages: %v", err)
	}
	if last := must[LastOp](t)(ReadOplog(path)); last.Op != "create" || !last.Unfinished {
		t.Errorf("%+v", last)
	}
}

func TestOplogOnFullDisk(t *testing.T) {
	dir := smallDisk(t, 64<<10)
	path := filepath.Join(dir, "oplog")
	o := openOplog(t, path)
	ok(t, o.Begin("create", "creating"))
	ok(t, o.Stage("a"))
	free := fillDisk(t, dir)
	var err error
	for i := 0; err == nil && i < 10000; i++ {
		err = o.Stage("s")
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("on a full disk: %v", err)
	}
	if data := must[[]byte](t)(os.ReadFile(path)); !strings.HasSuffix(string(data), "\n") {
		t.Errorf("a torn record is left: %q", data[max(0, len(data)-40):])
	}
	free()
	ok(t, o.Stage("b"))
	expectOp(t, path, LastOp{Op: "create", From: "creating", Unfinished: true, Stage: "b"})
}

func FuzzOplog(f *testing.F) {
	f.Add([]byte(`{"kind":"begin","op":"create","from":"x"}`+"\n"+`{"kind":"stage","stage":"a"}`+"\n"), 20)
	f.Add([]byte("garbage\n{}\nnull\n[]\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		// Whatever was there before, a whole record that follows counts.
		last := parseOplog(append(append([]byte{}, data...), "\n{\"kind\":\"begin\",\"op\":\"probe\"}\n"...))
		if last.Op != "probe" || !last.Unfinished {
			t.Errorf("%+v", last)
		}
		// And what is torn off at the end does not take whole ones along.
		whole := data[:strings.LastIndexByte(string(data), '\n')+1]
		a, b := parseOplog(data), parseOplog(whole)
		if d := cmp.Diff(a, b); d != "" {
			t.Error(d)
		}
	})
}
