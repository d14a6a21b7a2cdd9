package archive

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxXattrs is what the names of all attributes of a file may take, and what
// one's value may (xattr(7): the kernel allows 64 KiB of either).
const maxXattrs = 64 << 10

// kept tells which attributes belong to a tree. Of overlayfs's only the mark of
// a directory that hides what is below it does: the others name inodes of
// lower layers, which are others where the tree is unpacked (fs/overlayfs).
func kept(name string) bool {
	switch {
	case strings.HasPrefix(name, "user."), name == "security.capability", name == "trusted.overlay.opaque",
		name == "system.posix_acl_access", name == "system.posix_acl_default":
		return true
	}
	return false
}

// fdPath reaches what f is open on, by path only too; the last link is followed
// to exactly that (proc_pid_fd(5)).
func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// readXattrs reads the attributes that are kept. A symbolic link has none: those
// of user are not allowed on it, and nothing sets others.
func readXattrs(f *os.File) (map[string]string, error) {
	var list [maxXattrs]byte
	n, err := unix.Listxattr(fdPath(f), list[:])
	switch {
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOENT):
		return nil, nil
	case err != nil:
		return nil, err
	case n == 0:
		return nil, nil
	}
	var found map[string]string
	value := make([]byte, maxXattrs)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if !kept(name) {
			continue
		}
		n, err := unix.Getxattr(fdPath(f), name, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if found == nil {
			found = map[string]string{}
		}
		found[name] = string(value[:n])
	}
	return found, nil
}

// writeXattrs sets the attributes of records on f.
func writeXattrs(f *os.File, records map[string]string) error {
	for k, v := range records {
		name, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok {
			continue
		}
		if !kept(name) || len(v) > maxXattrs {
			return fmt.Errorf("%w: the attribute %.60q", ErrHostile, name)
		}
		if err := unix.Setxattr(fdPath(f), name, []byte(v), 0); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}
