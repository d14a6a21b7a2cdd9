package cow

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/delta"
	"cove/runtime/mount"
)

// A manifest is a head, a record for each file, directories before what is in them
// and names in order, and an end: a record of an empty path with the number of the
// others. A path is written as how many bytes it has in common with the one before,
// and the rest. Numbers are varints.
const (
	manifestMagic = "cove-manifest-1\n"
	maxDepth      = 255
)

// manifestKinds are the kinds of files by their numbers.
func manifestKinds() [4]delta.Kind {
	return [...]delta.Kind{delta.File, delta.Dir, delta.Link, delta.Special}
}

// Take writes the manifest of the directory dir, which may be open as a mere place
// (O_PATH), to w, with the time since: what changed later than that, and so perhaps
// after a sandbox could see it, is marked as racy, so a walk that takes long is
// still right. What dir's file system keeps from this process's user is left out,
// and so is what is mounted below it. It takes 1 to 3 µs for each file that is in
// the kernel's caches, and the memory of one directory's names at a time. tell, which
// may be nil, is told from time to time how many files there were.
func Take(ctx context.Context, dir *os.File, w io.Writer, since time.Time, tell func(files int)) (files int, err error) {
	top, err := mount.OpenWithin(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = top.Close() }()
	t := &taker{ctx: ctx, w: bufio.NewWriterSize(w, 64<<10), since: since.UnixNano(), tell: tell}
	_, _ = t.w.WriteString(manifestMagic)
	t.int(since.UnixNano())
	if err := t.dir(top, "", 0); err != nil {
		return t.n, err
	}
	t.path("")
	t.uint(uint64(t.n))
	return t.n, t.w.Flush()
}

type taker struct {
	ctx   context.Context
	w     *bufio.Writer
	since int64
	last  string
	n     int
	tell  func(int)
	buf   [binary.MaxVarintLen64]byte
}

func (t *taker) uint(n uint64) { _, _ = t.w.Write(t.buf[:binary.PutUvarint(t.buf[:], n)]) }
func (t *taker) int(n int64)   { _, _ = t.w.Write(t.buf[:binary.PutVarint(t.buf[:], n)]) }
func (t *taker) bytes(s string) {
	t.uint(uint64(len(s)))
	_, _ = t.w.WriteString(s)
}

func (t *taker) path(p string) {
	common := 0
	for common < len(p) && common < len(t.last) && p[common] == t.last[common] {
		common++
	}
	t.uint(uint64(common))
	t.bytes(p[common:])
	t.last = p
}

// tellEvery is after how many files somebody is told.
const tellEvery = 16 << 10

func (t *taker) dir(d *os.File, at string, depth int) error {
	if err := t.ctx.Err(); err != nil {
		return context.Cause(t.ctx)
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list %s: %w", path.Join(".", at), err)
	}
	slices.Sort(names)
	for _, name := range names {
		p := path.Join(at, name)
		var st unix.Stat_t
		if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
				continue
			}
			return fmt.Errorf("look at %s: %w", p, err)
		}
		if len(p) > delta.MaxPath {
			continue
		}
		if err := t.put(d, name, p, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR || depth == maxDepth {
			continue
		}
		below, err := mount.OpenWithin(d, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			switch {
			case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES), errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
				continue // gone or changed since, closed, or another file system
			}
			return err
		}
		err = t.dir(below, p, depth+1)
		_ = below.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *taker) put(d *os.File, name, p string, st *unix.Stat_t) error {
	b := delta.BaseOf(st)
	if b.Kind == delta.Link {
		buf := make([]byte, delta.MaxPath)
		n, err := unix.Readlinkat(int(d.Fd()), name, buf)
		if err != nil {
			return nil //nolint:nilerr // it has gone since
		}
		b.Link = buf[:n]
	}
	t.path(p)
	kinds := manifestKinds()
	kind := uint64(slices.Index(kinds[:], b.Kind)) << 1
	if b.Ctime > t.since {
		kind |= 1
	}
	t.uint(kind)
	t.uint(uint64(b.Mode))
	t.int(b.Size)
	t.int(b.Mtime)
	t.int(b.Ctime)
	t.uint(b.Ino)
	if b.Kind == delta.Link {
		t.bytes(string(b.Link))
	}
	t.n++
	if t.tell != nil && t.n%tellEvery == 0 {
		t.tell(t.n)
	}
	return nil
}

// Manifest reads what [Take] wrote. It belongs to one goroutine.
type Manifest struct {
	r *bufio.Reader
	// Since is when the sandbox got the directory.
	Since time.Time
	last  []byte
	n     uint64
}

// Read begins to read a manifest. Errors: [ErrDamaged].
func Read(r io.Reader) (*Manifest, error) {
	m := &Manifest{r: bufio.NewReaderSize(r, 64<<10)}
	head := make([]byte, len(manifestMagic))
	if _, err := io.ReadFull(m.r, head); err != nil || string(head) != manifestMagic {
		return nil, ErrDamaged
	}
	since, err := binary.ReadVarint(m.r)
	if err != nil {
		return nil, ErrDamaged
	}
	m.Since = time.Unix(0, since)
	return m, nil
}

// Next gives the next file and its path; io.EOF after the last. Errors:
// [ErrDamaged].
func (m *Manifest) Next() (string, delta.Base, error) {
	var b delta.Base
	fail := func() (string, delta.Base, error) { return "", b, ErrDamaged }
	var bad bool
	number := func() uint64 {
		n, err := binary.ReadUvarint(m.r)
		bad = bad || err != nil
		return n
	}
	signed := func() int64 {
		n, err := binary.ReadVarint(m.r)
		bad = bad || err != nil
		return n
	}
	text := func() []byte {
		n := number()
		if bad || n > delta.MaxPath {
			bad = true
			return nil
		}
		s := make([]byte, n)
		_, err := io.ReadFull(m.r, s)
		bad = bad || err != nil
		return s
	}
	common := number()
	rest := text()
	if bad || common > uint64(len(m.last)) {
		return fail()
	}
	m.last = append(m.last[:common], rest...)
	if len(m.last) == 0 {
		if n := number(); bad || n != m.n {
			return fail()
		}
		return "", b, io.EOF
	}
	kind, kinds := number(), manifestKinds()
	if bad || kind>>1 >= uint64(len(kinds)) {
		return fail()
	}
	b.Kind, b.Racy = kinds[kind>>1], kind&1 != 0
	b.Mode = uint32(number() & 0o7777)
	b.Size, b.Mtime, b.Ctime, b.Ino = signed(), signed(), signed(), number()
	if b.Kind == delta.Link {
		b.Link = text()
	}
	if bad || len(m.last) > delta.MaxPath {
		return fail()
	}
	m.n++
	return string(m.last), b, nil
}
