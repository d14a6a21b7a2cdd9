package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// errNoGroup: the machine has no group of that name.
var errNoGroup = errors.New("no such group")

// maxDatabase is the largest file of users or groups that is read, in bytes.
const maxDatabase = 32 << 20

// members tells who is in one group now, by passwd(5) and group(5). It reads
// the files and not the peer's own groups: somebody who was put into the group
// needs no new login, and somebody who was put out has no old one. Users that
// only a name service (NSS) knows are not found, and are no members.
type members struct {
	group, passwdFile, groupFile string

	mu          sync.Mutex
	groupStamp  stamp
	passwdStamp stamp
	uids        map[int]struct{}
	err         error
}

// stamp tells one content of a file from another: an editor makes a new inode,
// or a new time, or both.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// has tells whether uid is in the group. Its error, [errNoGroup] among them,
// means that nobody is.
func (m *members) has(uid int) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, err := stampOf(m.groupFile)
	if err != nil {
		return false, err
	}
	p, err := stampOf(m.passwdFile)
	if err != nil {
		return false, err
	}
	if m.uids == nil && m.err == nil || g != m.groupStamp || p != m.passwdStamp {
		// The stamps are older than what is read: a change in between is
		// seen at the next look.
		m.groupStamp, m.passwdStamp = g, p
		m.uids, m.err = m.read()
	}
	_, ok := m.uids[uid]
	return ok, m.err
}

func stampOf(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, fmt.Errorf("look at %s: %w", path, err)
	}
	return stamp{st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

func (m *members) read() (map[int]struct{}, error) {
	group, err := readDatabase(m.groupFile)
	if err != nil {
		return nil, err
	}
	passwd, err := readDatabase(m.passwdFile)
	if err != nil {
		return nil, err
	}
	gid, names, ok := parseGroup(group, m.group)
	if !ok {
		return nil, fmt.Errorf("%s: %w", m.group, errNoGroup)
	}
	return parsePasswd(passwd, gid, names), nil
}

func readDatabase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxDatabase+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > maxDatabase {
		return nil, fmt.Errorf("%s is over %d bytes", path, maxDatabase)
	}
	return b, nil
}

// parseGroup finds the group's id and member list: name:password:gid:members
// (group(5)). As for getgrnam(3), the first line of that name counts.
func parseGroup(file []byte, name string) (gid int, names map[string]struct{}, ok bool) {
	for f := range fields(file, 4) {
		id, err := strconv.ParseUint(f[2], 10, 32)
		if f[0] != name || err != nil {
			continue
		}
		names = map[string]struct{}{}
		for n := range strings.SplitSeq(f[3], ",") {
			if n != "" {
				names[n] = struct{}{}
			}
		}
		return int(id), names, true
	}
	return 0, nil, false
}

// parsePasswd finds the uids of a group: name:password:uid:gid:... (passwd(5)).
// Of several names for one uid any counts; the kernel cannot tell them apart.
func parsePasswd(file []byte, gid int, names map[string]struct{}) map[int]struct{} {
	uids := map[int]struct{}{}
	for f := range fields(file, 7) {
		uid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		primary, err := strconv.ParseUint(f[3], 10, 32)
		if err != nil {
			continue
		}
		if _, named := names[f[0]]; named || int(primary) == gid {
			uids[int(uid)] = struct{}{}
		}
	}
	return uids
}

// fields yields the lines that have exactly n fields and a name.
func fields(file []byte, n int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		lines := bufio.NewScanner(bytes.NewReader(file))
		lines.Buffer(nil, maxDatabase+1)
		for lines.Scan() {
			f := strings.Split(lines.Text(), ":")
			if len(f) == n && f[0] != "" && !yield(f) {
				return
			}
		}
	}
}
