package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of the sandbox's user files, which anybody inside with the right may
// have written.
const (
	maxUserFile = 1 << 20
	maxGroups   = 1024
)

// identity is who a program runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32
	name     string
	home     string
	shell    string
}

// findUser looks a user up in the sandbox's own files. spec is a name or uid,
// and may go on with ":" and a group or gid; empty is root.
func findUser(spec string) (*identity, error) {
	passwd, perr := readUserFile("/etc/passwd")
	group, gerr := readUserFile("/etc/group")
	id, err := lookupUser(spec, passwd, group)
	if err != nil {
		// A number, and root, need no file: the way in to mend what a
		// program inside has made of them.
		return nil, errors.Join(err, perr, gerr)
	}
	return id, nil
}

// readUserFile reads a file that may be anything: it neither waits for the
// writer of a pipe nor reads more than the limit. No file is an empty one.
func readUserFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxUserFile {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", path, maxUserFile)
	}
	b := make([]byte, st.Size)
	n := 0
	for n < len(b) {
		k, err := unix.Read(fd, b[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, &os.PathError{Op: "read", Path: path, Err: err})
		}
		if k == 0 {
			break
		}
		n += k
	}
	return b[:n], nil
}

// lookupUser is [findUser] on the content of the files.
func lookupUser(spec string, passwd, group []byte) (*identity, error) {
	name, groupName, withGroup := strings.Cut(spec, ":")
	if name == "" {
		name = "0"
	}
	id := &identity{home: "/"}
	number, numeric := parseID(name)
	found := false
	for fields := range entries(passwd, 7) {
		uid, ok := parseID(string(fields[2]))
		gid, ok2 := parseID(string(fields[3]))
		if !ok || !ok2 || string(fields[0]) != name && !(numeric && uid == number) {
			continue
		}
		id.name, id.uid, id.gid = string(fields[0]), uid, gid
		id.home, id.shell = string(fields[5]), string(fields[6])
		found = true
		break
	}
	switch {
	case found:
	case numeric:
		id.uid = number
	case name == "root":
		id.name = name
	default:
		return nil, fmt.Errorf("user %s does not exist in the sandbox", name)
	}
	if id.home == "" || id.home[0] != '/' {
		id.home = "/"
	}
	if withGroup {
		return id, id.setGroup(groupName, group)
	}
	if id.name != "" {
		id.groups = groupsOf(id.name, group)
	}
	return id, nil
}

// setGroup gives the identity the one group that the caller named.
func (id *identity) setGroup(name string, group []byte) error {
	number, numeric := parseID(name)
	for fields := range entries(group, 4) {
		gid, ok := parseID(string(fields[2]))
		if ok && (string(fields[0]) == name || numeric && gid == number) {
			id.gid = gid
			return nil
		}
	}
	if !numeric {
		return fmt.Errorf("group %s does not exist in the sandbox", name)
	}
	id.gid = number
	return nil
}

// groupsOf returns the groups that list a user as member.
func groupsOf(user string, group []byte) []uint32 {
	var out []uint32
	for fields := range entries(group, 4) {
		gid, ok := parseID(string(fields[2]))
		if !ok {
			continue
		}
		for member := range bytes.SplitSeq(fields[3], []byte{','}) {
			if string(member) == user {
				out = append(out, gid)
				break
			}
		}
		if len(out) == maxGroups {
			break
		}
	}
	return out
}

// entries yields the lines of a user file that have n fields.
func entries(file []byte, n int) func(func([][]byte) bool) {
	return func(yield func([][]byte) bool) {
		fields := make([][]byte, 0, n+1)
		for line := range bytes.Lines(file) {
			line = bytes.TrimRight(line, "\r\n")
			if bytes.Count(line, []byte{':'}) != n-1 || line[0] == '#' || line[0] == ':' || bytes.IndexByte(line, 0) >= 0 {
				continue
			}
			fields = fields[:0]
			for f := range bytes.SplitSeq(line, []byte{':'}) {
				fields = append(fields, f)
			}
			if !yield(fields) {
				return
			}
		}
	}
}

// parseID parses a uid or gid. The largest number means "none" to the kernel.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}
