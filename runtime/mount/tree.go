package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Tree is a mount of one directory that is nowhere in the tree of files: only
// its descriptor leads to it, and closing that ends it. What is mounted below
// the directory is not in it. A Tree is used by one goroutine at a time.
type Tree struct {
	root *os.File
	name string
	at   string // where it is attached, on kernels that need that
	// part is the directory of it that an overlay takes, where that is not all.
	part *os.File
}

// Clone makes a Tree of dir, which must not be a symbolic link, with no device
// nodes on it. With id the owners are shifted, and readOnly makes it so.
// Errors wrap [ErrNoIDMap] when dir's file system cannot be id-mapped.
func Clone(dir string, id *IDMap, readOnly bool) (*Tree, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		if errors.Is(err, unix.ENOSYS) {
			return nil, fmt.Errorf("%w: the kernel has no open_tree (Linux 5.2): %w", ErrNoIDMap, err)
		}
		return nil, &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	t := &Tree{root: os.NewFile(uintptr(fd), dir), name: dir}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if id != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(id.ns.Fd())
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		_ = t.root.Close()
		if id == nil {
			return nil, &os.PathError{Op: "mount_setattr", Path: dir, Err: err}
		}
		return nil, fmt.Errorf("%w: the file system of %s (%s) cannot shift ids: %w", ErrNoIDMap, dir, fsName(dir), err)
	}
	return t, nil
}

// Dir is the root of the tree, for opening files below it; it stays the Tree's.
func (t *Tree) Dir() *os.File { return t.root }

// Narrow has an overlay take the directory dir of the tree, in place of all of it.
func (t *Tree) Narrow(dir string) error {
	part, err := OpenWithin(t.root, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if t.part != nil {
		_ = t.part.Close()
	}
	t.part = part
	return nil
}

// lower is what an overlay takes of it.
func (t *Tree) lower() *os.File {
	if t.part != nil {
		return t.part
	}
	return t.root
}

// attach gives the tree a place among the files, for kernels whose overlay
// takes only mounts of the caller's namespace (before Linux 6.15).
func (t *Tree) attach(dir string) error {
	if t.at != "" {
		return nil
	}
	at, err := os.MkdirTemp(dir, "layer-")
	if err != nil {
		return fmt.Errorf("attach %s: %w", t.name, err)
	}
	if err := unix.MoveMount(int(t.root.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return errors.Join(&os.PathError{Op: "move_mount", Path: t.name, Err: err}, os.Remove(at))
	}
	t.at = at
	return nil
}

// Close gives the tree back. Overlays made of it keep it.
func (t *Tree) Close() error {
	err := t.root.Close()
	if t.part != nil {
		err = errors.Join(err, t.part.Close())
	}
	if t.at != "" {
		err = errors.Join(err, Unmount(t.at), os.Remove(t.at))
		t.at = ""
	}
	return err
}

// fsName is the type of the file system below path, for messages.
func fsName(path string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "unknown"
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs",
		unix.F2FS_SUPER_MAGIC: "f2fs", unix.SQUASHFS_MAGIC: "squashfs", unix.EROFS_SUPER_MAGIC_V1: "erofs",
		unix.FUSE_SUPER_MAGIC: "fuse or virtiofs", 0x2fc12fc1: "zfs", 0x01021997: "9p", unix.SMB2_SUPER_MAGIC: "cifs",
		unix.CIFS_SUPER_MAGIC: "cifs", unix.MSDOS_SUPER_MAGIC: "vfat", unix.PROC_SUPER_MAGIC: "proc", unix.SYSFS_MAGIC: "sysfs",
		unix.ECRYPTFS_SUPER_MAGIC: "ecryptfs",
	}
	if n, ok := names[int64(st.Type)]; ok { //nolint:unconvert // Type is 32 bits wide elsewhere
		return n
	}
	return fmt.Sprintf("type %#x", st.Type)
}

// Place gives the tree a place in a new directory of dir, from which its
// directories can be cloned, and opens its root. Close takes it away again.
func (t *Tree) Place(dir string) (*os.File, error) {
	if err := t.attach(dir); err != nil {
		return nil, err
	}
	return os.OpenFile(t.at, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// Map has the tree, which must not be attached yet, shift owners by id. It can be
// done once. Errors wrap [ErrNoIDMap].
func (t *Tree) Map(id *IDMap) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(id.ns.Fd())}
	if err := unix.MountSetattr(int(t.root.Fd()), "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("%w: its file system (%s) cannot shift ids: %w", ErrNoIDMap, fsName(fdPath(t.root)), err)
	}
	return nil
}
