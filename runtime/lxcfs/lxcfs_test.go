package lxcfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Args[0] == ProberName {
		os.Exit(Prober(os.Args))
	}
	os.Exit(m.Run())
}

const (
	ours   = "600 31 0:70 / /var/lib/lxcfs rw,nosuid,nodev,relatime shared:9 - fuse.lxcfs lxcfs rw,user_id=0,group_id=0,allow_other\n"
	hidden = "601 31 0:71 / /var/lib/lxcfs rw - tmpfs tmpfs rw\n"
	other  = "602 31 0:72 / /mnt rw - fuse.lxcfs lxcfs rw\n"
)

func TestMounted(t *testing.T) {
	for text, want := range map[string]bool{"": false, ours: true, ours + hidden: false, hidden + ours: true, other: false, "nonsense\n" + ours: true} {
		if got := mounted([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestAbsent(t *testing.T) {
	h := New()
	h.mountinfo = filepath.Join(t.TempDir(), "mountinfo")
	if err := os.WriteFile(h.mountinfo, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := h.Files(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("%q, %v", files, err)
	}
}

// TestRead has the child read files that are there, that are not, and a pipe that
// nobody writes to, as a server that never answers: it is given up, and is not left.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), unix.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	h := New()
	if err := h.read(t.Context(), []string{file, file}); err != nil {
		t.Errorf("files that are there: %v", err)
	}
	if err := h.read(t.Context(), []string{file, filepath.Join(dir, "none")}); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a file that is not there: %v", err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
	defer cancel()
	if err := h.read(ctx, []string{pipe}); !errors.Is(err, cause) {
		t.Errorf("what never answers: %v", err)
	}
	for len(h.children) > 0 { // the killed one is reaped
		time.Sleep(time.Millisecond)
	}
	for range maxChildren {
		h.children <- struct{}{}
	}
	if err := h.read(t.Context(), []string{file}); err == nil {
		t.Error("more children than may be")
	}
}
