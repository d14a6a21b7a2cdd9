package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// ReadOptions bound what is read.
type ReadOptions struct {
	// MaxEntries and MaxBytes (of files' contents) are what the archive may
	// hold; 0 means no limit.
	MaxEntries, MaxBytes int64
	// Progress, if not nil, is told now and then how many bytes of files have
	// been read.
	Progress func(bytes int64)
}

// Verify reads the archive in r to its end and compares it with its manifest. Its
// errors are those of [Read].
func Verify(ctx context.Context, r io.Reader, o ReadOptions) (meta json.RawMessage, m Manifest, err error) {
	return read(ctx, r, o, nil)
}

// Files makes and reads archives; it is the functions of this package as an
// interface may want them.
type Files struct{}

// Save is [Save].
func (Files) Save(ctx context.Context, dir *os.File, name string, tree *os.File, o WriteOptions) (Manifest, error) {
	return Save(ctx, dir, name, tree, o)
}

// Send is [Write].
func (Files) Send(ctx context.Context, w io.Writer, tree *os.File, o WriteOptions) (Manifest, error) {
	return Write(ctx, w, tree, o)
}

// ReadMeta is [Read].
func (Files) ReadMeta(ctx context.Context, from io.Reader, tree *os.File, o ReadOptions) (json.RawMessage, Manifest, error) {
	return Read(ctx, from, tree, o)
}

// Read is [Read], without what is kept beside the tree.
func (Files) Read(ctx context.Context, from io.Reader, tree *os.File, o ReadOptions) (Manifest, error) {
	_, m, err := Read(ctx, from, tree, o)
	return m, err
}

// Meta reads what is kept beside the tree, and nothing more: it is not proved.
// Errors are those of [Read].
func Meta(ctx context.Context, r io.Reader) (json.RawMessage, error) {
	z, err := open(r)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	rd := newReader(ctx, z, ReadOptions{}, nil)
	if err := rd.begin(); err != nil {
		return nil, fmt.Errorf("read archive: %w", rd.damaged(err))
	}
	return rd.meta, nil
}

// Read makes the tree of the archive in r below dir, which must be empty and
// nobody else's. It belongs to the caller only when the error is nil: what was
// read before an error was found is there. Errors: [ErrDamaged], [ErrHostile],
// [ErrTooLarge], [ErrVersion], those of the file system and of r, ctx's cause.
func Read(ctx context.Context, r io.Reader, dir *os.File, o ReadOptions) (meta json.RawMessage, m Manifest, err error) {
	t := &tree{buf: make([]byte, copyBuffer)}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.begin(dir); err != nil {
		return nil, Manifest{}, fmt.Errorf("read archive: %w", err)
	}
	return read(ctx, r, o, t)
}

// read is Read into t, or nowhere where t is nil.
func read(ctx context.Context, r io.Reader, o ReadOptions, t *tree) (json.RawMessage, Manifest, error) {
	z, err := open(r)
	if err != nil {
		return nil, Manifest{}, err
	}
	defer z.Close()
	rd := newReader(ctx, z, o, t)
	if err := rd.all(); err != nil {
		return nil, Manifest{}, fmt.Errorf("read archive: %w", rd.damaged(err))
	}
	return rd.meta, rd.m, nil
}

func open(r io.Reader) (*zstd.Decoder, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	return z, nil
}

func newReader(ctx context.Context, z io.Reader, o ReadOptions, t *tree) *reader {
	rd := &reader{ctx: ctx, o: o, sum: newLagging(z), tree: t}
	rd.tr = tar.NewReader(rd.sum)
	return rd
}

type reader struct {
	ctx  context.Context
	o    ReadOptions
	sum  *lagging
	tr   *tar.Reader
	tree *tree
	meta json.RawMessage
	// version is what the archive begins with, m what is found in it.
	version int
	m       Manifest
	told    int64
}

// damaged says of errors of the formats what they mean here.
func (r *reader) damaged(err error) error {
	for _, known := range []error{ErrHostile, ErrTooLarge, ErrVersion, ErrDamaged} {
		if errors.Is(err, known) {
			return err
		}
	}
	switch {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends in the middle", ErrDamaged)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, tar.ErrInsecurePath), r.sum.failed != nil && !isSystem(r.sum.failed):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// isSystem tells errors of the kernel from those of a format.
func isSystem(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno)
}

// begin reads what comes before the tree.
func (r *reader) begin() error {
	h, err := r.tr.Next()
	if err != nil {
		return err
	}
	if h.Name != headName {
		return fmt.Errorf("%w: it does not begin with %s", ErrHostile, headName)
	}
	data, err := r.content(h, maxMeta+1<<10)
	if err != nil {
		return err
	}
	var begin head
	if err := json.Unmarshal(data, &begin); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, h.Name, err)
	}
	if begin.Version < 1 {
		return fmt.Errorf("%w: it has no version", ErrDamaged)
	}
	if begin.Version > Version {
		return fmt.Errorf("%w: it has version %d, this cove knows %d", ErrVersion, begin.Version, Version)
	}
	r.meta, r.version = begin.Meta, begin.Version
	return nil
}

func (r *reader) all() error {
	if err := r.begin(); err != nil {
		return err
	}
	for {
		if err := context.Cause(r.ctx); err != nil {
			return err
		}
		h, err := r.tr.Next()
		if err != nil {
			return err // an EOF too: there was no manifest
		}
		if h.Name == manifestName {
			return r.end(h)
		}
		if err := r.entry(h); err != nil {
			return err
		}
	}
}

// content reads an entry of the archive's own.
func (r *reader) content(h *tar.Header, most int64) ([]byte, error) {
	if h.Typeflag != tar.TypeReg || h.Size > most {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrHostile, h.Name, h.Size)
	}
	return io.ReadAll(r.tr)
}

// end compares what was read with the manifest, which is the last of it.
func (r *reader) end(h *tar.Header) error {
	sum := r.sum.before()
	data, err := r.content(h, maxManifest)
	if err != nil {
		return err
	}
	var promised Manifest
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields() // a changed key is a change
	if err := d.Decode(&promised); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, h.Name, err)
	}
	r.m.Version, r.m.Skipped, r.m.SHA256 = r.version, promised.Skipped, sum
	if promised != r.m {
		return fmt.Errorf("%w: it holds %d entries with %d bytes and the checksum %.12s…, its manifest says %d, %d and %.12s…",
			ErrDamaged, r.m.Entries, r.m.Bytes, sum, promised.Entries, promised.Bytes, promised.SHA256)
	}
	if _, err := r.tr.Next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it goes on after its manifest", ErrHostile)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r.sum, 1<<20))
	if err == nil && n == 1<<20 {
		err = fmt.Errorf("%w: it goes on after its end", ErrHostile)
	}
	return err
}

// entry takes one entry of the tree.
func (r *reader) entry(h *tar.Header) error {
	name, ok := strings.CutPrefix(h.Name, treeName)
	if !ok {
		return fmt.Errorf("%w: it holds %.80q", ErrHostile, h.Name)
	}
	if r.m.Entries++; r.o.MaxEntries > 0 && r.m.Entries > r.o.MaxEntries {
		return fmt.Errorf("%w: more than %d files", ErrTooLarge, r.o.MaxEntries)
	}
	var content []extent
	size := h.Size
	if h.Typeflag == tar.TypeReg {
		if r.o.MaxBytes > 0 && h.Size > r.o.MaxBytes-r.m.Bytes {
			return fmt.Errorf("%w: files of more than %d bytes", ErrTooLarge, r.o.MaxBytes)
		}
		var err error
		if content, size, err = pieces(h.PAXRecords, h.Size); err != nil {
			return err
		}
	}
	if r.tree == nil {
		return r.skip(h.Size)
	}
	return r.tree.entry(name, h, size, content, r.into)
}

// skip reads a file's contents for their checksum only.
func (r *reader) skip(size int64) error {
	return r.into(io.Discard, size)
}

// into copies size bytes of the present entry.
func (r *reader) into(w io.Writer, size int64) error {
	for size > 0 {
		if err := context.Cause(r.ctx); err != nil {
			return err
		}
		n, err := io.CopyN(w, r.tr, min(size, 8<<20))
		r.m.Bytes, size = r.m.Bytes+n, size-n
		if err != nil {
			return err
		}
		if r.o.Progress != nil && r.m.Bytes-r.told >= 1<<20 {
			r.told = r.m.Bytes
			r.o.Progress(r.told)
		}
	}
	return nil
}

// blockSize is that of a tar (pax, "ustar Interchange Format").
const blockSize = 512

// lagging computes the checksum of all that was read through it but the last
// block: when the tar's reader has found the manifest, that block is its
// header, for it has no other and the reader does not read ahead.
type lagging struct {
	r      io.Reader
	sum    hash.Hash
	last   [blockSize]byte
	held   int
	failed error // of r
}

func newLagging(r io.Reader) *lagging { return &lagging{r: r, sum: sha256.New()} }

// Read implements io.Reader.
func (l *lagging) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	got := p[:n]
	switch {
	case n >= blockSize:
		l.sum.Write(l.last[:l.held])
		l.sum.Write(got[:n-blockSize])
		l.held = copy(l.last[:], got[n-blockSize:])
	case n > 0:
		if out := l.held + n - blockSize; out > 0 {
			l.sum.Write(l.last[:out])
			l.held = copy(l.last[:], l.last[out:l.held])
		}
		l.held += copy(l.last[l.held:], got)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		l.failed = err
	}
	return n, err
}

// before is the checksum of what came before the last block.
func (l *lagging) before() string { return hex.EncodeToString(l.sum.Sum(nil)) }
