package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	newRoot = "/newroot"
	cgroups = "/sys/fs/cgroup"
	// workDir is where the caller's directory is.
	workDir = "/vmtest"
	// outDir is where the command leaves files for the caller.
	outDir = "/vmtest.out"
)

func mount(src, dst, typ string, flags uintptr, data string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(src, dst, typ, flags, data); err != nil {
		return fmt.Errorf("mount -t %s -o %s %s %s: %w", typ, data, src, dst, err)
	}
	return nil
}

func (g *guest) mountAll(s settings) error {
	if err := mountRoot(s.root); err != nil {
		return err
	}
	g.logf("root %s mounted", s.root)
	if s.payload {
		dev, err := disk("payload")
		if err != nil {
			return err
		}
		if err := mount(dev, newRoot+workDir, "ext4", 0, ""); err != nil {
			return err
		}
		_ = os.Remove(newRoot + workDir + "/lost+found")
	}
	// Where the root has no modules for this kernel they came along.
	if _, err := os.Stat("/lib/modules"); err == nil {
		if err := mount("/lib/modules", newRoot+"/usr/lib/modules", "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := switchRoot(); err != nil {
		return err
	}
	if err := g.mountKernel(); err != nil {
		return err
	}
	if err := g.mountCgroups(); err != nil {
		return err
	}
	if !s.noScratch {
		if err := mountScratch(s.scratch); err != nil {
			return err
		}
	}
	if s.preload != "" {
		args := append([]string{"-a"}, strings.Fields(s.preload)...)
		if out, err := exec.CommandContext(context.Background(), "/sbin/modprobe", args...).CombinedOutput(); err != nil {
			g.logf("modprobe %v: %v %s", args, err, out)
		}
	}
	return nil
}

// mountRoot mounts the root to be at newRoot. The image's is a plain file
// system, writable because qemu throws the writes away: an overlay cannot be
// id-mapped, and cove shifts the ids of the host's /usr. A root that is
// shared with the host is read-only and gets an overlay; tests that need
// id-mapped mounts of it do not run there.
func mountRoot(mode string) error {
	const lower, upper = "/lower", "/upper"
	switch mode {
	case "image":
		dev, err := disk("root")
		if err != nil {
			return err
		}
		return mount(dev, newRoot, "ext4", 0, "")
	case "virtiofs":
		if err := mount("hostroot", lower, "virtiofs", unix.MS_RDONLY, ""); err != nil {
			return err
		}
	case "9p":
		if err := mount("hostroot", lower, "9p", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose"); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown root mode %q", mode)
	}
	if err := mount("tmpfs", upper, "tmpfs", 0, "mode=0755,size=75%"); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(upper+"/up", 0o755), os.Mkdir(upper+"/wk", 0o755)); err != nil {
		return err
	}
	return mount("overlay", newRoot, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+"/up,workdir="+upper+"/wk")
}

// switchRoot makes newRoot the root. Not by pivot_root, which an initramfs
// cannot; after a move the root of the namespace is a mount like any other,
// and the pivot_root of an OCI runtime works.
func switchRoot() error {
	for _, d := range []string{"/proc", "/sys", "/dev"} {
		if err := os.MkdirAll(newRoot+d, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(d, newRoot+d, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", d, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/")); err != nil {
		return err
	}
	// As systemd does it, so that faults of propagation show.
	return unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
}

func (g *guest) mountKernel() error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	err := errors.Join(
		mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"),
		mount("tmpfs", "/dev/shm", "tmpfs", safe, "mode=1777"),
		mount("mqueue", "/dev/mqueue", "mqueue", safe, ""),
		mount("tmpfs", "/tmp", "tmpfs", safe, "mode=1777"),
		mount("tmpfs", "/run", "tmpfs", safe, "mode=755"))
	if err != nil {
		return err
	}
	for link, target := range map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	for typ, dir := range map[string]string{"bpf": "/sys/fs/bpf", "debugfs": "/sys/kernel/debug", "tracefs": "/sys/kernel/tracing", "securityfs": "/sys/kernel/security"} {
		if err := unix.Mount(typ, dir, typ, 0, ""); err != nil {
			g.logf("without %s: %v", typ, err)
		}
	}
	return nil
}

// mountCgroups mounts the one tree and hands every controller down.
func (g *guest) mountCgroups() error {
	if err := mount("cgroup2", cgroups, "cgroup2", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "nsdelegate,memory_recursiveprot"); err != nil {
		return err
	}
	b, err := os.ReadFile(cgroups + "/cgroup.controllers")
	if err != nil {
		return err
	}
	all := strings.Fields(string(b))
	// One write for all, for each costs a grace period.
	if err := write(cgroups+"/cgroup.subtree_control", "+"+strings.Join(all, " +")); err != nil {
		return fmt.Errorf("hand down %v: %w", all, err)
	}
	g.logf("controllers %v", all)
	return nil
}

// mountScratch mounts the disk that tests write to, and makes the directory
// for temporary files there: a tmpfs has no id-mapped mounts below Linux 6.3.
func mountScratch(dir string) error {
	dev, err := disk("scratch")
	if err != nil {
		return err
	}
	if err := mount(dev, dir, "ext4", 0, "discard"); err != nil {
		return err
	}
	tmp := dir + "/tmp"
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	return os.Chmod(tmp, 0o777|os.ModeSticky)
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
