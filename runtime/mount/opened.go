package mount

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrForeign: a descriptor belongs to a mount namespace that is none of those
// it was looked for in: whoever opened it sees other mounts than this machine's
// processes do. Use [errors.Is].
var ErrForeign = errors.New("it was opened in another mount namespace")

// Namespace is a mount namespace besides the caller's own.
type Namespace struct{ file *os.File }

// InheritedNamespace takes the mount namespace that is open on the descriptor
// fd, which becomes the Namespace's. The caller closes it.
func InheritedNamespace(fd int) (*Namespace, error) {
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNS {
		return nil, fmt.Errorf("descriptor %d is no mount namespace: %w", fd, cmp.Or(err, error(unix.EINVAL)))
	}
	unix.CloseOnExec(fd)
	return &Namespace{file: os.NewFile(uintptr(fd), "mount namespace")}, nil
}

// Close gives the descriptor back.
func (n *Namespace) Close() error { return n.file.Close() }

// enter runs f in the namespace.
func (n *Namespace) enter(f func() error) error {
	done := make(chan error, 1)
	go onceOnAThread(func() {
		// A thread that shares its root directory with others cannot move
		// (setns(2)).
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNS)
		}
		if err != nil {
			done <- fmt.Errorf("enter a mount namespace: %w", err)
			return
		}
		done <- f()
	})
	return <-done
}

// onceOnAThread runs f on a thread that serves nothing else and ends with the
// calling goroutine, which must end next: a thread that has been elsewhere must
// not come back. It is not the process's first thread, which cannot end, and
// whose namespaces are those that /proc/self tells of.
func onceOnAThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f() // and stay locked
		return
	}
	// While this goroutine has the first thread, the next one gets another.
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onceOnAThread(f)
	}()
	<-done
}

// CloneOpened makes a Tree of the directory that dir is open on, whoever opened
// it: in the caller's mount namespace, or in the first of others in which the
// descriptor's mount is. No path is looked up. Neither setuid programs nor
// device nodes work on it, what is mounted below the directory is not in it,
// and nothing that happens to mounts on one side is seen on the other. Errors:
// [ErrForeign].
func CloneOpened(dir *os.File, readOnly bool, others ...*Namespace) (*Tree, error) {
	fd := -1
	clone := func() (err error) {
		fd, err = unix.OpenTree(int(dir.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		return err
	}
	// EINVAL is how the kernel says that the mount is not of this namespace.
	err := clone()
	for _, n := range others {
		if !errors.Is(err, unix.EINVAL) {
			break
		}
		err = n.enter(clone)
	}
	switch {
	case errors.Is(err, unix.EINVAL):
		return nil, ErrForeign
	case errors.Is(err, unix.ENOSYS):
		return nil, fmt.Errorf("%w: the kernel has no open_tree (Linux 5.2): %w", ErrNoIDMap, err)
	case err != nil:
		return nil, fmt.Errorf("clone the directory's mount: %w", err)
	}
	t := &Tree{root: os.NewFile(uintptr(fd), dir.Name()), name: dir.Name()}
	// A clone of a shared mount is its peer: what is mounted below the one
	// would appear below the other (mount_namespaces(7)).
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return nil, errors.Join(fmt.Errorf("set the attributes of the directory's mount: %w", err), t.Close())
	}
	return t, nil
}

// Shift has the tree, which must not be attached yet, shift owners by m. It can
// be done once. Errors wrap [ErrNoIDMap] where the file system cannot, naming
// its type.
func (t *Tree) Shift(m *OwnerMap) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(m.ns.Fd())}
	err := unix.MountSetattr(int(t.root.Fd()), "", unix.AT_EMPTY_PATH, &attr)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		// fs/namespace.c, can_idmap_mount: a mount is shifted once.
		return fmt.Errorf("%w: it lies on a mount that shifts ids already, or on a file system of another user namespace", ErrNoIDMap)
	}
	return fmt.Errorf("%w: its file system (%s) cannot shift owners: %w", ErrNoIDMap, fsName(fdPath(t.root)), err)
}

// Attach mounts the tree on dir, an open directory of the caller's mount
// namespace, where it stays after Close until it is unmounted.
func (t *Tree) Attach(dir *os.File) error {
	err := unix.MoveMount(int(t.root.Fd()), "", int(dir.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "move_mount", Path: dir.Name(), Err: err}
	}
	return nil
}

// NamespaceOf opens the mount namespace of a process. Whether it still is the
// process that was meant, the caller has to make sure of afterwards.
func NamespaceOf(pid int) (*Namespace, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a mount namespace: %w", err)
	}
	return &Namespace{file: f}, nil
}

// Within runs f in the namespace, on a thread that ends with it and whose working
// directory is its own, with the namespace's root.
func (n *Namespace) Within(f func(root *os.File) error) error {
	return n.enter(func() error {
		root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer root.Close()
		return f(root)
	})
}
