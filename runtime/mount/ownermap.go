package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// MaxOwners is how many pairs an [OwnerMap] may have of users, and of groups:
// below the kernel's 340 (user_namespaces(7)).
const MaxOwners = 128

// Owner is one id on disk and what it is for this machine's processes: to a
// mount that shifts by it, the process of id Host owns what is Disk's on disk.
type Owner struct{ Disk, Host uint32 }

// OwnerMap says how the mount of somebody's directory shifts owners: by single
// ids. Whatever belongs to an id that is not in it belongs to nobody there, and
// cannot be written to by anybody, whatever its mode says
// (inode_permission(), fs/namei.c).
//
// Like an [IDMap] it is kept in a user namespace that no process may enter, so
// its descriptor does not leave this package.
type OwnerMap struct{ ns *os.File }

// Close gives the descriptor back. Mounts made with the map keep it.
func (m *OwnerMap) Close() error { return m.ns.Close() }

// NewOwnerMap makes the map of these owners; the caller closes it. It takes 1
// to 3 ms, see [IDMap]. No Host may be one of the system's own ids: the least
// is [IDs], where ranges of sandboxes begin.
func NewOwnerMap(uids, gids []Owner) (_ *OwnerMap, err error) {
	u, err := ownerExtents(uids)
	if err != nil {
		return nil, fmt.Errorf("map of users: %w", err)
	}
	g, err := ownerExtents(gids)
	if err != nil {
		return nil, fmt.Errorf("map of groups: %w", err)
	}
	pid, release, err := holdNamespace(u, g)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return nil, fmt.Errorf("open user namespace: %w", err)
	}
	return &OwnerMap{ns: ns}, nil
}

func ownerExtents(owners []Owner) ([]syscall.SysProcIDMap, error) {
	if len(owners) == 0 || len(owners) > MaxOwners {
		return nil, fmt.Errorf("%d ids: 1 to %d are possible", len(owners), MaxOwners)
	}
	extents := make([]syscall.SysProcIDMap, len(owners))
	for i, o := range owners {
		if o.Host < IDs || o.Host == 1<<32-1 || o.Disk == 1<<32-1 {
			return nil, fmt.Errorf("id %d on disk cannot be %d", o.Disk, o.Host)
		}
		extents[i] = syscall.SysProcIDMap{ContainerID: int(o.Disk), HostID: int(o.Host), Size: 1}
	}
	return extents, nil
}
