package server

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// await waits for what comes soon and gives no sign.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(dir)
	noError(t, err)
	path := filepath.Join(dir, "cove.sock")
	equal(t, path, l.Path())
	st, err := os.Lstat(path)
	noError(t, err)
	equal(t, os.ModeSocket|0o666, st.Mode())
	c, err := net.Dial("unix", path)
	noError(t, err)
	noError(t, c.Close())
	left, err := os.ReadDir(dir)
	noError(t, err)
	equal(t, 1, len(left))
	noError(t, l.Close())
	noError(t, l.Close())
	left, err = os.ReadDir(dir)
	noError(t, err)
	equal(t, 0, len(left))
}

// What a killed daemon left, at either moment, is replaced.
func TestListenReplacesAStaleSocket(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cove.sock", "cove.sock.new"} {
		old, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, name)})
		noError(t, err)
		old.SetUnlinkOnClose(false)
		noError(t, old.Close())
	}
	l, err := Listen(dir)
	noError(t, err)
	c, err := net.Dial("unix", l.Path())
	noError(t, err)
	noError(t, c.Close())
	noError(t, l.Close())
}

func TestListenRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    string
	}{
		"a file":            {func(t *testing.T, dir string) { noError(t, os.WriteFile(filepath.Join(dir, "cove.sock"), nil, 0o600)) }, "is no socket"},
		"a file for later":  {func(t *testing.T, dir string) { noError(t, os.Mkdir(filepath.Join(dir, "cove.sock.new"), 0o700)) }, "is no socket"},
		"a link":            {func(t *testing.T, dir string) { noError(t, os.Symlink("/nowhere", filepath.Join(dir, "cove.sock"))) }, "is no socket"},
		"others may write":  {func(t *testing.T, dir string) { noError(t, os.Chmod(dir, 0o777)) }, "others could replace"},
		"a group may write": {func(t *testing.T, dir string) { noError(t, os.Chmod(dir, 0o770)) }, "others could replace"},
		"another's": {func(t *testing.T, dir string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			noError(t, os.Chown(dir, 1001, 1001))
		}, "others could replace"},
		"no directory": {func(t *testing.T, dir string) { noError(t, os.Remove(dir)) }, "open the run directory"},
		"a link to one": {func(t *testing.T, dir string) {
			noError(t, os.Remove(dir))
			noError(t, os.Symlink(t.TempDir(), dir))
		}, "open the run directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			noError(t, os.Mkdir(dir, 0o700))
			tt.prepare(t, dir)
			l, err := Listen(dir)
			if err == nil {
				_ = l.Close()
			}
			anError(t, err)
			contains(t, err.Error(), tt.want)
		})
	}
}

// The path may be longer than a socket's address.
func TestListenOnALongPath(t *testing.T) {
	h := newHost(t)
	noError(t, h.stop())
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 150))
	noError(t, os.Mkdir(dir, 0o700))
	l, err := Listen(dir)
	noError(t, err)
	ctx, cancel := newContext(t)
	s := New(Options{Manager: h.m})
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	h.socket = l.Path()
	if os.Geteuid() == 0 {
		st, err := h.as(root).Status(t.Context())
		noError(t, err)
		equal(t, []string{"no quota"}, st.Warnings)
	}
	cancel()
	noError(t, <-done)
	_, err = os.Lstat(l.Path())
	errorIs(t, err, os.ErrNotExist)
}

// Another daemon's socket is not removed.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	dir := t.TempDir()
	a, err := Listen(dir)
	noError(t, err)
	b, err := Listen(dir)
	noError(t, err)
	noError(t, a.Close())
	c, err := net.Dial("unix", b.Path())
	noError(t, err)
	noError(t, c.Close())
	noError(t, b.Close())
}
