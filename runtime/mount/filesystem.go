package mount

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// FileSystem mounts what is on the device source, by mount(2)'s name of the type
// and its options (one without a value is a flag), as a [Tree]: device nodes on it
// do not open and setuid programs have no power. Mounting a device again gives the
// same file system, with the options of the first time. With id the owners are
// shifted. Errors: the kernel's, with what it logged about it; [ErrNoIDMap].
func FileSystem(kind, source string, options [][2]string, id *IDMap) (*Tree, error) {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open %s file system: %w", kind, err)
	}
	fs := os.NewFile(uintptr(fd), kind)
	defer func() { _ = fs.Close() }()
	fail := func(what string, err error) error {
		return fmt.Errorf("mount %s (%s): %s: %w%s", source, kind, what, err, kernelLog(fs))
	}
	if err := unix.FsconfigSetString(fd, "source", source); err != nil {
		return nil, fail("source", err)
	}
	for _, o := range options {
		if o[1] == "" {
			err = unix.FsconfigSetFlag(fd, o[0])
		} else {
			err = unix.FsconfigSetString(fd, o[0], o[1])
		}
		if err != nil {
			return nil, fail("option "+o[0], err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, fail("create", err)
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return nil, fail("mount", err)
	}
	t := &Tree{root: os.NewFile(uintptr(mnt), source), name: source}
	if id == nil {
		return t, nil
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(id.ns.Fd())}
	if err := unix.MountSetattr(mnt, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		_ = t.root.Close()
		return nil, fmt.Errorf("%w: %s cannot shift ids: %w", ErrNoIDMap, kind, err)
	}
	return t, nil
}
