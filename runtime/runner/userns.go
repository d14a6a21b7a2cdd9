package runner

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// AssertUserNS fails with ErrUserNS unless the process is in a user namespace
// whose uid and gid maps are exactly "0 base 65536". It is asked between create
// and start: an extra extent, such as the user namespaces for id-mapped mounts
// have, would make one of the sandbox's uids the host's root. It has to belong to
// base as well, see network.NewNamespaces.
func AssertUserNS(pid int, base uint32) error {
	for _, name := range []string{"uid_map", "gid_map"} {
		path := fmt.Sprintf("/proc/%d/%s", pid, name)
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUserNS, err)
		}
		if err := checkMap(string(data), base); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrUserNS, path, err)
		}
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUserNS, err)
	}
	defer ns.Close()
	owner, err := unix.IoctlGetUint32(int(ns.Fd()), unix.NS_GET_OWNER_UID)
	if err != nil {
		return fmt.Errorf("%w: ask for its owner: %w", ErrUserNS, err)
	}
	if owner != base {
		return fmt.Errorf("%w: it belongs to uid %d, not to %d: what is used up inside would be that user's", ErrUserNS, owner, base)
	}
	return nil
}

func checkMap(text string, base uint32) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	fields := strings.Fields(lines[0])
	if base == 0 || len(lines) != 1 || len(fields) != 3 ||
		fields[0] != "0" || fields[1] != strconv.FormatUint(uint64(base), 10) || fields[2] != "65536" {
		return fmt.Errorf("want one line \"0 %d 65536\", got %q", base, text)
	}
	return nil
}
