package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/disk"
	"cove/runtime/mount"
)

// ErrBusy: something inside still uses the volume. Use [errors.Is].
var ErrBusy = errors.New("it is in use inside")

// openFor is tree of what a Spec says.
func (s *Store) openFor(ctx context.Context, owner int, v config.Volume, r Request) (*mount.Tree, error) {
	r.Subpath, r.ReadOnly = v.Subpath, v.ReadOnly
	found, err := s.Find(owner, v.Name)
	if err == nil {
		var t *mount.Tree
		if t, err = s.tree(ctx, found, r); err == nil {
			return t, nil
		}
	}
	switch {
	case errors.Is(err, ErrNoVolume):
		return nil, refuse("make it anew: cove volume create "+v.Name, "it was removed")
	case errors.Is(err, mount.ErrNoIDMap):
		return nil, &Error{Message: "it cannot be given to a sandbox", Unsupported: true, Err: err}
	}
	return nil, err
}

// ofVolume says which volume an error is about.
func ofVolume(name string, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	e.Volume = true
	e.Message = "volume " + name + ": " + e.Message
	return e
}

// Live is what has to be known of a sandbox that runs: the first of its ids, its
// Spec's user, and whether the target lies in another of its mounts, where no
// directory is made.
type Live struct {
	Base   uint32
	User   string
	Nested bool
}

// Attach mounts an owner's volume in the mount namespace of a sandbox that runs.
// What lies inside may change at any moment: no link is followed, and the thread
// that goes there ends. Errors: *[Error].
func (s *Store) Attach(ctx context.Context, ns *mount.Namespace, owner int, v config.Volume, l Live) error {
	var uid, gid uint32
	err := ns.Within(func(root *os.File) (err error) {
		uid, gid, err = findUser(root, l.User)
		return err
	})
	if err != nil {
		return fmt.Errorf("find the user that the volume is for: %w", err)
	}
	t, err := s.openFor(ctx, owner, v, Request{Base: l.Base, UID: uid, GID: gid})
	if err == nil {
		var dev uint64
		if dev, err = s.device(ctx, owner, v.Name); err != nil {
			return errors.Join(err, t.Close())
		}
		err = ns.Within(func(root *os.File) error {
			if parent, name, err := parentOf(root, v.Target); err == nil {
				on, _ := mountedOn(parent, name, dev)
				_ = parent.Close()
				if on {
					return nil // an attach that was broken off came this far
				}
			}
			dir, err := mountPoint(root, v.Target, l.Nested)
			if err != nil {
				return err
			}
			defer dir.Close()
			return t.Attach(dir)
		})
		err = errors.Join(err, t.Close())
	}
	if err != nil {
		return ofVolume(v.Name, err)
	}
	return nil
}

// Detach takes an owner's volume away from the mount namespace of a sandbox; where it
// is not mounted, that is no error. [ErrBusy].
func (s *Store) Detach(ctx context.Context, ns *mount.Namespace, owner int, v config.Volume) error {
	dev, err := s.device(ctx, owner, v.Name)
	if err != nil {
		return err
	}
	return ns.Within(func(root *os.File) error {
		parent, name, err := parentOf(root, v.Target)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find %s inside: %w", v.Target, err)
		}
		defer parent.Close()
		if on, err := mountedOn(parent, name, dev); !on {
			return err
		}
		// The thread's own directory: /proc inside does not know the thread.
		if err := unix.Fchdir(int(parent.Fd())); err != nil {
			return fmt.Errorf("enter the directory of %s inside: %w", v.Target, err)
		}
		err = unix.Unmount(name, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			return ErrBusy
		}
		if err != nil {
			return fmt.Errorf("unmount %s inside: %w", v.Target, err)
		}
		return nil
	})
}

func parentOf(root *os.File, target string) (*os.File, string, error) {
	target = path.Clean(target)
	parent, err := mount.OpenBeneath(root, path.Join(".", path.Dir(target)), unix.O_PATH|unix.O_DIRECTORY, 0)
	return parent, path.Base(target), err
}

// mountedOn tells whether a mount of the file system is on the name in a directory. The
// device alone says so: no two of a sandbox's mounts have one target.
func mountedOn(parent *os.File, name string, dev uint64) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(int(parent.Fd()), name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look what is mounted inside: %w", err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 && unix.Mkdev(st.Dev_major, st.Dev_minor) == dev, nil
}

// device is that of the volume's file system.
func (s *Store) device(ctx context.Context, owner int, name string) (uint64, error) {
	v, err := s.Find(owner, name)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var st unix.Stat_t
	if v.Quota == 0 {
		err = unix.Lstat(s.dir(v.ID)+"/"+dataDir, &st)
		return st.Dev, err
	}
	if err := s.opt.Disks.Open(ctx, v.ID, disk.Spec{Size: v.Quota}); err != nil {
		return 0, err
	}
	d, err := s.opt.Disks.Device(v.ID)
	return unix.Mkdev(d.Major, d.Minor), err
}
