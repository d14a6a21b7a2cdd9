package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// opaqueXattr marks a directory of a layer that hides what is below it.
const opaqueXattr = "trusted.overlay.opaque"

// maxXattr is the most that the names of a file's attributes take, and the value
// of one (xattr(7)).
const maxXattr = 64 << 10

// fdLink reaches what f is open on, also by path only.
func fdLink(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// setLike gives to the owner, mode, attributes and time of from, whose status is
// st, in this order: a change of the owner takes setuid and capabilities away. Both
// may be open by path only. opaque keeps the mark of a directory that hides what is
// below it.
func setLike(from, to *os.File, st *unix.Stat_t, opaque bool) error {
	if err := unix.Fchownat(int(to.Fd()), "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set the owner: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(fdLink(to), st.Mode&0o7777); err != nil {
			return fmt.Errorf("set the mode: %w", err)
		}
	}
	if err := copyXattrs(from, to, opaque); err != nil {
		return err
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}
	if err := unix.UtimesNanoAt(int(to.Fd()), "", ts, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}

// copyXattrs gives to the attributes of from. Of overlayfs's own only the mark of
// an opaque directory means anything in another layer; the others name inodes of
// those below.
func copyXattrs(from, to *os.File, opaque bool) error {
	names := make([]byte, maxXattr)
	n, err := unix.Listxattr(fdLink(from), names)
	switch {
	// Of a symbolic link the link to it leads to nothing: it has none.
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("list the attributes: %w", err)
	case n == 0:
		return nil
	}
	value := make([]byte, maxXattr)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") && (name != opaqueXattr || !opaque) {
			continue
		}
		n, err := unix.Getxattr(fdLink(from), name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := unix.Setxattr(fdLink(to), name, value[:n], 0); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}
