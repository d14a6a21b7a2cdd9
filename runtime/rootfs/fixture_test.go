package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// plant makes files: a name that ends in a slash is a directory, "a -> b" a
// link, and the rest regular with their name's content.
func plant(t testing.TB, root string, mode uint32, names ...string) {
	t.Helper()
	for _, n := range names {
		name, target, link := strings.Cut(n, " -> ")
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(target, at)
		case strings.HasSuffix(name, "/"):
			err = errors.Join(os.MkdirAll(at, 0o755), unix.Chmod(at, mode))
		default:
			err = errors.Join(os.WriteFile(at, []byte("content of "+name+"\n"), 0o600), unix.Chmod(at, mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fixture is the root of a small host, with secrets in it.
func fixture(t testing.TB) string {
	t.Helper()
	needRoot(t)
	root := filepath.Join(t.TempDir(), "host")
	plant(t, root, 0o755, "usr/bin/", "usr/sbin/", "usr/lib/", "usr/share/doc/", "etc/ssl/private/", "etc/ssh/", "var/lib/dpkg/", "root/", "home/ada/")
	plant(t, root, 0o755, "bin -> usr/bin", "sbin -> usr/sbin", "lib -> usr/lib", "usr/bin/tool", "usr/bin/bash", "usr/bin/sh -> bash")
	plant(t, root, 0o644, "usr/lib/os-release", "usr/share/doc/readme", "etc/profile", "etc/ssl/openssl.cnf", "etc/ssl/certs/a.pem",
		"etc/environment", "etc/secrets.conf", "etc/ssh/ssh_config", "etc/skel/.bashrc", "var/lib/dpkg/status", "home/ada/diary", "root/notes",
		"etc/localtime -> /usr/share/zoneinfo/UTC", "etc/alternatives/x -> /usr/bin/tool", "etc/alternatives/home -> /home/ada/diary",
		"etc/alternatives/up -> ../../root/notes")
	plant(t, root, 0o600, "usr/lib/key", "usr/share/a/b/secret", "etc/ssl/private/host.key", "etc/shadow", "etc/pam.d/secret", "var/lib/dpkg/passwords")
	plant(t, root, 0o640, "usr/share/group-only")
	plant(t, root, 0o700, "usr/share/closed/", "etc/fonts/closed/")
	plant(t, root, 0o711, "usr/share/unlisted/")
	plant(t, root, 0o644, "usr/share/closed/inner", "usr/share/unlisted/inner", "usr/local/etc/app.conf", "usr/local/bin/app", "etc/fonts/closed/inner")
	plant(t, root, 0o4111, "usr/bin/sudo")
	plant(t, root, 0o111, "usr/bin/execute-only")
	for name, content := range map[string]string{
		"etc/passwd":              "root:x:0:0:Charlie:/root:/bin/zsh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nada:x:1000:1000:Ada:/home/ada:/bin/bash\n",
		"etc/group":               "root:x:0:\nshadow:x:42:ada\nsudo:x:27:ada\nada:x:1000:\n",
		"etc/apt/sources.list":    "deb https://deb.example.org/ stable main\n",
		"etc/apt/sources.list.d/": "",
		"etc/yum.conf":            "proxy=http://ada:hunter2@proxy:3128\n",
		"etc/wgetrc":              "# https_proxy = http://proxy.example.com:18023/\n",
	} {
		if strings.HasSuffix(name, "/") {
			continue
		}
		plant(t, root, 0o644, name)
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "usr/share/fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	return root
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func layerNames(t *testing.T, w *world) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.state, "layers"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), skeletonPrefix) || strings.HasPrefix(e.Name(), maskPrefix) || strings.HasPrefix(e.Name(), tmpPrefix) {
			out = append(out, e.Name())
		}
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func TestWhatASandboxSeesOfTheHost(t *testing.T) {
	root := fixture(t)
	// What is mounted below /usr is not there, even when it could be read.
	plant(t, root, 0o755, "usr/share/mounted/")
	if err := unix.Mount("tmpfs", filepath.Join(root, "usr/share/mounted"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mount.Unmount(filepath.Join(root, "usr/share/mounted")) }()
	plant(t, root, 0o644, "usr/share/mounted/disk")

	w := newWorld(t, root)
	at := w.up("a", baseA)
	for _, p := range []string{
		"usr/bin/tool", "usr/bin/sh", "usr/bin/sudo", "usr/lib/os-release", "usr/share/doc/readme", "usr/local/bin/app", "usr/share/mounted",
		"bin/tool", "etc/profile", "etc/ssl/openssl.cnf", "etc/ssl/certs/a.pem", "etc/apt/sources.list", "etc/wgetrc", "etc/localtime",
		"etc/alternatives/x", "etc/sudoers", "home/dev/.bashrc", "var/lib/dpkg/status", "var/lib/dpkg/updates", "workspace",
	} {
		if !exists(filepath.Join(at, p)) {
			t.Errorf("/%s is missing", p)
		}
	}
	for _, p := range []string{
		"usr/lib/key", "usr/share/a/b/secret", "usr/share/group-only", "usr/share/closed", "usr/share/unlisted", "usr/share/fifo",
		"usr/bin/execute-only", "usr/local/etc", "usr/share/mounted/disk",
		"etc/environment", "etc/secrets.conf", "etc/ssh", "etc/ssl/private", "etc/yum.conf", "etc/pam.d/secret", "etc/fonts/closed",
		"etc/alternatives/home", "etc/alternatives/up", "home/ada", "root/notes", "var/lib/dpkg/passwords",
	} {
		if exists(filepath.Join(at, p)) {
			t.Errorf("/%s is visible", p)
		}
	}
	passwd, err := os.ReadFile(filepath.Join(at, "etc/passwd"))
	if err != nil || strings.Contains(string(passwd), "ada") || strings.Contains(string(passwd), "Charlie") {
		t.Errorf("passwd (%v):\n%s", err, passwd)
	}
	wantOwner(t, filepath.Join(at, "etc/shadow"), baseA, baseA+42)
	wantOwner(t, filepath.Join(at, "home/dev/.bashrc"), baseA+DevUID, baseA+DevUID)
	wantMode(t, filepath.Join(at, "etc/shadow"), 0o640)
	wantMode(t, filepath.Join(at, "etc/sudoers"), 0o440)
	wantMode(t, filepath.Join(at, "root"), 0o700)
	wantMode(t, filepath.Join(at, "tmp"), 0o1777)
	wantMode(t, filepath.Join(at, "usr/bin/sudo"), 0o4111)
	wantMode(t, at, 0o755)
	// Nor does a path that was hidden come back by being removed and made.
	if err := errors.Join(os.Mkdir(filepath.Join(at, "usr/share/closed"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(at, "usr/share/closed/inner")) {
		t.Error("making a hidden directory shows the host's content")
	}
}

func wantMode(t *testing.T, path string, mode uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Error(err)
	} else if st.Mode&0o7777 != mode {
		t.Errorf("%s has mode %o, not %o", path, st.Mode&0o7777, mode)
	}
}

func TestHostsThatCannotBeUsed(t *testing.T) {
	for name, spoil := range map[string]func(root string) error{
		"unmerged":     func(r string) error { return errors.Join(os.Remove(r+"/bin"), os.Mkdir(r+"/bin", 0o755)) },
		"no bin":       func(r string) error { return os.Remove(r + "/bin") },
		"link outside": func(r string) error { return errors.Join(os.Remove(r+"/lib"), os.Symlink("/opt/lib", r+"/lib")) },
		"usr a link":   func(r string) error { return errors.Join(os.Rename(r+"/usr", r+"/u"), os.Symlink("u", r+"/usr")) },
	} {
		t.Run(name, func(t *testing.T) {
			root := fixture(t)
			if err := spoil(root); err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, root)
			if err := w.host.Prepare(context.Background()); !errors.Is(err, ErrHostLayout) {
				t.Errorf("err = %v", err)
			}
			if got := layerNames(t, w); got != "" {
				t.Errorf("left: %s", got)
			}
		})
	}
}

func TestStateBelowUsrIsRefused(t *testing.T) {
	root := fixture(t)
	_, err := New(context.Background(), Options{StateDir: root + "/usr/state", RunDir: t.TempDir(), HostRoot: root})
	if !errors.Is(err, ErrHostLayout) {
		t.Errorf("err = %v", err)
	}
}

func TestPrepareIsSharedAndWhole(t *testing.T) {
	w := newWorld(t, fixture(t))
	// What a crash left half built is not taken for a layer, and is removed.
	plant(t, filepath.Join(w.state, "layers"), 0o644, tmpPrefix+"123/etc/passwd", tmpPrefix+"456")
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := w.host.Prepare(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.settle(t)
	if got := strings.Fields(layerNames(t, w)); len(got) != 2 {
		t.Errorf("layers: %v", got)
	}
	if w.host.Generation() == "" {
		t.Error("no generation")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.host.Prepare(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

// settle waits until no background check is under way or asked for.
func (w *world) settle(t *testing.T) {
	t.Helper()
	for range 3 {
		if err := w.host.refresh(context.Background(), true); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLayersInUseAreKept(t *testing.T) {
	root := fixture(t)
	w := newWorld(t, root)
	at := w.up("a", baseA)
	w.settle(t)
	first := layerNames(t, w)

	// The host changes: packages and a new secret.
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), []byte("upgraded"), 0o644); err != nil {
		t.Fatal(err)
	}
	plant(t, root, 0o600, "usr/lib/key2")
	w.settle(t)
	if got := strings.Fields(layerNames(t, w)); len(got) != 4 {
		t.Errorf("layers with one old root in use: %v", got)
	}
	if !exists(filepath.Join(at, "etc/profile")) {
		t.Error("the mounted root lost its skeleton")
	}
	other := w.up("b", baseB)
	if exists(filepath.Join(other, "usr/lib/key2")) {
		t.Error("a new secret is visible in a new root")
	}
	w.down("a")
	w.down("b")
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), []byte("upgraded again"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.settle(t)
	left := layerNames(t, w)
	if len(strings.Fields(left)) != 2 {
		t.Errorf("layers: %s", left)
	}
	for name := range strings.FieldsSeq(first) {
		if strings.Contains(left, name) {
			t.Errorf("%s is left", name)
		}
	}
}

// A check that fails must not leave the old mask in use.
func TestAFailedCheckStopsNewMounts(t *testing.T) {
	root := fixture(t)
	w := newWorld(t, root)
	if err := w.host.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(root+"/usr", root+"/gone"); err != nil {
		t.Fatal(err)
	}
	if err := w.host.Prepare(context.Background()); err == nil {
		t.Fatal("no error without /usr")
	}
	if err := createAt(w.dir("a"), "", ""); err != nil {
		t.Fatal(err)
	}
	if err := w.host.Mount(context.Background(), w.dir("a"), w.target("a"), baseA, HostBase()); err == nil {
		t.Error("mounted with a mask that could not be checked")
	}
	if err := os.Rename(root+"/gone", root+"/usr"); err != nil {
		t.Fatal(err)
	}
	w.up("a", baseA)
}

// Mounting asks for a check once the last is old, and does not wait for it.
func TestMountAsksForAnOverdueCheck(t *testing.T) {
	root := fixture(t)
	w := newWorld(t, root)
	w.up("a", baseA)
	w.settle(t)
	plant(t, root, 0o600, "usr/lib/key2")
	w.host.mu.Lock()
	before := w.host.now
	w.host.checked = w.host.checked.Add(-recheckEvery)
	w.host.mu.Unlock()
	w.up("b", baseB)
	deadline := time.Now().Add(10 * time.Second)
	for {
		w.host.mu.Lock()
		now := w.host.now
		w.host.mu.Unlock()
		if now.mask != before.mask {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no check was made")
		}
		time.Sleep(time.Millisecond)
	}
	if exists(filepath.Join(w.up("c", baseA), "usr/lib/key2")) {
		t.Error("the new secret is visible")
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, fixture(t))
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			id, base := string(rune('a'+i)), baseA+uint32(i)*mount.IDs
			for range 3 {
				err := errors.Join(
					createAt(w.dir(id), "", ""),
					w.host.Mount(context.Background(), w.dir(id), w.target(id), base, HostBase()))
				if err != nil {
					t.Error(err)
					return
				}
				if !exists(filepath.Join(w.target(id), "usr/bin/tool")) {
					t.Error("not mounted")
				}
				if err := w.host.Unmount(w.dir(id), w.target(id)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
