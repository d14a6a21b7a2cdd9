// Package change is the caller's side of copy-on-write mounts: it compares what a
// sandbox has changed (package delta) with the directory of the host, which its
// caller opens, and makes those changes there.
//
// What comes is the sandbox's, and hostile. On the host no link is followed, neither
// one that is there nor one that was just made; nothing is reached by a path but
// beneath the directory's descriptor; files get permissions and nothing else.
package change

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/delta"
)

// ErrMounted: below the directory another file system is mounted, which no sandbox
// has seen.
var ErrMounted = errors.New("another file system is mounted there")

// permissions are the bits of a mode that count.
const permissions = 0o777

// Dir is a directory of the host's, as the caller opened it.
type Dir struct{ f *os.File }

// OpenDir opens a directory as the caller, who closes it.
func OpenDir(name string) (*Dir, error) {
	f, err := os.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{f}, nil
}

// Close gives it back.
func (d *Dir) Close() error { return d.f.Close() }

// ErrAnother: the directory is not the one that the sandbox was given.
var ErrAnother = errors.New("the directory is another one now than the one that was mounted")

// is fails with [ErrAnother] where the directory is not that one. Its owner may have
// put a link to root's in its place, and the caller be root: then also the device
// counts, whose number is not the same for ever.
func (d *Dir) is(b *delta.Base) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.f.Fd()), &st); err != nil {
		return err
	}
	if b == nil || st.Ino != b.Ino || os.Geteuid() == 0 && st.Dev != b.Dev {
		return ErrAnother
	}
	return nil
}

func (d *Dir) open(p string, flags int) (*os.File, error) {
	how := &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC), //nolint:gosec // flags of open(2)
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(int(d.f.Fd()), p, how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), p), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.EXDEV):
			return nil, ErrMounted
		default:
			return nil, err
		}
	}
}

// parent opens the directory that holds p.
func (d *Dir) parent(p string) (*os.File, error) {
	return d.open(path.Dir(p), unix.O_RDONLY|unix.O_DIRECTORY)
}

// stat tells what is at p, nil for nothing.
func (d *Dir) stat(p string) (*delta.Base, error) {
	dir, err := d.parent(p)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	return statAt(dir, path.Base(p))
}

// absent tells whether an error says that there is nothing of that name: below a
// link there is nothing either.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

func statAt(dir *os.File, name string) (*delta.Base, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := delta.BaseOf(&st)
	if b.Kind == delta.Link {
		buf := make([]byte, delta.MaxPath)
		n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
		if err != nil {
			return nil, err
		}
		b.Link = buf[:n]
	}
	return &b, nil
}

// Found is one change, and what has to be known to make it.
type Found struct {
	api.FileChange
	// Diff is the change as text, where that was asked for.
	Diff string
	// Hard says that Conflict is one that nobody can overrule.
	Hard bool

	kind delta.Kind  // what is to be; Gone for nothing
	mode uint32      // of what is to be
	sum  string      // of what the sandbox has
	host *delta.Base // what the host had when it was compared
}

// Changes are the changes without what is to be known to make them.
func Changes(found []Found) []api.FileChange {
	list := make([]api.FileChange, len(found))
	for i := range found {
		list[i] = found[i].FileChange
	}
	return list
}

func octal(mode uint32) string { return fmt.Sprintf("%o", mode&permissions) }
