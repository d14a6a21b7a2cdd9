package store

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// holder is another process that holds dir.
func holder(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := helper(t, "lock", dir)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("the helper says %q, %v", line, err)
	}
	return cmd
}

func TestLockDir(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "a", "b", "state")
	other := holder(t, dir)
	if st := must[os.FileInfo](t)(os.Stat(dir)); st.Mode() != os.ModeDir|0o700 {
		t.Errorf("mode %v", st.Mode())
	}
	if !held(dir) {
		t.Error("held says that nobody holds it")
	}
	for range 2 { // asking does not take it
		_, err := LockDir(dir, 0o700)
		var locked *LockedError
		if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.Pid != other.Process.Pid {
			t.Fatalf("a second lock: %v", err)
		}
		if want := fmt.Sprintf("%s is in use by another daemon (pid %d)", dir, other.Process.Pid); err.Error() != want {
			t.Errorf("it says %q, want %q", err, want)
		}
	}
	ok(t, other.Process.Kill())
	_ = other.Wait()
	if held(dir) {
		t.Error("held by a dead process")
	}
	l := must[*Lock](t)(LockDir(dir, 0o700))
	if !held(dir) {
		t.Error("held says that this process does not hold it")
	}
	ok(t, l.Close())
	if held(dir) {
		t.Error("held after Close")
	}
	if held(filepath.Join(dir, "no")) || held(filepath.Join(dir, lockFile)) {
		t.Error("what is no directory is held")
	}
}

// TestUmask: the modes do not depend on it, nor do those of the directories above.
func TestUmask(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	l := must[*Lock](t)(LockDir(filepath.Join(base, "up", "run"), 0o711))
	ok(t, l.Close())
	for name, want := range map[string]os.FileMode{"up": 0o755, "up/run": 0o711} {
		if st := must[os.FileInfo](t)(os.Stat(filepath.Join(base, name))); st.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v", name, st.Mode().Perm(), want)
		}
	}
}

func TestUnsafeDirectories(t *testing.T) {
	needRoot(t)
	tests := map[string]struct {
		mode   os.FileMode // asked for
		make   func(path string) error
		unsafe string // "" where it is used
		want   os.FileMode
	}{
		"as it should be":            {0o700, dirOf(0o700, 0, true), "", 0o700},
		"empty and open":             {0o700, dirOf(0o755, 0, false), "", 0o700},
		"open, with things in it":    {0o700, dirOf(0o755, 0, true), "has the mode 0755, not 0700", 0o755},
		"writable by the group":      {0o700, dirOf(0o770, 0, false), "has the mode 0770, not 0700", 0o770},
		"writable by all":            {0o711, dirOf(0o777, 0, true), "has the mode 0777, not 0711", 0o777},
		"sticky":                     {0o700, dirOf(0o1777|os.ModeSticky, 0, false), "has the mode 1777, not 0700", 0o777},
		"another's":                  {0o700, dirOf(0o700, 1001, false), "belongs to uid 1001, not to root", 0o700},
		"run, closed":                {0o711, dirOf(0o700, 0, true), "", 0o711},
		"run, listable":              {0o711, dirOf(0o755, 0, true), "", 0o755},
		"a link to a good directory": {0o700, linkTo(0o700), "is not a directory (links are not followed)", 0},
		"a file":                     {0o700, func(p string) error { return os.WriteFile(p, nil, 0o600) }, "is not a directory (links are not followed)", 0},
		"a link to nothing":          {0o700, func(p string) error { return os.Symlink(p+"-no", p) }, "is not a directory (links are not followed)", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d")
			ok(t, tt.make(path))
			l, err := LockDir(path, tt.mode)
			if err == nil {
				ok(t, l.Close())
			}
			var unsafe *UnsafeError
			switch {
			case tt.unsafe == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.unsafe != "" && (!errors.Is(err, ErrUnsafe) || !errors.As(err, &unsafe) || unsafe.Problem != tt.unsafe):
				t.Errorf("%v, want %q", err, tt.unsafe)
			case err != nil && (strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), path+" ")):
				t.Errorf("not one clear line: %q", err)
			}
			if tt.want != 0 {
				if st := must[os.FileInfo](t)(os.Lstat(path)); st.Mode().Perm() != tt.want {
					t.Errorf("mode %v, want %v", st.Mode().Perm(), tt.want)
				}
			}
		})
	}
}

func dirOf(mode os.FileMode, uid int, full bool) func(string) error {
	return func(path string) error {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		if full {
			if err := os.WriteFile(filepath.Join(path, "thing"), nil, 0o600); err != nil {
				return err
			}
		}
		return errors.Join(os.Chmod(path, mode), os.Chown(path, uid, 0))
	}
}

func linkTo(mode os.FileMode) func(string) error {
	return func(path string) error {
		return errors.Join(os.Mkdir(path+"-real", mode), os.Symlink(path+"-real", path))
	}
}

func TestLockOnFullDisk(t *testing.T) {
	dir := smallDisk(t, 64<<10)
	ok(t, must[*Lock](t)(LockDir(dir, 0o700)).Close())
	fillDisk(t, dir)
	// A daemon must start on a full disk: something has to be deleted.
	ok(t, must[*Lock](t)(LockDir(dir, 0o700)).Close())
}

func TestClaim(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "run")
	claim := func(inst, boot string) error {
		l := must[*Lock](t)(LockDir(dir, 0o711))
		defer func() { ok(t, l.Close()) }()
		return l.Claim(inst, boot)
	}
	ok(t, claim("aaaaaa", "boot1"))
	ok(t, claim("aaaaaa", "boot1"))
	ok(t, claim("bbbbbb", "boot1")) // nothing of the first's is in it
	ok(t, os.MkdirAll(filepath.Join(dir, "sandboxes", "0123456789ab"), 0o711))
	ok(t, claim("bbbbbb", "boot1"))
	if err := claim("aaaaaa", "boot1"); !errors.Is(err, ErrForeign) || !strings.Contains(fmt.Sprint(err), "bbbbbb") {
		t.Errorf("another's sandboxes are in it: %v", err)
	}
	ok(t, claim("bbbbbb", "boot1"))
	ok(t, claim("aaaaaa", "boot2")) // they ended with their boot
	ok(t, os.WriteFile(filepath.Join(dir, instFile), []byte("{torn"), 0o600))
	ok(t, claim("aaaaaa", "boot2"))
	if err := claim("../../", "boot2"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a strange instance: %v", err)
	}
}
