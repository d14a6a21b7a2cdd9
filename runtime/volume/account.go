package volume

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxDatabase is the largest file of users or groups that is read, in bytes.
const maxDatabase = 32 << 20

// maxGroups is how many groups of one user count here.
const maxGroups = 64

// account is one user of this machine.
type account struct {
	uid  uint32
	gids []uint32 // the primary one first; never empty
}

// accounts finds users in passwd(5) and group(5), as they are now: whoever is
// put into a group needs no new login. Users that only a name service knows
// are not found; they are no members of cove's group either.
type accounts struct{ passwd, group string }

func (a accounts) find(uid uint32) (account, bool, error) {
	if uid == 0 {
		return account{gids: []uint32{0}}, true, nil
	}
	passwd, err := readDatabase(a.passwd)
	if err != nil {
		return account{}, false, err
	}
	group, err := readDatabase(a.group)
	if err != nil {
		return account{}, false, err
	}
	found, ok := parseAccount(uid, passwd, group)
	return found, ok, nil
}

func readDatabase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDatabase+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > maxDatabase {
		return nil, fmt.Errorf("%s is over %d bytes", path, maxDatabase)
	}
	return b, nil
}

// parseAccount puts a user together: name:password:uid:gid:... (passwd(5)) and
// name:password:gid:members (group(5)). As for getpwuid(3) the first line of a
// uid counts.
func parseAccount(uid uint32, passwd, group []byte) (account, bool) {
	var found account
	name := ""
	for f := range lines(passwd, 7) {
		id, ok := parseID(f[2])
		gid, ok2 := parseID(f[3])
		if ok && ok2 && id == uid {
			name, found = f[0], account{uid: uid, gids: []uint32{gid}}
			break
		}
	}
	if name == "" {
		return account{}, false
	}
	for f := range lines(group, 4) {
		gid, ok := parseID(f[2])
		if !ok || slices.Contains(found.gids, gid) || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		if found.gids = append(found.gids, gid); len(found.gids) == maxGroups {
			break
		}
	}
	return found, true
}

// lines yields the lines that have exactly n fields and a name.
func lines(file []byte, n int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		scan := bufio.NewScanner(bytes.NewReader(file))
		scan.Buffer(nil, maxDatabase+1)
		for scan.Scan() {
			f := strings.Split(scan.Text(), ":")
			if len(f) == n && f[0] != "" && !yield(f) {
				return
			}
		}
	}
}

// parseID parses a uid or gid; the largest number means "none" to the kernel.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}
