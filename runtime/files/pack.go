package files

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is the name of what is copied itself, in a stream that [Unpack] places.
const Root = "."

// PackOptions say how a tree becomes a tar.
type PackOptions struct {
	// Name is what the file or directory is called in the tar: [Root], or a
	// name of one element.
	Name string
	// Follow: where path is a symbolic link, what it leads to is packed.
	Follow bool
	// Show is what errors call path; empty for path itself.
	Show string
	// Count, if not nil, is counted on.
	Count *Counter
}

// Pack writes the file or directory at path to w: modes without setuid, times,
// symbolic links as such, hard links within the tree as such; no extended
// attributes. What cannot be read is told in the Summary and left out; an error
// means that the tar is not whole. The tree may change meanwhile; no link in it
// is followed.
func Pack(w io.Writer, path string, o PackOptions) (Summary, error) {
	if o.Count == nil {
		o.Count = &Counter{}
	}
	if o.Show == "" {
		o.Show = path
	}
	p := &packer{tw: tar.NewWriter(w), o: o, links: map[inode]string{}, buf: make([]byte, copyBuffer)}
	err := p.top(path)
	if err == nil {
		err = p.tw.Close()
	}
	p.sum.Files, p.sum.Bytes = o.Count.Files.Load(), o.Count.Bytes.Load()
	return p.sum, err
}

const copyBuffer = 256 << 10

type inode struct{ dev, ino uint64 }

type packer struct {
	tw    *tar.Writer
	o     PackOptions
	links map[inode]string // names of files that have several
	buf   []byte
	sum   Summary
}

// top packs path, which the caller named: links on the way are followed.
func (p *packer) top(name string) error {
	if p.o.Follow || strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.") {
		real, err := resolve(name)
		if err != nil {
			return p.first(err)
		}
		name = real
	}
	parent, base := path.Split(strings.TrimRight(name, "/"))
	if base == "" || base == "." || base == ".." {
		parent, base = name, "."
	}
	if parent == "" {
		parent = "."
	}
	dir, err := openDir(unix.AT_FDCWD, parent, 0)
	if err != nil {
		return p.first(err)
	}
	defer func() { _ = unix.Close(dir) }()
	var st unix.Stat_t
	if err := statAt(dir, base, &st); err != nil {
		return p.first(err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
	default:
		return p.first(fmt.Errorf("it is %s: files, directories and links can be copied", kind(st.Mode)))
	}
	if err := p.entry(dir, base, p.o.Name, p.o.Show, &st, 0); err != nil {
		return err
	}
	if p.o.Count.Files.Load() == 0 {
		return errors.New(p.sum.FirstFailed)
	}
	return nil
}

// first is the error of the one thing that the caller named.
func (p *packer) first(err error) error { return fmt.Errorf("%s: %w", p.o.Show, cause(err)) }

// resolve follows a link at the end of a path. EvalSymlinks would give another
// error where a directory on the way may be passed and not be read.
func resolve(name string) (string, error) {
	fd, err := openAt(unix.AT_FDCWD, name, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// entry packs one thing. Only an error of the tar itself is returned.
func (p *packer) entry(dir int, base, name, show string, st *unix.Stat_t, depth int) error {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & permissions), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.file(dir, base, show, h, st)
	case unix.S_IFDIR:
		return p.dir(dir, base, show, h, depth)
	case unix.S_IFLNK:
		target, err := readLink(dir, base)
		if err != nil {
			p.sum.failed(show, err)
			return nil
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return p.header(h)
	}
	p.sum.skipped(show, kind(st.Mode))
	return nil
}

func (p *packer) header(h *tar.Header) error {
	p.o.Count.Files.Add(1)
	return p.tw.WriteHeader(h)
}

func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	}
	return "of an unknown kind"
}

func (p *packer) file(dir int, base, show string, h *tar.Header, st *unix.Stat_t) error {
	id := inode{st.Dev, st.Ino}
	if first, again := p.links[id]; again && st.Nlink > 1 {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return p.header(h)
	}
	fd, err := openAt(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		p.sum.failed(show, err)
		return nil
	}
	f := os.NewFile(uintptr(fd), show)
	defer func() { _ = f.Close() }()
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil || now.Mode&unix.S_IFMT != unix.S_IFREG {
		p.sum.failed(show, errors.Join(err, errChanged))
		return nil
	}
	h.Typeflag, h.Size = tar.TypeReg, now.Size
	if err := p.header(h); err != nil {
		return err
	}
	if now.Nlink > 1 {
		p.links[id] = h.Name
	}
	return p.content(f, show, now.Size)
}

var errChanged = errors.New("it changed while it was read")

// content copies size bytes, which the header has promised: of a file that got
// shorter the rest is zeros.
func (p *packer) content(f *os.File, show string, size int64) error {
	for left := size; left > 0; {
		b := p.buf[:min(left, int64(len(p.buf)))]
		n, err := f.Read(b)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = errChanged
			}
			p.sum.failed(show, err)
			clear(p.buf)
			for ; left > 0; left -= int64(len(b)) {
				b = p.buf[:min(left, int64(len(p.buf)))]
				if _, err := p.tw.Write(b); err != nil {
					return err
				}
			}
			return nil
		}
		if _, err := p.tw.Write(b[:n]); err != nil {
			return err
		}
		left -= int64(n)
		p.o.Count.Bytes.Add(int64(n))
	}
	return nil
}

func (p *packer) dir(parent int, base, show string, h *tar.Header, depth int) error {
	fd, err := openDir(parent, base, unix.O_NOFOLLOW)
	if err != nil {
		p.sum.failed(show, err)
		return nil
	}
	d := os.NewFile(uintptr(fd), show)
	defer func() { _ = d.Close() }()
	below := h.Name
	h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	if err := p.header(h); err != nil {
		return err
	}
	if depth == maxDepth {
		p.sum.failed(show, fmt.Errorf("more than %d directories below each other", maxDepth))
		return nil
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		p.sum.failed(show, err)
	}
	slices.Sort(names)
	for _, name := range names {
		var st unix.Stat_t
		shown := strings.TrimSuffix(show, "/") + "/" + name
		if err := statAt(fd, name, &st); err != nil {
			if !errors.Is(err, unix.ENOENT) { // removed meanwhile
				p.sum.failed(shown, err)
			}
			continue
		}
		if len(below)+1+len(name) > maxPath {
			p.sum.failed(shown, unix.ENAMETOOLONG)
			continue
		}
		if err := p.entry(fd, name, below+"/"+name, shown, &st, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func openAt(dir int, name string, flags int) (fd int, err error) {
	err = restart(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

func openDir(dir int, name string, flags int) (int, error) {
	return openAt(dir, name, flags|unix.O_RDONLY|unix.O_DIRECTORY)
}

func statAt(dir int, name string, st *unix.Stat_t) error {
	return restart(func() error { return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

func readLink(dir int, name string) (string, error) {
	buf := make([]byte, maxPath+1)
	n := 0
	err := restart(func() (err error) {
		n, err = unix.Readlinkat(dir, name, buf)
		return err
	})
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
