package volume

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/disk"
	"cove/runtime/mount"
	"cove/runtime/store"
)

// Volume is a named volume: files of a user's that outlive sandboxes, and that
// several of them may have at once.
type Volume struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // twelve hex digits
	Name    string    `json:"name"`
	Owner   int       `json:"owner"` // uid
	Created time.Time `json:"created"`
	// Quota is the most that it holds, in bytes; 0 is no limit.
	Quota int64 `json:"quota,omitempty"`
}

// Errors a caller decides on; use [errors.Is].
var (
	ErrNoVolume = errors.New("no such volume")
	ErrExists   = errors.New("there is a volume of that name")
)

// Disks are what volumes with a quota lie on, beside [Store.Dir]; see [disk.Driver].
type Disks interface {
	Create(ctx context.Context, id, dir string, s disk.Spec) (*os.File, error)
	Open(ctx context.Context, id string, s disk.Spec) error
	Tree(dir string, id *mount.IDMap) (*mount.Tree, error)
	Leave(id string) io.Closer
	Device(id string) (disk.Device, error)
	Usage(id string) (disk.Usage, error)
	Files(id string) (int64, bool)
}

// StoreOptions of a [Store].
type StoreOptions struct {
	// Dir is where the volumes are, a directory each; it is made. Scratch is a
	// directory that exists, for mounts of a moment.
	Dir, Scratch string
	Disks        Disks
	IDMaps       *mount.IDMaps
	// Log gets what cannot be read; nil discards it.
	Log *slog.Logger
}

// Store keeps named volumes. All methods may be called by any goroutine.
type Store struct {
	opt StoreOptions

	mu     sync.Mutex // guards byID, and that a disk that is opened is not closed before it is mounted
	byID   map[string]Volume
	ending sync.WaitGroup
}

const (
	volumeVersion = 1
	volumeFile    = "volume.json"
	dataDir       = "data"
	newPrefix     = ".new-"
	maxVolumeFile = 64 << 10
)

// OpenStore finds the volumes that there are. What a killed daemon has half made is
// removed.
func OpenStore(o StoreOptions) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{opt: o, byID: map[string]Volume{}}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the volumes: %w", err)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the volumes: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) {
			if err := os.RemoveAll(filepath.Join(o.Dir, e.Name())); err != nil {
				return nil, fmt.Errorf("open the volumes: %w", err)
			}
			continue
		}
		if _, err := hex.DecodeString(e.Name()); err != nil || len(e.Name()) != 12 {
			continue
		}
		var v Volume
		err := store.ReadJSON(filepath.Join(o.Dir, e.Name(), volumeFile), maxVolumeFile, &v)
		if err == nil && (v.Version != volumeVersion || v.ID != e.Name()) {
			err = errors.New("it is not understood")
		}
		if err != nil {
			o.Log.Error("a volume cannot be read; it is left alone", "volume", e.Name(), "error", err)
			continue
		}
		s.byID[v.ID] = v
	}
	return s, nil
}

// Close waits for the disks that are being closed.
func (s *Store) Close() error {
	s.ending.Wait()
	return nil
}

// Wait is Close that can be called at any time, for the audit.
func (s *Store) Wait() { s.ending.Wait() }

func (s *Store) dir(id string) string { return filepath.Join(s.opt.Dir, id) }

// Find gives a volume by its owner and name. [ErrNoVolume].
func (s *Store) Find(owner int, name string) (Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(owner, name)
}

func (s *Store) find(owner int, name string) (Volume, error) {
	for _, v := range s.byID {
		if v.Owner == owner && v.Name == name {
			return v, nil
		}
	}
	return Volume{}, ErrNoVolume
}

// List gives all volumes, by name.
func (s *Store) List() []Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Volume, 0, len(s.byID))
	for _, v := range s.byID {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b Volume) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// Create makes a volume, which outlives a power cut. [ErrExists]; ENOSPC and the
// errors of package disk.
func (s *Store) Create(ctx context.Context, owner int, name string, quota int64) (_ Volume, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, err := s.find(owner, name); err == nil {
		return v, ErrExists
	}
	var raw [6]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return Volume{}, fmt.Errorf("make an id: %w", err)
	}
	v := Volume{Version: volumeVersion, ID: hex.EncodeToString(raw[:]), Name: name, Owner: owner, Created: time.Now().UTC(), Quota: quota}
	fresh := s.dir(newPrefix + v.ID)
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return Volume{}, fmt.Errorf("make the volume: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(fresh))
		}
	}()
	if err := s.fill(ctx, v, fresh); err != nil {
		return Volume{}, fmt.Errorf("make the volume: %w", err)
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return Volume{}, fmt.Errorf("make the volume: %w", err)
	}
	if err := store.Replace(fresh, volumeFile, append(data, '\n'), true); err != nil {
		return Volume{}, fmt.Errorf("make the volume: %w", err)
	}
	if err := os.Rename(fresh, s.dir(v.ID)); err != nil {
		return Volume{}, fmt.Errorf("put the volume in place: %w", err)
	}
	s.byID[v.ID] = v
	return v, store.SyncDir(s.opt.Dir)
}

// fill makes what is in the volume's directory: a disk where it has a quota, and an
// empty directory, which nobody has yet.
func (s *Store) fill(ctx context.Context, v Volume, dir string) (err error) {
	top, err := s.opt.Disks.Create(ctx, v.ID, dir, disk.Spec{Size: v.Quota})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, top.Close())
		if c := s.opt.Disks.Leave(v.ID); c != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := unix.Mkdirat(int(top.Fd()), dataDir, 0o755); err != nil {
		return err
	}
	data, err := mount.OpenWithin(top, dataDir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer data.Close()
	return errors.Join(data.Chown(unowned, unowned), data.Chmod(0o755), data.Sync(), top.Sync())
}

// unowned is whom a volume belongs to on disk until a sandbox has had it: no
// sandbox can give a file to this id.
const unowned = mount.IDs + 1

// Remove takes a volume that no sandbox has away: its directory is moved to grave.
func (s *Store) Remove(v Volume, grave string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byID[v.ID]; !ok {
		return ErrNoVolume
	}
	if c := s.opt.Disks.Leave(v.ID); c != nil {
		if err := c.Close(); err != nil {
			return fmt.Errorf("close the volume: %w", err)
		}
	}
	if err := os.Rename(s.dir(v.ID), grave); err != nil {
		return fmt.Errorf("remove the volume: %w", err)
	}
	delete(s.byID, v.ID)
	return store.SyncDir(s.opt.Dir)
}

// LetGo closes the disk of a volume in the background, when used says that nobody
// has it any more.
func (s *Store) LetGo(v Volume, used func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Quota == 0 || used() {
		return
	}
	c := s.opt.Disks.Leave(v.ID)
	if c == nil {
		return
	}
	s.ending.Go(func() {
		if err := c.Close(); err != nil {
			s.opt.Log.Warn("could not close a volume", "volume", v.ID, "error", err)
		}
	})
}

// Used is what a volume occupies, in bytes, -1 while that is not known.
func (s *Store) Used(v Volume) int64 {
	if v.Quota == 0 {
		if n, ok := s.opt.Disks.Files(v.ID); ok {
			return n
		}
		return -1
	}
	if u, err := s.opt.Disks.Usage(v.ID); err == nil && u.Used > 0 {
		return u.Used
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(s.dir(v.ID), disk.ImageFile), &st); err != nil {
		return -1
	}
	return st.Blocks * 512
}

// Request is how a sandbox wants a volume.
type Request struct {
	// Subpath is a directory beneath the volume, which is made where it is missing;
	// "" is all of it.
	Subpath  string
	ReadOnly bool
	// Base is the first id of the sandbox, UID and GID its user's, whom a volume
	// belongs to that no sandbox has had.
	Base     uint32
	UID, GID uint32
}

// tree is the volume's files as the sandbox is to have them: its ids are those
// on disk. Nobody needs to have been honest about what lies in it.
func (s *Store) tree(ctx context.Context, v Volume, r Request) (_ *mount.Tree, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byID[v.ID]; !ok {
		return nil, ErrNoVolume
	}
	dir := s.dir(v.ID)
	if err := s.opt.Disks.Open(ctx, v.ID, disk.Spec{Size: v.Quota}); err != nil {
		return nil, err
	}
	var top *os.File
	if v.Quota == 0 {
		top, err = os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	} else {
		var whole *mount.Tree
		if whole, err = s.opt.Disks.Tree(dir, nil); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, whole.Close()) }()
		top, err = whole.Place(s.opt.Scratch)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, top.Close()) }()
	data, err := s.open(top, r)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	id, err := s.opt.IDMaps.Get(ctx, r.Base)
	if err != nil {
		return nil, err
	}
	defer func() { _ = id.Close() }()
	t, err := mount.CloneOpened(data, r.ReadOnly)
	if err != nil {
		return nil, err
	}
	if err := t.Map(id); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// open opens the directory of the volume that is wanted.
func (s *Store) open(top *os.File, r Request) (*os.File, error) {
	data, err := mount.OpenWithin(top, dataDir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(data.Fd()), &st); err != nil {
		return nil, errors.Join(err, data.Close())
	}
	if st.Uid == unowned {
		if err := data.Chown(int(r.UID), int(r.GID)); err != nil {
			return nil, errors.Join(err, data.Close())
		}
	}
	if r.Subpath == "" {
		return data, nil
	}
	defer data.Close()
	dir, err := beneath(data, r.Subpath)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, refuse("remove it inside, or choose another subpath", "%s in the volume is no directory, or leads through a symbolic link", r.Subpath)
	case err != nil:
		return nil, fmt.Errorf("open %s in the volume: %w", r.Subpath, err)
	}
	return dir, nil
}

// beneath opens a directory, making what is missing of it as its parent's owner's.
func beneath(top *os.File, path string) (*os.File, error) {
	at, err := mount.OpenWithin(top, ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	for name := range strings.SplitSeq(path, "/") {
		if err != nil {
			return nil, err
		}
		var next *os.File
		next, err = step(at, name, false)
		_ = at.Close()
		at = next
	}
	return at, err
}
