package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/mount"
)

// primaryInside is the id inside that stands for the owner's primary group where
// the sandbox's user is not in it: no distribution gives it to anybody.
const primaryInside = 64999

// Attach mounts the set in the root of a sandbox that is mounted at root, for
// the ids from base on. user is the Spec's. Nothing of the sandbox may be
// running. What is mounted goes with the root. Errors: *[Error]; after one,
// some may be mounted.
func (s *Set) Attach(ctx context.Context, root string, base uint32, user string) (err error) {
	if s == nil || len(s.sources) == 0 {
		return nil
	}
	top, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the sandbox's root: %w", err)
	}
	defer func() { err = errors.Join(err, top.Close()) }()
	uid, gid, err := findUser(top, user)
	if err != nil {
		return fmt.Errorf("find the user that the mounts are for: %w", err)
	}
	maps := ownerMaps{base: base, uid: uid, gid: gid, made: map[string]*mount.OwnerMap{}}
	defer func() { err = errors.Join(err, maps.close()) }()
	// Outer ones first: others may lie in them.
	order := make([]int, len(s.sources))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s.depth(a), s.depth(b)) })
	var done []string
	for _, i := range order {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		src := s.sources[i]
		nested := slices.ContainsFunc(done, func(outer string) bool { return strings.HasPrefix(src.mount.Target, outer+"/") })
		if err := s.attach(top, i, &maps, nested); err != nil {
			return at(i, src.mount, err)
		}
		done = append(done, src.mount.Target)
	}
	return nil
}

func (s *Set) depth(i int) int { return strings.Count(s.sources[i].mount.Target, "/") }

// Overlay makes an overlay on the directory of the mount of that index, shifted as
// the sandbox is to see it: what the sandbox changes there goes elsewhere.
type Overlay func(lower *mount.Tree, index int) (*mount.Merged, error)

// Stack says how the overlays of copy-on-write mounts are made, before
// [Set.Attach]; without it those fail.
func (s *Set) Stack(f Overlay) {
	if s != nil {
		s.overlay = f
	}
}

func (s *Set) attach(top *os.File, i int, maps *ownerMaps, nested bool) error {
	src := s.sources[i]
	m, err := maps.of(src.as)
	if err != nil {
		return err
	}
	if err := src.tree.Shift(m); err != nil {
		if errors.Is(err, mount.ErrNoIDMap) {
			return &Error{
				Message: "it cannot be given to a sandbox", Unsupported: true, Err: err,
				Hint: "work on a copy of it on a file system that can, such as ext4, xfs, btrfs or tmpfs",
			}
		}
		return err
	}
	dir, err := mountPoint(top, src.mount.Target, nested)
	if err != nil {
		return err
	}
	defer dir.Close()
	if src.mount.Mode != config.MountCOW {
		return src.tree.Attach(dir)
	}
	if s.overlay == nil {
		return refuse("", "nothing makes copy-on-write mounts here")
	}
	merged, err := s.overlay(src.tree, i)
	if err != nil {
		return err
	}
	return errors.Join(merged.Attach(dir), merged.Close())
}

// mountPoint opens a directory of the sandbox's, making what is missing of it:
// each part belongs to whom the directory above it belongs. Whoever was root
// inside may have put anything there. In another mount nothing is made: that
// would be on the host's disk.
func mountPoint(top *os.File, target string, nested bool) (*os.File, error) {
	parts := strings.Split(strings.TrimPrefix(path.Clean(target), "/"), "/")
	at, err := mount.OpenBeneath(top, ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the sandbox's root: %w", err)
	}
	for i, name := range parts {
		next, err := step(at, name, nested)
		_ = at.Close()
		if err != nil {
			return nil, atPart("/"+strings.Join(parts[:i+1], "/"), err)
		}
		at = next
	}
	return at, nil
}

func atPart(part string, err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return refuse("remove it inside, or choose another target", "the sandbox has a symbolic link at %s", part)
	case errors.Is(err, unix.ENOTDIR):
		return refuse("remove it inside, or choose another target", "the sandbox has a file at %s", part)
	case errors.Is(err, errNested):
		return refuse("make the directory there first", "%s is to be in another mount, whose directory has none of that name", part)
	}
	return fmt.Errorf("make the mount point %s: %w", part, err)
}

// errNested: a mount point is missing where none may be made.
var errNested = errors.New("the mount point does not exist")

func step(parent *os.File, name string, nested bool) (*os.File, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY
	next, err := mount.OpenBeneath(parent, name, flags, 0)
	if !errors.Is(err, unix.ENOENT) {
		return next, err
	}
	if nested {
		return nil, errNested
	}
	var above unix.Stat_t
	if err := unix.Fstat(int(parent.Fd()), &above); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o755); err != nil {
		return nil, err
	}
	made, err := mount.OpenBeneath(parent, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer made.Close()
	// The umask had a say, and what the daemon makes is nobody's inside.
	if err := errors.Join(made.Chmod(0o755), made.Chown(int(above.Uid), int(above.Gid))); err != nil {
		return nil, err
	}
	return mount.OpenBeneath(parent, name, flags, 0)
}

// ownerMaps makes each map of one sandbox once.
type ownerMaps struct {
	base, uid, gid uint32
	made           map[string]*mount.OwnerMap
}

func (o *ownerMaps) of(a access) (*mount.OwnerMap, error) {
	uids := []mount.Owner{{Disk: a.uid, Host: o.base + o.uid}}
	gids := []mount.Owner{{Disk: a.gid, Host: o.base + o.gid}}
	if a.primary != a.gid {
		inside := uint32(primaryInside)
		if o.gid == inside {
			inside--
		}
		gids = append(gids, mount.Owner{Disk: a.primary, Host: o.base + inside})
	}
	key := fmt.Sprint(uids, gids)
	if m := o.made[key]; m != nil {
		return m, nil
	}
	m, err := mount.NewOwnerMap(uids, gids)
	if err != nil {
		return nil, err
	}
	o.made[key] = m
	return m, nil
}

func (o *ownerMaps) close() error {
	var err error
	for _, m := range o.made {
		err = errors.Join(err, m.Close())
	}
	return err
}
