package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/mount"
)

// maxUserFile is the largest user file of a sandbox that is read, in bytes.
// Whoever was root inside may have written it.
const maxUserFile = 1 << 20

// findUser gives the ids that spec has inside: a name or uid, which may go on
// with ":" and a group or gid. It reads what PID 1 will read, beneath root, and
// decides only which of the sandbox's own ids the owner's files are given to.
func findUser(root *os.File, spec string) (uid, gid uint32, err error) {
	name, group, withGroup := strings.Cut(spec, ":")
	if name == "" {
		name = "0"
	}
	passwd, err := readInside(root, "etc/passwd")
	if err != nil {
		return 0, 0, err
	}
	number, numeric := parseID(name)
	found := numeric || name == "root"
	uid = number // 0 for root
	for f := range lines(passwd, 7) {
		u, ok := parseID(f[2])
		g, ok2 := parseID(f[3])
		if ok && ok2 && (f[0] == name || numeric && u == number) {
			uid, gid, found = u, g, true
			break
		}
	}
	if !found {
		return 0, 0, fmt.Errorf("user %s does not exist in the sandbox", name)
	}
	if withGroup {
		if gid, err = findGroup(root, group); err != nil {
			return 0, 0, err
		}
	}
	if uid >= mount.IDs || gid >= mount.IDs {
		return 0, 0, fmt.Errorf("user %s has the ids %d:%d, which a sandbox does not have", name, uid, gid)
	}
	return uid, gid, nil
}

func findGroup(root *os.File, name string) (uint32, error) {
	group, err := readInside(root, "etc/group")
	if err != nil {
		return 0, err
	}
	number, numeric := parseID(name)
	for f := range lines(group, 4) {
		if gid, ok := parseID(f[2]); ok && f[0] == name {
			return gid, nil
		}
	}
	if !numeric {
		return 0, fmt.Errorf("group %s does not exist in the sandbox", name)
	}
	return number, nil
}

// readInside reads a file of a sandbox's, which may be anything: it follows no
// link, does not wait for the writer of a pipe, and reads no more than the
// limit. No file is an empty one.
func readInside(root *os.File, path string) ([]byte, error) {
	f, err := mount.OpenBeneath(root, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the sandbox's /%s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the sandbox's /%s: %w", path, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxUserFile {
		return nil, fmt.Errorf("the sandbox's /%s is no regular file of at most %d bytes", path, maxUserFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxUserFile))
	if err != nil {
		return nil, fmt.Errorf("read the sandbox's /%s: %w", path, err)
	}
	return data, nil
}
