package files

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// UnpackOptions say where a tar goes.
type UnpackOptions struct {
	// Target is the path that the person named.
	Target string
	// Name is what the file or directory is called where Target is a directory
	// into which it goes; empty puts a directory's contents into Target.
	Name string
	// Into: the stream is any tar, whose entries go below Target, a directory,
	// by their own names.
	Into bool
	// Umask is taken from the modes.
	Umask uint32
	// Owner, if not nil, is whose what is made becomes: for root alone.
	Owner *Owner
	// Show is what errors call Target; empty for Target itself.
	Show string
	// Count, if not nil, is counted on.
	Count *Counter
}

// Owner is a user and a group by their ids.
type Owner struct{ UID, GID uint32 }

// own gives what was made to the owner that is asked for.
func (u *unpacker) own(dir int, base string) error {
	if u.o.Owner == nil {
		return nil
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if base == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.Fchownat(dir, base, int(u.o.Owner.UID), int(u.o.Owner.GID), flags)
}

// Unpack makes what r holds, and reads r to its end. Without Into the stream is
// one of [Pack] with the name [Root]. Owners are the caller's, as are those of a
// copy. An existing directory is kept and filled, everything else that exists is
// replaced; a link is never followed. What cannot be made is told in the Summary;
// an error means that the copy ended early. It wraps [ErrHostile] for what no
// sender of good will sends, and io.ErrUnexpectedEOF for a stream that broke off.
func Unpack(r io.Reader, o UnpackOptions) (Summary, error) {
	if o.Count == nil {
		o.Count = &Counter{}
	}
	if o.Show == "" {
		o.Show = o.Target
	}
	u := &unpacker{tr: tar.NewReader(bufio.NewReaderSize(r, copyBuffer)), o: o, buf: make([]byte, copyBuffer)}
	err := u.all()
	err = errors.Join(err, u.leave(0))
	if u.place.base != "" {
		u.place.close()
	}
	if err == nil {
		err = drain(r)
	}
	u.sum.Files, u.sum.Bytes = o.Count.Files.Load(), o.Count.Bytes.Load()
	return u.sum, err
}

// maxPadding is what may follow the end of a tar: zeros that fill its last record.
const maxPadding = 1 << 20

func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxPadding))
	if err == nil && n == maxPadding {
		err = fmt.Errorf("%w: the stream goes on after the end of its tar", ErrHostile)
	}
	return err
}

type unpacker struct {
	tr    *tar.Reader
	o     UnpackOptions
	place place // open once base is not empty
	// stack is the directories on the way to the last entry, each below the
	// one before.
	stack []directory
	buf   []byte
	sum   Summary
}

// directory is one that is being filled. Its mode and time are set when the
// stream has left it, so that it can be filled whatever they are.
type directory struct {
	rel  string // from the place's directory
	fd   int
	made bool
	mode uint32
	time time.Time
}

func (u *unpacker) all() error {
	if u.o.Into {
		dir, err := openDir(unix.AT_FDCWD, u.o.Target, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", u.o.Show, cause(err))
		}
		u.place = place{dir, Root}
	}
	for {
		h, err := u.tr.Next()
		switch {
		case errors.Is(err, io.EOF) && u.place.base == "":
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the tar: %w", err)
		case h.Typeflag == tar.TypeXGlobalHeader:
			continue
		}
		name, err := clean(h.Name)
		if err != nil {
			return err
		}
		if u.place.base == "" {
			if name != Root {
				return fmt.Errorf("%w: the stream begins with %q", ErrHostile, clip(name))
			}
			if u.place, err = find(u.o.Target, u.o.Name, h.Typeflag == tar.TypeDir); err != nil {
				u.place = place{}
				return fmt.Errorf("%s: %w", u.o.Show, cause(err))
			}
		}
		if err := u.entry(name, h); err != nil {
			switch {
			case errors.Is(err, ErrHostile), errors.Is(err, errStream):
				return err
			case ends(err):
				if of, ok := errors.AsType[*fs.PathError](err); ok {
					err = of.Err // it names the file by its last part alone
				}
				return fmt.Errorf("%s: %w", u.show(name), err)
			}
			u.sum.failed(u.show(name), err)
		}
	}
}

// clean is an entry's name without what does not matter. A name that leaves is
// refused, not mended.
func clean(name string) (string, error) {
	if len(name) > maxPath || strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("%w: a name of %d bytes in the tar", ErrHostile, len(name))
	}
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "", fmt.Errorf("%w: the name %q in the tar leads out of the copy", ErrHostile, clip(name))
		case len(part) > maxName:
			return "", fmt.Errorf("%w: the name %q in the tar is too long", ErrHostile, clip(name))
		case part != "" && part != ".":
			depth++
		}
	}
	if depth > maxDepth {
		return "", fmt.Errorf("%w: %d directories below each other in the tar", ErrHostile, depth)
	}
	if name = strings.TrimLeft(path.Clean("/"+name), "/"); name == "" {
		return Root, nil
	}
	return name, nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// show is an entry's name in an error.
func (u *unpacker) show(name string) string {
	if name == Root {
		return u.o.Show
	}
	return strings.TrimSuffix(u.o.Show, "/") + "/" + name
}

// rel is an entry's path from the place's directory.
func (u *unpacker) rel(name string) string { return path.Join(u.place.base, name) }

func (u *unpacker) entry(name string, h *tar.Header) error {
	rel := u.rel(name)
	u.o.Count.Files.Add(1)
	if rel == Root { // the target itself, which is there
		if h.Typeflag != tar.TypeDir {
			return unix.EISDIR
		}
		return nil
	}
	if err := u.leaveFor(rel); err != nil {
		return err
	}
	dir, base, err := u.parent(rel)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(dir, base, rel, h)
	case tar.TypeReg, tar.TypeRegA: //nolint:staticcheck // old archives have it
		return u.file(dir, base, h)
	case tar.TypeSymlink:
		return u.symlink(dir, base, name, h)
	case tar.TypeLink:
		return u.link(dir, base, name, h)
	}
	u.o.Count.Files.Add(-1)
	u.sum.skipped(u.show(name), "neither a file, a directory nor a link")
	return nil
}

// leaveFor leaves the directories that rel is not in.
func (u *unpacker) leaveFor(rel string) error {
	keep := len(u.stack)
	for keep > 0 && !strings.HasPrefix(rel, u.stack[keep-1].rel+"/") {
		keep--
	}
	return u.leave(keep)
}

func (u *unpacker) leave(keep int) error {
	var first error
	for len(u.stack) > keep {
		d := u.stack[len(u.stack)-1]
		u.stack = u.stack[:len(u.stack)-1]
		if d.made {
			err := u.own(d.fd, "")
			if err == nil {
				err = unix.Fchmod(d.fd, d.mode)
			}
			if err == nil && !d.time.IsZero() {
				err = setTime(d.fd, "", d.time)
			}
			if err != nil && first == nil {
				first = err
			}
		}
		_ = unix.Close(d.fd)
	}
	return first
}

// top is the directory in which the stack ends.
func (u *unpacker) top() (fd int, rel string) {
	if len(u.stack) == 0 {
		return u.place.dir, ""
	}
	d := u.stack[len(u.stack)-1]
	return d.fd, d.rel
}

// parent opens the directory of an entry, and makes those that the stream has
// not named.
func (u *unpacker) parent(rel string) (dir int, base string, err error) {
	for {
		fd, at := u.top()
		rest := rel
		if at != "" {
			rest = rel[len(at)+1:]
		}
		next, _, deeper := strings.Cut(rest, "/")
		if !deeper {
			return fd, rest, nil
		}
		if err := u.enter(fd, next, path.Join(at, next), directory{mode: 0o777 &^ u.o.Umask}); err != nil {
			return -1, "", err
		}
	}
}

// enter goes into a directory, which is made where it is not there; as says what
// it is to become then.
func (u *unpacker) enter(dir int, base, rel string, as directory) error {
	err := restart(func() error { return unix.Mkdirat(dir, base, 0o700) })
	as.made = err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	fd, err := openDir(dir, base, unix.O_NOFOLLOW)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return notDirectory(dir, base)
	}
	if err != nil {
		return err
	}
	as.rel, as.fd = rel, fd
	u.stack = append(u.stack, as)
	return nil
}

func notDirectory(dir int, base string) error {
	var st unix.Stat_t
	if statAt(dir, base, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return fmt.Errorf("%s is a symbolic link there, and is not followed", base)
	}
	return unix.ENOTDIR
}

func (u *unpacker) mode(h *tar.Header) uint32 { return uint32(h.Mode) & permissions &^ u.o.Umask }

func (u *unpacker) directory(dir int, base, rel string, h *tar.Header) error {
	return u.enter(dir, base, rel, directory{mode: u.mode(h), time: h.ModTime})
}

// errStream is wrapped by what is wrong with the stream, not with a file.
var errStream = errors.New("the stream broke off")

func (u *unpacker) file(dir int, base string, h *tar.Header) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errSparse
		}
	}
	if err := room(dir, h.Size); err != nil {
		return err
	}
	fd, err := create(dir, base)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	n, err := u.content(f)
	if err == nil && n != h.Size {
		err = fmt.Errorf("%w: %w", errStream, io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = u.own(fd, "")
	}
	if err == nil {
		err = unix.Fchmod(fd, u.mode(h))
	}
	if err == nil {
		err = setTime(fd, "", h.ModTime)
	}
	if cerr := f.Close(); err == nil {
		err = cerr // NFS and quotas tell only now
	}
	if err != nil {
		_ = unix.Unlinkat(dir, base, 0)
	}
	return err
}

var errSparse = fmt.Errorf("%w: a file with holes, whose size costs its sender nothing", ErrHostile)

// worthAsking is the size from which a file's room is asked for beforehand.
const worthAsking = 64 << 20

// room refuses a file that cannot fit before anything of it is written.
func room(dir int, size int64) error {
	if size < worthAsking {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir, &st); err != nil {
		return nil // it shows when it is full
	}
	if free := st.Bavail * uint64(st.Bsize); uint64(size) > free {
		return fmt.Errorf("it has %d bytes, and %d are free: %w", size, free, unix.ENOSPC)
	}
	return nil
}

// content copies one entry's bytes. An error of the stream wraps errStream.
func (u *unpacker) content(f *os.File) (n int64, err error) {
	for {
		k, rerr := u.tr.Read(u.buf)
		if k > 0 {
			if _, err := f.Write(u.buf[:k]); err != nil {
				return n, err
			}
			n += int64(k)
			u.o.Count.Bytes.Add(int64(k))
		}
		if errors.Is(rerr, io.EOF) {
			return n, nil
		}
		if rerr != nil {
			return n, fmt.Errorf("%w: %w", errStream, rerr)
		}
	}
}

// create makes a file that nobody has open and no other name leads to, in place
// of what was there. Where the directory does not let it be replaced, the file
// that is there is written over.
func create(dir int, base string) (int, error) {
	fd, err := createNew(dir, base)
	if !errors.Is(err, unix.EEXIST) {
		return fd, err
	}
	switch uerr := unlink(dir, base); {
	case uerr == nil:
		return createNew(dir, base)
	case errors.Is(uerr, unix.EACCES), errors.Is(uerr, unix.EPERM), errors.Is(uerr, unix.EBUSY):
		return overwrite(dir, base)
	default:
		return -1, uerr
	}
}

func createNew(dir int, base string) (fd int, err error) {
	err = restart(func() error {
		fd, err = unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

// overwrite opens a file that cannot be replaced: one that is mounted by itself,
// or in a directory of somebody else's.
func overwrite(dir int, base string) (int, error) {
	fd, err := openAt(dir, base, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("what is there is no file and cannot be replaced")
	}
	if err == nil {
		err = unix.Ftruncate(fd, 0)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// unlink removes what is to be replaced. A directory is not.
func unlink(dir int, base string) error {
	err := restart(func() error { return unix.Unlinkat(dir, base, 0) })
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return errors.New("there is a directory in its place")
	}
	return err
}

func (u *unpacker) symlink(dir int, base, name string, h *tar.Header) error {
	if h.Linkname == "" || len(h.Linkname) >= maxPath || strings.IndexByte(h.Linkname, 0) >= 0 {
		return fmt.Errorf("%w: a link to a name of %d bytes", ErrHostile, len(h.Linkname))
	}
	err := replacing(dir, base, func() error { return unix.Symlinkat(h.Linkname, dir, base) })
	if err != nil {
		return err
	}
	if err := u.own(dir, base); err != nil {
		return err
	}
	if leadsOut(name, h.Linkname) {
		u.sum.outward(u.show(name), h.Linkname)
	}
	return setTime(dir, base, h.ModTime)
}

// leadsOut tells whether a link at name, below the copy's root, ends elsewhere.
func leadsOut(name, target string) bool {
	if strings.HasPrefix(target, "/") {
		return true
	}
	if name == Root {
		return strings.HasPrefix(path.Clean(target), "../")
	}
	at := path.Join(path.Dir(name), target)
	return at == ".." || strings.HasPrefix(at, "../")
}

// link makes another name of a file that the stream has brought.
func (u *unpacker) link(dir int, base, name string, h *tar.Header) error {
	target, err := clean(h.Linkname)
	if err != nil {
		return err
	}
	if u.rel(target) == u.rel(name) {
		return fmt.Errorf("%w: a link to itself", ErrHostile)
	}
	old, oldBase, err := u.lookup(u.rel(target))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(old) }()
	// Without AT_SYMLINK_FOLLOW a link to a link is made.
	return replacing(dir, base, func() error { return unix.Linkat(old, oldBase, dir, base, 0) })
}

// lookup opens the directory of what the stream has made before.
func (u *unpacker) lookup(rel string) (dir int, base string, err error) {
	parent, base := path.Split(rel)
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	if parent == "" {
		parent = "."
	}
	for {
		// EAGAIN: a rename elsewhere made ".." uncertain (openat2(2)).
		dir, err = unix.Openat2(u.place.dir, parent, how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return dir, base, err
		}
	}
}

// replacing does what fails where something is there already, after removing that.
func replacing(dir int, base string, f func() error) error {
	err := restart(f)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := unlink(dir, base); err != nil {
		return err
	}
	return restart(f)
}

// setTime sets the time of last change of a file, or of a link by name.
func setTime(fd int, name string, t time.Time) error {
	if s := t.Unix(); s < -1<<33 || s > 1<<33 { // beyond what nanoseconds can say, in 64 bits
		return nil
	}
	ts := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(t.UnixNano())}
	if name != "" {
		return unix.UtimesNanoAt(fd, name, ts[:], unix.AT_SYMLINK_NOFOLLOW)
	}
	return futimens(fd, &ts)
}
