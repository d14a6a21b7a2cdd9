package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// skelDir is a directory of the skeleton.
type skelDir struct {
	path string
	mode uint32
	uid  int
}

// skeletonDirs are the directories that every sandbox has, parents first.
func skeletonDirs() []skelDir {
	const sticky = unix.S_ISVTX | 0o777
	return []skelDir{
		{"dev", 0o755, 0}, {"proc", 0o555, 0}, {"sys", 0o555, 0}, {"usr", 0o755, 0},
		{"etc", 0o755, 0}, {"etc/sudoers.d", 0o750, 0},
		{"boot", 0o755, 0}, {"media", 0o755, 0}, {"mnt", 0o755, 0}, {"opt", 0o755, 0}, {"srv", 0o755, 0},
		{"root", 0o700, 0}, {"run", 0o755, 0}, {"run/lock", sticky, 0}, {"tmp", sticky, 0},
		{"home", 0o755, 0}, {"home/" + devName, 0o755, DevUID}, {"workspace", 0o755, DevUID},
		{"var", 0o755, 0}, {"var/tmp", sticky, 0}, {"var/log", 0o755, 0}, {"var/log/apt", 0o755, 0},
		{"var/cache", 0o755, 0}, {"var/cache/apt", 0o755, 0}, {"var/cache/apt/archives", 0o755, 0}, {"var/cache/apt/archives/partial", 0o755, 0},
		{"var/cache/debconf", 0o755, 0}, {"var/cache/ldconfig", 0o700, 0},
		{"var/lib", 0o755, 0}, {"var/lib/apt", 0o755, 0}, {"var/lib/apt/lists", 0o755, 0}, {"var/lib/apt/lists/partial", 0o755, 0},
		{"var/lib/misc", 0o755, 0}, {"var/lib/pam", 0o755, 0},
		{"var/local", 0o755, 0}, {"var/mail", 0o755, 0}, {"var/opt", 0o755, 0}, {"var/spool", 0o755, 0}, {"var/backups", 0o755, 0},
	}
}

// varAllowed are the databases of package managers, copied so that a sandbox
// can install on top of what it has.
func varAllowed() []string {
	return strings.Fields(`
lib/dpkg lib/rpm lib/pacman/local lib/alternatives lib/apt/extended_states lib/pam lib/ucf
`)
}

func varDenies(rel string) bool {
	switch path.Base(rel) {
	case "lock", "lock-frontend", "updates", "parts", ".rpm.lock", "__db.001", "__db.002", "__db.003":
		return true
	}
	return strings.HasSuffix(rel, "-old")
}

// buildSkeleton makes the lower layer of / in dir, an empty directory, from the
// host at root, whose layout was checked. It takes about half a second.
func buildSkeleton(ctx context.Context, root, dir string) (err error) {
	host, err := os.Open(root)
	if err != nil {
		return fmt.Errorf("host root: %w", err)
	}
	defer func() { _ = host.Close() }()
	out, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("skeleton: %w", err)
	}
	defer func() { _ = out.Close() }()
	if err := errors.Join(out.Chown(0, 0), out.Chmod(0o755)); err != nil {
		return fmt.Errorf("skeleton: %w", err)
	}
	for _, d := range skeletonDirs() {
		if err := makeSkelDir(out, d); err != nil {
			return err
		}
	}
	if err := copyLinks(root, dir); err != nil {
		return err
	}
	if err := copyEtc(ctx, host, out); err != nil {
		return err
	}
	if err := writeIdentity(root, out); err != nil {
		return err
	}
	return copyVar(ctx, host, out)
}

// checkLayout refuses a host of whose directories the two overlays cannot be
// made: programs outside of /usr would be missing.
func checkLayout(root string) error {
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(root, "usr"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%w: /usr is not a directory", ErrHostLayout)
	}
	for _, l := range topLinks() {
		if err := unix.Lstat(filepath.Join(root, l), &st); err != nil {
			if errors.Is(err, unix.ENOENT) && l != "bin" {
				continue
			}
			return fmt.Errorf("%w: /%s: %w", ErrHostLayout, l, err)
		}
		target, err := os.Readlink(filepath.Join(root, l))
		if err != nil {
			return fmt.Errorf("%w: /%s is not a link into /usr; a merged /usr is needed (Debian: the package usrmerge)", ErrHostLayout, l)
		}
		if !strings.HasPrefix(path.Join("/", target), "/usr/") {
			return fmt.Errorf("%w: /%s leads to %q, not into /usr", ErrHostLayout, l, target)
		}
	}
	return nil
}

func makeSkelDir(out *os.File, d skelDir) error {
	if err := unix.Mkdirat(int(out.Fd()), d.path, 0o700); err != nil {
		return fmt.Errorf("skeleton: make %s: %w", d.path, err)
	}
	f, err := mount.OpenWithin(out, d.path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("skeleton: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := errors.Join(f.Chown(d.uid, d.uid), unix.Fchmod(int(f.Fd()), d.mode)); err != nil {
		return fmt.Errorf("skeleton: %s: %w", d.path, err)
	}
	return nil
}

// copyLinks makes the links of a merged /usr, and those that every system has.
func copyLinks(root, dir string) error {
	links := map[string]string{"etc/mtab": "../proc/self/mounts", "var/run": "/run", "var/lock": "/run/lock"}
	for _, l := range topLinks() {
		target, err := os.Readlink(filepath.Join(root, l))
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			return fmt.Errorf("read link /%s: %w", l, err)
		}
		links[l] = strings.TrimPrefix(target, "/")
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("skeleton: %w", err)
		}
	}
	return nil
}

func copyEtc(ctx context.Context, host, out *os.File) error {
	src, dst, done, err := openBoth(host, out, "etc", "etc")
	if err != nil {
		return err
	}
	defer done()
	c := &copier{ctx: ctx, src: src, dst: dst, scan: findSecrets(), deny: etcDenies, linkBase: "etc"}
	for _, rel := range etcAllowed() {
		if err := c.copy(rel); err != nil {
			return fmt.Errorf("copy /etc/%s: %w", rel, err)
		}
	}
	return copySkel(ctx, src, out)
}

// copySkel gives dev what the host gives its new users.
func copySkel(ctx context.Context, etc, out *os.File) error {
	home, err := mount.OpenWithin(out, "home/"+devName, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("skeleton: %w", err)
	}
	defer func() { _ = home.Close() }()
	owner := DevUID
	c := &copier{ctx: ctx, src: etc, dst: home, scan: findSecrets(), deny: etcDenies, owner: &owner, linkBase: "home/" + devName}
	skel, err := c.openDir(etc, "skel", mount.OpenBeneath)
	if err != nil || skel == nil {
		return err
	}
	defer func() { _ = skel.Close() }()
	c.src = skel
	names, err := skel.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list /etc/skel: %w", err)
	}
	for _, n := range names {
		if err := c.copy(n); err != nil {
			return fmt.Errorf("copy /etc/skel/%s: %w", n, err)
		}
	}
	return nil
}

func copyVar(ctx context.Context, host, out *os.File) error {
	src, dst, done, err := openBoth(host, out, "var", "var")
	if err != nil {
		return err
	}
	defer done()
	c := &copier{ctx: ctx, src: src, dst: dst, deny: varDenies, linkBase: "var"}
	for _, rel := range varAllowed() {
		if err := c.copy(rel); err != nil {
			return fmt.Errorf("copy /var/%s: %w", rel, err)
		}
	}
	// dpkg wants these two even when the host's were left out.
	dpkg, err := c.openDir(dst, "lib/dpkg", mount.OpenWithin)
	if err != nil || dpkg == nil {
		return err
	}
	defer func() { _ = dpkg.Close() }()
	for _, d := range []string{"updates", "parts"} {
		if err := makeSkelDir(dpkg, skelDir{d, 0o755, 0}); err != nil {
			return err
		}
	}
	return nil
}

func openBoth(host, out *os.File, from, to string) (src, dst *os.File, done func(), err error) {
	src, err = mount.OpenBeneath(host, from, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrHostLayout, err)
	}
	dst, err = mount.OpenWithin(out, to, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		_ = src.Close()
		return nil, nil, nil, fmt.Errorf("skeleton: %w", err)
	}
	return src, dst, func() { _ = src.Close(); _ = dst.Close() }, nil
}

// writeIdentity writes the regenerated files of /etc.
func writeIdentity(root string, out *os.File) error {
	in := identity{shell: "/bin/sh"}
	var err error
	if in.passwd, err = readSmall(filepath.Join(root, "etc/passwd")); err != nil {
		return err
	}
	if in.group, err = readSmall(filepath.Join(root, "etc/group")); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "usr/bin/bash")); err == nil {
		in.shell = "/bin/bash"
	}
	if _, err := os.Stat(filepath.Join(root, "usr/bin/sudo")); err == nil {
		in.sudo = true
	}
	shadow := in.groupID("shadow")
	for _, f := range in.files() {
		gid := 0
		if f.path == "etc/shadow" || f.path == "etc/gshadow" {
			gid = shadow
		}
		if err := writeNew(out, f, gid); err != nil {
			return fmt.Errorf("skeleton: %w", err)
		}
	}
	return nil
}

// readSmall reads a file of the host; a missing one is empty.
func readSmall(p string) ([]byte, error) {
	raw, err := os.ReadFile(p)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	return raw, nil
}

// writeNew writes a file that must not exist, below dir.
func writeNew(dir *os.File, g genFile, gid int) error {
	f, err := mount.OpenWithin(dir, g.path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(g.content)
	if err := errors.Join(err, f.Chown(0, gid), f.Chmod(os.FileMode(g.mode)), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", g.path, err)
	}
	return nil
}
