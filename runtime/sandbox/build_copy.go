package sandbox

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/moby/patternmatcher"

	"cove/runtime/dockerfile"
	"cove/runtime/files"
	"cove/runtime/guest"
)

// copySources is where a COPY copies from: tars whose entries are below the root of
// the context, or of a stage.
type copySources struct {
	files []*os.File
	// within is where the entries of a file are below the root, by file.
	within []string
	// digest is of what is copied, single that it is one file.
	digest string
	single bool
	copied int
}

func (s *copySources) close() {
	for _, f := range s.files {
		_ = f.Close()
	}
}

// sources finds what a COPY copies.
func (x *building) sources(c *dockerfile.CopyStep) (_ *copySources, err error) {
	s := &copySources{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	sum := sha256.New()
	switch {
	case len(c.Sources) == 0:
	case c.Stage < 0 && c.From == "":
		f, err := os.Open(x.contextPath())
		if err != nil {
			return nil, fmt.Errorf("open the build's files: %w", err)
		}
		s.files, s.within = append(s.files, f), append(s.within, "")
	default:
		at := built{}
		if c.Stage >= 0 {
			at = x.done[c.Stage]
		} else if at, err = x.image(c.From); err != nil {
			return nil, err
		}
		_, _ = io.WriteString(sum, at.key)
		for _, src := range c.Sources {
			f, within, err := x.fetch(at, src)
			if err != nil {
				return nil, err
			}
			s.files, s.within = append(s.files, f), append(s.within, within)
		}
	}
	for i, src := range c.Sources {
		n, err := x.selected(s, i, src, c, func(h *tar.Header, content io.Reader) error {
			s.copied++
			s.single = h.Typeflag == tar.TypeReg
			_, _ = fmt.Fprintf(sum, "%q %c %o %q %d\n", h.Name, h.Typeflag, h.Mode, h.Linkname, h.Size)
			_, err := io.Copy(sum, content)
			return err
		})
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, fmt.Errorf("%s: there is no such file", src)
		}
	}
	for _, f := range c.Inline {
		s.copied++
		s.single = true
		_, _ = fmt.Fprintf(sum, "%q %q\n", f.Name, f.Data)
	}
	s.single = s.single && s.copied == 1
	s.digest = hex.EncodeToString(sum.Sum(nil))
	return s, nil
}

// fetch copies what a pattern may mean out of a stage: all below the directory that
// it begins with. It tells where the entries are.
func (x *building) fetch(at built, pattern string) (_ *os.File, within string, err error) {
	dir := pattern
	for strings.ContainsAny(dir, "*?[") {
		dir = path.Dir(dir)
	}
	name := path.Base(dir)
	if within = path.Dir(dir); within == "." {
		within = ""
	}
	if dir == "." || dir == "" {
		dir, within, name = "", "", files.Root
	}
	f, err := x.tempFile()
	if err != nil {
		return nil, "", err
	}
	err = x.inside(x.record(at, "", "/"), func(client *guest.Client) error {
		var stderr bytes.Buffer
		exit, err := client.Copy(x.o.ctx, guest.Request{Files: &guest.FilesRequest{Op: guest.Get, Path: "/" + dir, Name: name, Follow: true}, Unlogged: true}, nil, f, &stderr)
		if err != nil {
			return err
		}
		return copyError(exit, stderr.String())
	})
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, within, nil
}

// selected calls each for every entry of a source that a pattern means, under the
// name that it has below the destination, and tells how many there were.
func (x *building) selected(s *copySources, i int, pattern string, c *dockerfile.CopyStep, each func(h *tar.Header, content io.Reader) error) (int, error) {
	i = min(i, len(s.files)-1)
	f := s.files[i]
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	skip, err := patternmatcher.New(c.Exclude)
	if err != nil {
		return 0, fmt.Errorf("--exclude: %w", err)
	}
	n := 0
	tr := tar.NewReader(bufio.NewReaderSize(f, 256<<10))
	for {
		if err := x.o.ctx.Err(); err != nil {
			return n, err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("read the files of the build: %w", err)
		}
		name := strings.TrimPrefix(path.Clean("/"+s.within[i]+"/"+h.Name), "/")
		below, ok, err := matched(pattern, name, h.Typeflag == tar.TypeDir)
		if err != nil {
			return n, err
		}
		if !ok {
			continue
		}
		n++
		if below == "" { // a directory itself: what is in it is copied
			continue
		}
		if no, err := skip.MatchesOrParentMatches(below); err != nil || no {
			if err != nil {
				return n, fmt.Errorf("--exclude: %w", err)
			}
			continue
		}
		out := *h
		out.Name = below
		if h.Typeflag == tar.TypeLink {
			return n, fmt.Errorf("%s is another name of a file", name) // no sender here makes them
		}
		if c.Mode >= 0 && h.Typeflag != tar.TypeSymlink {
			out.Mode = int64(c.Mode)
		}
		if err := each(&out, tr); err != nil {
			return n, err
		}
	}
}

// matched tells what an entry is called below the destination, if the pattern means
// it: a file by its name, what is in a directory by its path in that; empty for the
// directory.
func matched(pattern, name string, dir bool) (below string, ok bool, err error) {
	if pattern == "" { // the root
		return name, true, nil
	}
	want, have := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(have) < len(want) || name == "" {
		return "", false, nil
	}
	for i, w := range want {
		ok, err := path.Match(w, have[i])
		if err != nil {
			return "", false, fmt.Errorf("%s: %w", pattern, err)
		}
		if !ok {
			return "", false, nil
		}
	}
	if len(have) > len(want) {
		return strings.Join(have[len(want):], "/"), true, nil
	}
	if dir {
		return "", true, nil
	}
	return have[len(have)-1], true, nil
}

// copies carries out a COPY, or an ADD.
func (x *building) copies(c *dockerfile.CopyStep, s *copySources, at built) error {
	dest := strings.TrimSuffix(c.Dest, "/")
	asDir := strings.HasSuffix(c.Dest, "/") || dest == "" || !s.single
	r := guest.Request{Unlogged: true, Files: &guest.FilesRequest{Op: guest.Extract, Path: "/" + strings.TrimPrefix(dest, "/"), Owner: c.Owner}}
	dir := r.Files.Path
	if !asDir && !c.Unpack {
		// One file: it goes to the destination, or into it where that is a directory.
		r.Files.Op = guest.Put
		dir = path.Dir(dir)
	}
	return x.inside(x.record(at, "", dir), func(client *guest.Client) error {
		pr, pw := io.Pipe()
		written := make(chan error, 1)
		go func() {
			err := x.write(pw, c, s, &r)
			pw.CloseWithError(err)
			written <- err
		}()
		if r.Files.Op == guest.Put {
			r.Files.Name = s.name(c)
		}
		var stderr bytes.Buffer
		exit, err := client.Copy(x.o.ctx, r, pr, nil, &stderr)
		_ = pr.CloseWithError(io.ErrClosedPipe)
		werr := <-written
		if werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
			return werr
		}
		if err != nil {
			return err
		}
		return copyError(exit, stderr.String())
	})
}

// name is what a single file is called.
func (s *copySources) name(c *dockerfile.CopyStep) string {
	if len(c.Inline) > 0 {
		return path.Base(c.Inline[0].Name)
	}
	return path.Base(c.Sources[0])
}

// write writes what is copied as a tar.
func (x *building) write(w io.Writer, c *dockerfile.CopyStep, s *copySources, r *guest.Request) error {
	t := tar.NewWriter(w)
	put := r.Files.Op == guest.Put
	add := func(h *tar.Header, content io.Reader) error {
		if put {
			h.Name = files.Root
		}
		if c.Unpack && h.Typeflag == tar.TypeReg {
			b := bufio.NewReaderSize(content, 64<<10)
			inner, err := unpacked(b)
			if err != nil {
				return err
			}
			if inner != nil {
				return x.unpackInto(t, inner)
			}
			content = b
			if put {
				return errors.New("not reached")
			}
		}
		h.PAXRecords, h.Format = nil, tar.FormatPAX
		h.Xattrs = nil //nolint:staticcheck // an old archive's
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(t, content)
		return err
	}
	for i, src := range c.Sources {
		if _, err := x.selected(s, i, src, c, add); err != nil {
			return err
		}
	}
	for _, f := range c.Inline {
		mode := int64(0o644)
		if c.Mode >= 0 {
			mode = int64(c.Mode)
		}
		if err := add(&tar.Header{Typeflag: tar.TypeReg, Name: path.Base(f.Name), Mode: mode, Size: int64(len(f.Data))}, strings.NewReader(f.Data)); err != nil {
			return err
		}
	}
	return t.Close()
}

// unpackInto copies the entries of a tar.
func (x *building) unpackInto(t *tar.Writer, inner io.Reader) error {
	tr := tar.NewReader(inner)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		h.Format = tar.FormatPAX
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(t, tr); err != nil {
			return err
		}
	}
}

// unpacked gives what is in a tar, however it is compressed; nil where it is none.
func unpacked(b *bufio.Reader) (io.Reader, error) {
	head, err := b.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	isTar := func(p []byte) bool { return len(p) >= 262 && bytes.Equal(p[257:262], []byte("ustar")) }
	var plain io.Reader
	switch {
	case isTar(head):
		return b, nil
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		plain, err = gzip.NewReader(b)
	case bytes.HasPrefix(head, []byte("BZh")):
		plain = bzip2.NewReader(b)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		plain, err = zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	inner := bufio.NewReaderSize(plain, 64<<10)
	if head, _ := inner.Peek(512); !isTar(head) {
		return nil, errors.New("a compressed file that is no tar is not unpacked: COPY it")
	}
	return inner, nil
}
