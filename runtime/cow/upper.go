package cow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/delta"
	"cove/runtime/mount"
)

// How many changed files are listed, and how long their names may be together: they
// are in memory.
const (
	maxChanges = 400_000
	maxNames   = 64 << 20
)

// opaqueAttr marks a directory that hides the one below it
// (Documentation/filesystems/overlayfs.rst).
const opaqueAttr = "trusted.overlay.opaque"

// Source is what a stream of changes is made from.
type Source struct {
	// Upper is the overlay's upper directory, of a sandbox that may run.
	Upper *os.File
	// Manifest is what the directory below held, Applied what counts in its
	// place; nil where that is not known.
	Manifest *Manifest
	Applied  Applied
	// Top says which directory it is; nil where there is none.
	Top *delta.Base
	// Paths are those to tell of, with all below them; none are all.
	Paths []string
	// List leaves the content of files out.
	List bool
}

// Write writes what was changed to w, see package delta. Errors: [ErrTooMany],
// [ErrDamaged], ctx's; after one the stream says so itself where it can.
func Write(ctx context.Context, w io.Writer, s Source) error {
	out := delta.NewWriter(w)
	err := s.write(ctx, out)
	return errors.Join(err, out.Close(err))
}

func (s Source) write(ctx context.Context, out *delta.Writer) error {
	l := &lister{ctx: ctx, paths: s.Paths, at: map[string]int{}}
	top, err := mount.OpenWithin(s.Upper, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = l.dir(top, ".", 0)
	if err := errors.Join(err, top.Close()); err != nil {
		return err
	}
	if err := s.known(ctx, l, out); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for _, e := range l.list {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if s.List && e.Kind == delta.File {
			e.Long = true
		}
		if err := s.put(out, e, buf); err != nil {
			return err
		}
	}
	return nil
}

// known adds to the changed files what was there before, and tells of what deleted
// directories held.
func (s Source) known(ctx context.Context, l *lister, out *delta.Writer) error {
	tell := func(p string, b *delta.Base, since int64, sum string) error {
		if i, ok := l.at[p]; ok {
			e := &l.list[i]
			e.Base, e.Since, e.Applied = b, since, sum
			return nil
		}
		if b == nil || !l.hidden(p) || !delta.Within(s.Paths, p) && len(s.Paths) > 0 {
			return nil
		}
		return out.Put(delta.Entry{Path: p, Kind: delta.Known, Base: b, Since: since})
	}
	if s.Manifest != nil {
		for n := 0; ; n++ {
			p, b, err := s.Manifest.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if n%1024 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if _, again := s.Applied[p]; again {
				continue
			}
			if err := tell(p, &b, s.Manifest.Since.Unix(), ""); err != nil {
				return err
			}
		}
		for i := range l.list {
			if l.list[i].Since == 0 {
				l.list[i].Since = s.Manifest.Since.Unix()
			}
		}
	}
	l.list[0].Base = s.Top
	for p, m := range s.Applied {
		if err := tell(p, m.Base, m.At, m.Sum); err != nil {
			return err
		}
	}
	return nil
}

// put writes one entry, with its content.
func (s Source) put(out *delta.Writer, e delta.Entry, buf []byte) error {
	if e.Kind != delta.File || e.Long {
		return out.Put(e)
	}
	f, err := mount.OpenWithin(s.Upper, e.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		// It changed since it was listed: whoever asks again is told.
		return out.Put(delta.Entry{Path: e.Path, Kind: delta.Torn})
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > delta.MaxContent {
		return out.Put(delta.Entry{Path: e.Path, Kind: delta.Torn})
	}
	e.Size, e.Mode = st.Size, st.Mode&0o7777
	if err := out.Put(e); err != nil {
		return err
	}
	torn := false
	for left := e.Size; left > 0; {
		n, err := f.Read(buf[:min(left, int64(len(buf)))])
		if n == 0 {
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read %s: %w", e.Path, err)
			}
			// It got shorter, and the head has promised its length.
			torn = true
			n = int(min(left, int64(len(buf))))
			clear(buf[:n])
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	var now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &now); err != nil || now.Mtim != st.Mtim || now.Size != st.Size {
		torn = true
	}
	if torn {
		return out.Put(delta.Entry{Path: e.Path, Kind: delta.Torn})
	}
	return nil
}

// lister lists an upper directory, parents first, names in order.
type lister struct {
	ctx   context.Context
	paths []string
	list  []delta.Entry
	at    map[string]int
	names int
}

func (l *lister) add(e delta.Entry) error {
	l.names += len(e.Path) + len(e.Link)
	if len(l.list) == maxChanges || l.names > maxNames {
		return fmt.Errorf("%w: more than %d were changed, or their names are longer than %d bytes: ask for some of them by path", ErrTooMany, maxChanges, maxNames)
	}
	l.at[e.Path] = len(l.list)
	l.list = append(l.list, e)
	return nil
}

// hidden tells whether a directory on the way to p hides it, or is none.
func (l *lister) hidden(p string) bool {
	for dir := path.Dir(p); ; dir = path.Dir(dir) {
		if i, ok := l.at[dir]; ok {
			if e := l.list[i]; e.Kind != delta.Dir || e.Opaque {
				return true
			}
		}
		if dir == "." {
			return false
		}
	}
}

func (l *lister) dir(d *os.File, at string, depth int) error {
	if err := l.ctx.Err(); err != nil {
		return context.Cause(l.ctx)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return err
	}
	var value [8]byte
	n, err := unix.Fgetxattr(int(d.Fd()), opaqueAttr, value[:])
	opaque := err == nil && n > 0 && value[0] == 'y'
	if err := l.add(delta.Entry{Path: at, Kind: delta.Dir, Mode: st.Mode & 0o7777, Opaque: opaque}); err != nil {
		return err
	}
	if depth == maxDepth {
		return fmt.Errorf("%w: directories lie more than %d deep", ErrTooMany, maxDepth)
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list %s: %w", at, err)
	}
	slices.Sort(names)
	for _, name := range names {
		p := path.Join(at, name)
		if !delta.Covers(l.paths, p) || len(p) > delta.MaxPath {
			continue
		}
		if err := l.entry(d, name, p, depth); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) entry(d *os.File, name, p string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return fmt.Errorf("look at %s: %w", p, err)
	}
	e := delta.Entry{Path: p, Mode: st.Mode & 0o7777}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		below, err := mount.OpenWithin(d, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
				return nil
			}
			return err
		}
		defer func() { _ = below.Close() }()
		return l.dir(below, p, depth+1)
	case unix.S_IFREG:
		e.Kind, e.Size, e.Long = delta.File, st.Size, st.Size > delta.MaxContent
	case unix.S_IFLNK:
		buf := make([]byte, delta.MaxPath)
		n, err := unix.Readlinkat(int(d.Fd()), name, buf)
		if err != nil || n == 0 {
			return nil //nolint:nilerr // it has gone since
		}
		e.Kind, e.Link, e.Mode = delta.Link, string(buf[:n]), 0o777
	case unix.S_IFCHR:
		e.Kind = delta.Special
		if st.Rdev == 0 {
			e.Kind, e.Mode = delta.Gone, 0
		}
	default:
		e.Kind = delta.Special
	}
	return l.add(e)
}

// Discard takes what was changed at p out of the upper directory of a sandbox that
// does not run, with all below p; "." is everything. What is not there is no error.
// held says that the host's directory held p: where a directory on the way to it was
// deleted or replaced, to take that back too is the only way, and this fails with
// [ErrHidden] and takes nothing.
func Discard(ctx context.Context, upper *os.File, p string, held bool) error {
	dir := upper
	if p == "." {
		top, err := mount.OpenWithin(upper, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		return errors.Join(emptyDir(ctx, top, 0), top.Close())
	}
	at := "."
	for part := range strings.SplitSeq(path.Dir(p), "/") {
		if part == "." {
			break
		}
		next, err := mount.OpenWithin(dir, part, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		at = path.Join(at, part)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			if !held {
				return nil
			}
			return fmt.Errorf("%w: %s: discard that one", ErrHidden, at)
		}
		if err != nil {
			return err
		}
		defer func() { _ = next.Close() }()
		var value [8]byte
		if n, err := unix.Fgetxattr(int(next.Fd()), opaqueAttr, value[:]); held && err == nil && n > 0 && value[0] == 'y' {
			return fmt.Errorf("%w: %s: discard that one", ErrHidden, at)
		}
		dir = next
	}
	return removeAt(ctx, dir, path.Base(p), 0)
}

func emptyDir(ctx context.Context, d *os.File, depth int) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: directories lie more than %d deep", ErrTooMany, maxDepth)
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeAt(ctx, d, name, depth); err != nil {
			return err
		}
	}
	return nil
}

func removeAt(ctx context.Context, d *os.File, name string, depth int) error {
	err := unix.Unlinkat(int(d.Fd()), name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	below, err := mount.OpenWithin(d, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = emptyDir(ctx, below, depth+1)
	_ = below.Close()
	if err != nil {
		return err
	}
	return unix.Unlinkat(int(d.Fd()), name, unix.AT_REMOVEDIR)
}
