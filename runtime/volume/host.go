package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/mount"
)

// The machine's user database.
const (
	DefaultPasswdFile = "/etc/passwd"
	DefaultGroupFile  = "/etc/group"
)

// DefaultTimeout is how long the child that opens directories may take over all
// of a sandbox's: a file system that does not answer must not hold up the
// daemon.
const DefaultTimeout = 10 * time.Second

// Options of a [Host]. Those left zero have defaults.
type Options struct {
	// Namespaces are the mount namespaces, besides this process's own, in
	// which callers open their directories: the machine's. They belong to the
	// caller, who closes them after the Host.
	Namespaces []*mount.Namespace
	// PasswdFile and GroupFile tell who is in which group.
	PasswdFile, GroupFile string
	// Timeout bounds the child of [Host.Reopen].
	Timeout time.Duration
}

// Host makes mounts of host directories. All methods may be called by any
// goroutine. The process must be root and in a mount namespace of its own
// (mount.EnterPrivateNamespace).
type Host struct {
	opts     Options
	accounts accounts

	mu      sync.Mutex
	openers map[uint32]chan struct{} // by uid, a value for each child
}

// maxOpeners is how many children may open directories for one user at a time.
// One that waits for a file system which never answers does so for ever, killed
// or not, and counts.
const maxOpeners = 32

// New makes a Host; it holds nothing that needs closing.
func New(o Options) *Host {
	if o.PasswdFile == "" {
		o.PasswdFile = DefaultPasswdFile
	}
	if o.GroupFile == "" {
		o.GroupFile = DefaultGroupFile
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return &Host{opts: o, accounts: accounts{passwd: o.PasswdFile, group: o.GroupFile}, openers: map[uint32]chan struct{}{}}
}

// Set is the directories of one sandbox's mounts, held by mounts that are
// nowhere in the tree of files. It belongs to one goroutine at a time, which
// closes it; closing nil does nothing.
type Set struct {
	sources []source
	overlay Overlay
}

type source struct {
	mount config.Mount
	tree  *mount.Tree
	look  *mount.Tree // of a copy-on-write mount; else nil
	id    Identity
	as    access
}

// Identities are what has to be kept of the directories, in the mounts' order.
func (s *Set) Identities() []Identity {
	if s == nil {
		return nil
	}
	ids := make([]Identity, len(s.sources))
	for i := range s.sources {
		ids[i] = s.sources[i].id
	}
	return ids
}

// Dir is the directory of the copy-on-write mount of that index as it is on the host,
// to look around in until the Set is closed: a descriptor that only leads to it
// (O_PATH) and stays the Set's.
func (s *Set) Dir(index int) *os.File { return s.sources[index].look.Dir() }

// Close gives the directories back. What was attached stays mounted.
func (s *Set) Close() error {
	if s == nil {
		return nil
	}
	var err error
	for _, src := range s.sources {
		err = errors.Join(err, src.tree.Close())
		if src.look != nil {
			err = errors.Join(err, src.look.Close())
		}
	}
	s.sources = nil
	return err
}

// Admit takes the directories that the user uid opened for reading, one for
// each of mounts and in that order. They stay the caller's to close. Nothing is
// looked up by a path: who could open a directory may have it, within
// what its owner and mode grant that user. Only where a caller's mounts are not
// this machine's does a child open the path as that user, and has to find the
// very directory. Errors: *[Error]; ctx's.
func (h *Host) Admit(ctx context.Context, uid int, mounts []config.Mount, dirs []*os.File) (*Set, error) {
	if len(mounts) == 0 && len(dirs) == 0 {
		return nil, nil
	}
	if len(mounts) != len(dirs) {
		return nil, refuse("cove sends them; of other clients each sends one descriptor for each mount, in their order (SCM_RIGHTS)",
			"%d directories came with the request, for %d mounts", len(dirs), len(mounts))
	}
	caller, err := h.caller(uid)
	if err != nil {
		return nil, err
	}
	set := &Set{}
	for i, dir := range dirs {
		if err := h.admit(ctx, set, caller, mounts[i], dir); err != nil {
			return nil, errors.Join(at(i, mounts[i], err), set.Close())
		}
	}
	return set, nil
}

// at says which mount an error is about.
func at(i int, m config.Mount, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return fmt.Errorf("mount %s: %w", m.Source, err)
	}
	e.Index = i
	e.Message = m.Source + ": " + e.Message
	return e
}

func (h *Host) caller(uid int) (account, error) {
	caller, ok, err := h.accounts.find(uint32(uid)) //nolint:gosec // uids are 32 bits wide
	if err != nil {
		return account{}, fmt.Errorf("find out your groups: %w", err)
	}
	if !ok {
		return account{}, refuse("", "this machine's user database does not know uid %d", uid)
	}
	return caller, nil
}

// admit adds one opened directory to the set.
func (h *Host) admit(ctx context.Context, set *Set, caller account, m config.Mount, dir *os.File) error {
	flags, err := unix.FcntlInt(dir.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("look at the descriptor: %w", err)
	}
	if flags&unix.O_PATH != 0 {
		return refuse("open it with O_RDONLY", "its descriptor does not show that you may read it")
	}
	// Before anything that asks its file system: a user can make one in
	// namespaces of the user's own that never answers, under overlays too, and
	// whoever waits for that cannot be killed.
	probe, err := mount.CloneOpened(dir, true, h.opts.Namespaces...)
	if errors.Is(err, mount.ErrForeign) {
		return h.admitForeign(ctx, set, caller, m, dir, err)
	}
	if err == nil {
		err = probe.Close()
	}
	if err != nil {
		return err
	}
	found, err := lookAt(dir)
	if err != nil {
		return err
	}
	return h.add(set, caller, m, dir, found)
}

// admitForeign adds a directory that was opened where other mounts are than this
// machine's: a child opens the path here, and tells whether it is the same one.
func (h *Host) admitForeign(ctx context.Context, set *Set, caller account, m config.Mount, dir *os.File, why error) error {
	results, err := h.openAs(ctx, caller, []string{m.Source}, dir)
	if err != nil {
		return err
	}
	defer results[0].close()
	if results[0].err != nil {
		return &Error{Message: "the daemon cannot take it", Hint: "call cove outside of containers and private mount namespaces", Err: why}
	}
	here, err := lookAt(results[0].dir)
	if err != nil {
		return err
	}
	return h.add(set, caller, m, results[0].dir, here)
}

func (h *Host) add(set *Set, caller account, m config.Mount, dir *os.File, found look) error {
	var lookupErr error
	as, err := grant(caller, found, m.Mode, func(uid uint32) (account, bool) {
		a, ok, err := h.accounts.find(uid)
		lookupErr = err
		return a, ok
	})
	if err = errors.Join(err, lookupErr); err != nil {
		return err
	}
	tree, err := mount.CloneOpened(dir, as.readOnly, h.opts.Namespaces...)
	if err != nil {
		return err
	}
	src := source{mount: m, tree: tree, id: found.id, as: as}
	if m.Mode == config.MountCOW {
		// A mount of its own, to look around in: whoever reads a directory is a
		// writer to its mount for a moment (touch_atime(), fs/inode.c), and one
		// with writers cannot be shifted.
		if src.look, err = mount.CloneOpened(dir, true, h.opts.Namespaces...); err != nil {
			return errors.Join(err, tree.Close())
		}
	}
	set.sources = append(set.sources, src)
	return nil
}

// Reopen has a child with the ids of the user uid open the directories by their
// paths, and takes them when they are those that were kept. Errors: *[Error];
// ctx's.
func (h *Host) Reopen(ctx context.Context, uid int, mounts []config.Mount, kept []Identity) (*Set, error) {
	if len(mounts) == 0 {
		return nil, nil
	}
	if len(mounts) != len(kept) {
		return nil, fmt.Errorf("%d directories are recorded for %d mounts", len(kept), len(mounts))
	}
	caller, err := h.caller(uid)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(mounts))
	for i, m := range mounts {
		paths[i] = m.Source
	}
	results, err := h.openAs(ctx, caller, paths, nil)
	if err != nil {
		return nil, err
	}
	defer closeOpened(results)
	set := &Set{}
	for i, o := range results {
		if err := h.reopened(set, caller, mounts[i], o, kept[i]); err != nil {
			return nil, errors.Join(at(i, mounts[i], err), set.Close())
		}
	}
	return set, nil
}

// opener waits until the user may have one more child; done says that it has ended.
func (h *Host) opener(ctx context.Context, uid uint32) (done func(), err error) {
	h.mu.Lock()
	slots := h.openers[uid]
	if slots == nil {
		slots = make(chan struct{}, maxOpeners)
		h.openers[uid] = slots
	}
	h.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%d processes of uid %d wait for file systems that do not answer: %w", maxOpeners, uid, context.Cause(ctx))
	}
}

// openAs is openAs within the Host's time.
func (h *Host) openAs(ctx context.Context, who account, paths []string, like *os.File) ([]opened, error) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	done, err := h.opener(ctx, who.uid)
	if err != nil {
		return nil, fmt.Errorf("open the directories of the mounts: %w", err)
	}
	results, err := openAs(ctx, who, paths, like, done)
	if err != nil {
		return nil, fmt.Errorf("open the directories of the mounts: %w", err)
	}
	return results, nil
}

func (h *Host) reopened(set *Set, caller account, m config.Mount, o opened, kept Identity) error {
	if errors.Is(o.err, errFUSE) {
		return refuse("copy it to another file system", "the directory that it mounts lies on a FUSE file system, and only root may mount those")
	}
	if o.err != nil {
		return &Error{Message: "the directory that it mounts cannot be opened", Hint: "put it back, or make the sandbox anew", Err: o.err}
	}
	found, err := lookAt(o.dir)
	if err != nil {
		return err
	}
	if !found.id.is(kept) {
		return refuse("put the old one back, or make the sandbox anew", "the directory is another one now than the one that was mounted")
	}
	return h.add(set, caller, m, o.dir, found)
}
