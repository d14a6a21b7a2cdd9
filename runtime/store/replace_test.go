package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReplace(t *testing.T) {
	for _, sync := range []bool{false, true} {
		dir := private(t)
		for _, text := range []string{"first", "a second and longer one", "", "x"} {
			ok(t, Replace(dir, "f", []byte(text), sync))
			got := must[[]byte](t)(ReadFile(filepath.Join(dir, "f"), 100))
			if string(got) != text {
				t.Errorf("%q, want %q", got, text)
			}
		}
		st := must[os.FileInfo](t)(os.Stat(filepath.Join(dir, "f")))
		if st.Mode() != 0o600 {
			t.Errorf("mode %v", st.Mode())
		}
		entries := must[[]os.DirEntry](t)(os.ReadDir(dir))
		if len(entries) != 1 {
			t.Errorf("left beside it: %v", entries)
		}
	}
}

func TestReplaceChecksItsName(t *testing.T) {
	dir := private(t)
	for _, name := range []string{"", ".", "..", "a/b", "../x", "a\x00b"} {
		if err := Replace(dir, name, nil, false); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := Replace(filepath.Join(dir, "no"), "f", nil, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}

// TestReplaceFollowsNoLink: neither the file's own place nor the temporary
// one's may lead elsewhere.
func TestReplaceFollowsNoLink(t *testing.T) {
	dir := private(t)
	target := filepath.Join(t.TempDir(), "target")
	ok(t, os.WriteFile(target, []byte("theirs"), 0o600))
	ok(t, os.Symlink(target, filepath.Join(dir, "f")))
	ok(t, Replace(dir, "f", []byte("ours"), false)) // the link itself is replaced
	ok(t, os.Symlink(target, filepath.Join(dir, ".g.tmp")))
	if err := Replace(dir, "g", []byte("ours"), false); !errors.Is(err, unix.ELOOP) {
		t.Errorf("through a link in the temporary place: %v", err)
	}
	if got := must[[]byte](t)(os.ReadFile(target)); string(got) != "theirs" {
		t.Errorf("the link's target now holds %q", got)
	}
}

// TestReplaceTakesOverLeftovers: a killed writer's temporary file, of any
// length, does not matter.
func TestReplaceTakesOverLeftovers(t *testing.T) {
	dir := private(t)
	ok(t, Replace(dir, "f", []byte("old"), false))
	whole := []byte("the new contents")
	for n := range len(whole) + 10 {
		ok(t, os.WriteFile(filepath.Join(dir, ".f.tmp"), bytes.Repeat([]byte("?"), n), 0o600))
		if got := must[[]byte](t)(ReadFile(filepath.Join(dir, "f"), 100)); string(got) != "old" && n == 0 {
			t.Errorf("before: %q", got)
		}
		ok(t, Replace(dir, "f", whole, false))
		if got := must[[]byte](t)(ReadFile(filepath.Join(dir, "f"), 100)); !bytes.Equal(got, whole) {
			t.Errorf("with a leftover of %d bytes: %q", n, got)
		}
	}
}

func TestReplaceByMany(t *testing.T) {
	dir := private(t)
	texts := map[string]bool{}
	for i := range 8 {
		texts[strings.Repeat(fmt.Sprint(i), 5000+i)] = true
	}
	ok(t, Replace(dir, "f", []byte(strings.Repeat("0", 5000)), false))
	done := make(chan struct{})
	var writers sync.WaitGroup
	for text := range texts {
		writers.Go(func() {
			for range 50 {
				if err := Replace(dir, "f", []byte(text), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { defer close(done); writers.Wait() }()
	for {
		got := must[[]byte](t)(ReadFile(filepath.Join(dir, "f"), 10000))
		if !texts[string(got)] {
			t.Fatalf("neither the one nor the other: %d bytes", len(got))
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestReplaceOnFullDisk(t *testing.T) {
	dir := smallDisk(t, 256<<10)
	ok(t, Replace(dir, "f", []byte("precious"), true))
	free := fillDisk(t, dir)
	for range 3 {
		err := Replace(dir, "f", make([]byte, 64<<10), true)
		if !errors.Is(err, ErrNoSpace) || !errors.Is(err, unix.ENOSPC) {
			t.Errorf("on a full disk: %v", err)
		}
		if strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("more than one line: %v", err)
		}
	}
	if got := must[[]byte](t)(ReadFile(filepath.Join(dir, "f"), 100)); string(got) != "precious" {
		t.Errorf("it now holds %q", got)
	}
	if _, err := os.Lstat(filepath.Join(dir, ".f.tmp")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is left: %v", err)
	}
	free()
	ok(t, Replace(dir, "f", []byte("new"), true))
}

func TestReadFile(t *testing.T) {
	dir := private(t)
	ok(t, os.WriteFile(filepath.Join(dir, "f"), []byte("12345"), 0o600))
	ok(t, os.Symlink("f", filepath.Join(dir, "link")))
	ok(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	for name, tt := range map[string]struct {
		limit int64
		want  error
	}{
		"f": {4, ErrTooLarge}, "link": {10, unix.ELOOP}, "pipe": {10, ErrCorrupt}, ".": {10, ErrCorrupt}, "no": {10, os.ErrNotExist},
	} {
		if _, err := ReadFile(filepath.Join(dir, name), tt.limit); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if got, err := ReadFile(filepath.Join(dir, "f"), 5); err != nil || string(got) != "12345" {
		t.Errorf("%q, %v", got, err)
	}
	// The kernel's files say that they are empty.
	if got, err := ReadFile("/proc/self/status", 1<<20); err != nil || len(got) < 100 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestReadJSON(t *testing.T) {
	dir := private(t)
	for text, want := range map[string]error{
		`{"a":1}`: nil, `{"a":1,"newer":true}`: nil, ``: ErrCorrupt, `{"a":`: ErrCorrupt, `{"a":1}{}`: ErrCorrupt, `{"a":"x"}`: ErrCorrupt,
	} {
		ok(t, Replace(dir, "f", []byte(text), false))
		var v struct {
			A int `json:"a"`
		}
		err := ReadJSON(filepath.Join(dir, "f"), 100, &v)
		if !errors.Is(err, want) || want == nil && v.A != 1 {
			t.Errorf("%s: %v, %+v", text, err, v)
		}
	}
}
