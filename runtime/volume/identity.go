package volume

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Identity tells one directory from all others, also after a reboot. It is
// kept with the sandbox.
type Identity struct {
	// Dev and Ino are those of stat(2). A device may have another number
	// after a reboot, which is what FS is for.
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
	// FS is the file system's own id (f_fsid of statfs(2)), "" where it has
	// none.
	FS string `json:"fs,omitempty"`
	// Handle is the file system's name of the inode (name_to_handle_at(2)),
	// in which a number that was given to another directory is told from the
	// one before; "" where it has none.
	Handle string `json:"handle,omitempty"`
}

// is tells whether both name one directory.
func (i Identity) is(other Identity) bool {
	if i.Ino != other.Ino || i.Handle != other.Handle {
		return false
	}
	return i.Dev == other.Dev || i.FS != "" && i.FS == other.FS
}

// look is what is known of an open directory.
type look struct {
	id       Identity
	uid, gid uint32
	readOnly bool // the host has it mounted so
}

// lookAt looks at a descriptor, which must be a directory's.
func lookAt(dir *os.File) (look, error) {
	fd := int(dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return look{}, &Error{Message: "it cannot be looked at", Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return look{}, refuse("", "it is no directory")
	}
	if st.Nlink == 0 {
		return look{}, refuse("", "it has been removed")
	}
	l := look{id: Identity{Dev: st.Dev, Ino: st.Ino}, uid: st.Uid, gid: st.Gid}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return look{}, &Error{Message: "its file system cannot be looked at", Err: err}
	}
	l.readOnly = fs.Flags&unix.ST_RDONLY != 0
	if fs.Fsid.Val != [2]int32{} {
		l.id.FS = fmt.Sprintf("%08x%08x", uint32(fs.Fsid.Val[0]), uint32(fs.Fsid.Val[1]))
	}
	handle, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	switch {
	case err == nil:
		l.id.Handle = strconv.Itoa(int(handle.Type())) + ":" + hex.EncodeToString(handle.Bytes())
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EOVERFLOW), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		// No handles here: device and inode have to do.
	default:
		return look{}, &Error{Message: "it cannot be identified", Err: err}
	}
	return l, nil
}
