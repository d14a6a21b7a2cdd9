package change

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // git's names of contents
	"errors"
	"fmt"
	"io"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"
	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/delta"
)

// side is a file before or after a change, as git sees it.
type side struct {
	there bool
	mode  string
	data  []byte
	whole bool // data is all of it
}

// text fills in what is told of a change in lines: how many, and the change itself.
// now is the content that a file is to have, nil for one that is too long.
func (c *comparer) text(f *Found, e delta.Entry, host *delta.Base, now []byte) error {
	was := side{whole: true}
	if host != nil && (host.Kind == delta.File || host.Kind == delta.Link) {
		was = side{there: true, mode: c.gitMode(host.Kind, host.Mode), data: host.Link, whole: true}
		limit := int64(maxText)
		if c.o.Text == Patch {
			limit = maxPatch
		}
		if host.Kind == delta.File {
			var err error
			if was.data, was.whole, err = c.content(e.Path, host.Size, limit); err != nil {
				return err
			}
		}
	}
	is := side{whole: true}
	switch e.Kind {
	case delta.File:
		is = side{there: true, mode: c.gitMode(delta.File, e.Mode), data: now, whole: now != nil || e.Size == 0}
	case delta.Link:
		is = side{there: true, mode: c.gitMode(delta.Link, 0), data: []byte(e.Link), whole: true}
	default:
	}
	if !was.there && !is.there {
		f.Diff = c.directory(f)
		return nil
	}
	f.Binary = !was.whole || !is.whole || binary(was.data) || binary(is.data)
	if !f.Binary && f.Kind != api.ChangeMode {
		f.Added, f.Removed = count(string(was.data), string(is.data))
	}
	if c.o.Text == NoText {
		return nil
	}
	if f.Kind == api.ChangeType && was.there && is.there {
		// As git says it.
		f.Diff = c.render(f.Path, was, side{whole: true}) + c.render(f.Path, side{whole: true}, is)
		return nil
	}
	f.Diff = c.render(f.Path, was, is)
	return nil
}

// content reads a file of the host's where it is no longer than limit.
func (c *comparer) content(p string, size, limit int64) (data []byte, whole bool, err error) {
	if size > limit {
		return nil, false, nil
	}
	file, err := c.dir.open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.EACCES) {
		return nil, false, nil // the caller's own, but closed to everybody
	}
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = file.Close() }()
	data, err = io.ReadAll(io.LimitReader(file, limit+1))
	return data, int64(len(data)) <= limit, err
}

// gitMode is a mode as git writes it; for people with all its bits, of which git
// knows one.
func (c *comparer) gitMode(k delta.Kind, mode uint32) string {
	switch {
	case k == delta.Link:
		return "120000"
	case c.o.Text != Patch:
		return fmt.Sprintf("100%03o", mode&permissions)
	case mode&0o100 != 0:
		return "100755"
	}
	return "100644"
}

// binary is git's way to tell: a NUL in the beginning.
func binary(data []byte) bool { return bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 }

func count(was, is string) (added, removed int) {
	for _, e := range udiff.Lines(was, is) {
		added += lines(e.New)
		removed += lines(was[e.Start:e.End])
	}
	return added, removed
}

func lines(s string) int {
	n := strings.Count(s, "\n")
	if s != "" && !strings.HasSuffix(s, "\n") {
		n++
	}
	return n
}

// directory tells of what git does not know.
func (c *comparer) directory(f *Found) string {
	if c.o.Text != Unified {
		return ""
	}
	name := Quote(f.Path)
	switch f.Kind {
	case api.ChangeAdded, api.ChangeType:
		return fmt.Sprintf("new %s %s (mode %s)\n", f.Type, name, f.Mode)
	case api.ChangeDeleted:
		return fmt.Sprintf("deleted %s %s\n", f.Type, name)
	case api.ChangeMode:
		return fmt.Sprintf("mode of %s %s: %s -> %s\n", f.Type, name, f.OldMode, f.Mode)
	}
	return ""
}

func (c *comparer) render(p string, was, is side) string {
	var b strings.Builder
	from, to := Quote("a/"+p), Quote("b/"+p)
	fmt.Fprintf(&b, "diff --git %s %s\n", from, to)
	switch {
	case !was.there:
		fmt.Fprintf(&b, "new file mode %s\n", is.mode)
	case !is.there:
		fmt.Fprintf(&b, "deleted file mode %s\n", was.mode)
	case was.mode != is.mode:
		fmt.Fprintf(&b, "old mode %s\nnew mode %s\n", was.mode, is.mode)
	}
	if was.whole && is.whole && bytes.Equal(was.data, is.data) && was.there == is.there {
		return b.String()
	}
	if c.o.Text == Patch && was.whole && is.whole {
		fmt.Fprintf(&b, "index %s..%s\n", blob(was), blob(is))
	}
	if !was.whole || !is.whole || binary(was.data) || binary(is.data) {
		if c.o.Text == Patch && was.whole && is.whole {
			b.WriteString("GIT binary patch\n")
			literal(&b, is.data)
			literal(&b, was.data)
			return b.String()
		}
		fmt.Fprintf(&b, "Binary files %s and %s differ\n", orNull(from, was), orNull(to, is))
		return b.String()
	}
	tab := ""
	if strings.Contains(p, " ") && !strings.HasPrefix(from, `"`) {
		tab = "\t" // so that patch programs see where the name ends
	}
	label := func(name string, s side) string {
		if !s.there {
			return "/dev/null"
		}
		return name + tab
	}
	b.WriteString(udiff.Unified(label(from, was), label(to, is), string(was.data), string(is.data)))
	return b.String()
}

func orNull(name string, s side) string {
	if !s.there {
		return "/dev/null"
	}
	return name
}

// blob is git's name of a content.
func blob(s side) string {
	if !s.there {
		return strings.Repeat("0", 40)
	}
	h := sha1.New() //nolint:gosec // see above
	fmt.Fprintf(h, "blob %d\x00", len(s.data))
	_, _ = h.Write(s.data)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Quote writes a name as git does (core.quotePath): with escapes, in quotes, where it
// has bytes that are not plain.
func Quote(p string) string {
	plain := true
	var b strings.Builder
	for i := range len(p) {
		switch ch := p[i]; {
		case ch == '"' || ch == '\\':
			plain = false
			b.WriteByte('\\')
			b.WriteByte(ch)
		case ch == '\n':
			plain = false
			b.WriteString(`\n`)
		case ch == '\t':
			plain = false
			b.WriteString(`\t`)
		case ch < 0x20 || ch >= 0x7f:
			plain = false
			fmt.Fprintf(&b, `\%03o`, ch)
		default:
			b.WriteByte(ch)
		}
	}
	if plain {
		return p
	}
	return `"` + b.String() + `"`
}

// base85 is git's alphabet (base85.c).
const base85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"

// literal writes a content as a hunk of a binary patch.
func literal(b *strings.Builder, data []byte) {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(data)
	_ = w.Close() // into memory
	fmt.Fprintf(b, "literal %d\n", len(data))
	for rest := z.Bytes(); len(rest) > 0; {
		part := rest[:min(len(rest), 52)]
		rest = rest[len(part):]
		if len(part) <= 26 {
			b.WriteByte(byte('A' + len(part) - 1))
		} else {
			b.WriteByte(byte('a' + len(part) - 27))
		}
		for len(part) > 0 {
			var group [4]byte
			part = part[copy(group[:], part):]
			n := uint32(group[0])<<24 | uint32(group[1])<<16 | uint32(group[2])<<8 | uint32(group[3])
			var out [5]byte
			for i := 4; i >= 0; i-- {
				out[i] = base85[n%85]
				n /= 85
			}
			b.Write(out[:])
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}
