package change

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/delta"
)

// Text is how a change is to be told in words.
type Text int

// The ways.
const (
	NoText Text = iota
	// Unified is for people: of binary files only that they differ.
	Unified
	// Patch can be given to git apply.
	Patch
)

// Limits of the text of one file, in bytes: longer ones are binary.
const (
	maxText  = 1 << 20
	maxPatch = 64 << 20
)

// Options of [Compare].
type Options struct {
	// Paths are those to compare, with all below them; none are all.
	Paths []string
	Text  Text
	// Settled, if not nil, is told of what the sandbox and the host have alike though
	// the host had another thing when the sandbox got it: an apply that was killed
	// made it, say, and [api.Client.Applied] was not told.
	Settled func(delta.Change)
}

// Compare gives the changes that r tells of (see [api.Client.Changes]) and that make
// a difference on the host, by path. dir is nil for the sandbox's own root, whose
// base nobody but the daemon can see: all is a change there. Errors:
// delta.ErrHostile; those of reading.
func Compare(ctx context.Context, r io.Reader, dir *Dir, o Options) ([]Found, error) {
	c := &comparer{ctx: ctx, r: delta.NewReader(bufio.NewReaderSize(r, 256<<10)), dir: dir, o: o, known: map[string]delta.Entry{}, seen: map[string]bool{}, torn: map[string]bool{}}
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		e, err := c.r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := c.entry(e); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	for _, p := range c.opaque {
		if err := c.below(p, true); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	for i := range c.found {
		if f := &c.found[i]; c.torn[f.Path] {
			f.Hard, f.Conflict = true, "it is being written inside: try again"
		}
	}
	slices.SortFunc(c.found, func(a, b Found) int { return strings.Compare(a.Path, b.Path) })
	return c.found, nil
}

type comparer struct {
	ctx    context.Context //nolint:containedctx // of the one call
	r      *delta.Reader
	dir    *Dir
	o      Options
	known  map[string]delta.Entry
	seen   map[string]bool
	torn   map[string]bool
	opaque []string
	found  []Found
}

func (c *comparer) entry(e delta.Entry) error {
	switch e.Kind {
	case delta.Known:
		c.known[e.Path] = e
		return nil
	case delta.Torn:
		c.torn[e.Path] = true
		return nil
	default:
	}
	c.seen[e.Path] = true
	if c.dir == nil {
		c.bare(e)
		return nil
	}
	if e.Path == "." {
		// The directory itself is the host's to have: only what is in it changes.
		if e.Opaque {
			c.opaque = append(c.opaque, ".")
		}
		return c.dir.is(e.Base)
	}
	host, err := c.dir.stat(e.Path)
	if errors.Is(err, ErrMounted) {
		c.add(Found{FileChange: api.FileChange{Path: e.Path, Kind: api.ChangeModified, Type: typeName(e.Kind), Conflict: err.Error()}, kind: e.Kind, Hard: true})
		return nil
	}
	if err != nil {
		return err
	}
	switch e.Kind {
	case delta.Gone:
		sum := delta.NewSum(e).String()
		if host == nil || e.Applied == sum {
			c.settle(e, host, sum)
			return nil
		}
		return c.deleted(e.Path, host, e, true)
	case delta.File:
		return c.file(e, host)
	default:
	}
	sum := delta.NewSum(e).String()
	if e.Opaque && host != nil && host.Kind == delta.Dir {
		c.opaque = append(c.opaque, e.Path)
	}
	if e.Applied == sum {
		return nil
	}
	f, changed := c.start(e, host)
	f.sum = sum
	if !changed {
		switch e.Kind {
		case delta.Dir:
			changed = e.Mode&permissions != host.Mode&permissions
			f.Kind = api.ChangeMode
		case delta.Link:
			changed = e.Link != string(host.Link)
		default:
			changed = true
		}
	}
	if !changed {
		c.settle(e, host, sum)
		return nil
	}
	if e.Kind == delta.Special {
		f.Hard, f.Conflict = true, "a socket, pipe or device is not applied"
	}
	if err := c.text(&f, e, host, nil); err != nil {
		return err
	}
	return c.finish(f, e, host)
}

// settle tells of what both sides have alike.
func (c *comparer) settle(e delta.Entry, host *delta.Base, sum string) {
	if c.o.Settled != nil && e.Applied != sum && conflict(e.Base, host, e.Since) != "" {
		c.o.Settled(delta.Change{Path: []byte(e.Path), Sum: sum, Base: host})
	}
}

// start begins a change; changed says that there is one whatever it holds.
func (c *comparer) start(e delta.Entry, host *delta.Base) (f Found, changed bool) {
	f = Found{FileChange: api.FileChange{
		Path: e.Path, Kind: api.ChangeModified, Type: typeName(e.Kind), Mode: octal(e.Mode), Size: e.Size, Link: e.Link,
		Conflict: conflict(e.Base, host, e.Since),
		Flags:    flags(e.Path, e.Kind, e.Mode, e.Link, host),
	}, kind: e.Kind, mode: e.Mode, host: host}
	if host == nil {
		f.Kind = api.ChangeAdded
		return f, true
	}
	f.OldMode, f.OldSize = octal(host.Mode), host.Size
	if host.Kind != e.Kind {
		f.Kind, f.OldType = api.ChangeType, typeName(host.Kind)
		return f, true
	}
	return f, false
}

// finish adds a change, and where it replaces a directory what that held.
func (c *comparer) finish(f Found, e delta.Entry, host *delta.Base) error {
	if f.Mode == f.OldMode {
		f.OldMode = ""
	}
	c.add(f)
	if host != nil && host.Kind == delta.Dir && e.Kind != delta.Dir {
		return c.below(e.Path, false)
	}
	return nil
}

func (c *comparer) add(f Found) {
	// A directory that is new comes with what is asked for below it.
	if delta.Within(c.o.Paths, f.Path) || len(c.o.Paths) == 0 || f.kind == delta.Dir && f.Kind != api.ChangeMode && delta.Covers(c.o.Paths, f.Path) {
		c.found = append(c.found, f)
	}
}

// bare is a change of which only the sandbox's side is known.
func (c *comparer) bare(e delta.Entry) {
	f := Found{FileChange: api.FileChange{Path: e.Path, Kind: api.ChangeModified, Type: typeName(e.Kind), Mode: octal(e.Mode), Size: e.Size, Link: e.Link}, kind: e.Kind}
	switch {
	case e.Kind == delta.Gone:
		f.Kind, f.Type, f.Mode = api.ChangeDeleted, "", ""
	case e.Kind == delta.Dir && !e.Opaque:
		return // it holds something, or did
	}
	c.add(f)
}

// file is a regular file, whose content comes next.
func (c *comparer) file(e delta.Entry, host *delta.Base) error {
	f, changed := c.start(e, host)
	if e.Long {
		f.Hard, f.Conflict = true, fmt.Sprintf("it is %d bytes long: take it with cove cp", e.Size)
		f.Binary = true
		return c.finish(f, e, host)
	}
	limit := int64(maxText)
	if c.o.Text == Patch {
		limit = maxPatch
	}
	sum := delta.NewSum(e)
	kept := &bytes.Buffer{}
	keep := e.Size <= limit
	var old *bufio.Reader
	same := !changed && host.Size == e.Size
	if same {
		was, err := c.dir.open(e.Path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
		switch {
		case errors.Is(err, unix.EACCES):
			same = false // so that somebody decides
		case err != nil:
			return err
		default:
			defer func() { _ = was.Close() }()
			old = bufio.NewReaderSize(was, 64<<10)
		}
	}
	buf, other := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := c.r.Read(buf)
		_, _ = sum.Write(buf[:n])
		if keep {
			kept.Write(buf[:n])
		}
		if same && n > 0 {
			if _, rerr := io.ReadFull(old, other[:n]); rerr != nil || !bytes.Equal(buf[:n], other[:n]) {
				same = false
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	f.sum = sum.String()
	if e.Applied == f.sum {
		return nil
	}
	if same {
		if e.Mode&permissions == host.Mode&permissions {
			c.settle(e, host, f.sum)
			return nil
		}
		f.Kind = api.ChangeMode
	}
	var now []byte
	if keep {
		now = kept.Bytes()
	}
	if err := c.text(&f, e, host, now); err != nil {
		return err
	}
	return c.finish(f, e, host)
}

// deleted is what the sandbox deleted, with all that is below it on the host.
func (c *comparer) deleted(p string, host *delta.Base, e delta.Entry, known bool) error {
	if !known {
		k := c.known[p]
		e.Base, e.Since = k.Base, max(k.Since, e.Since)
	}
	f := Found{FileChange: api.FileChange{
		Path: p, Kind: api.ChangeDeleted, Type: typeName(host.Kind), OldMode: octal(host.Mode), OldSize: host.Size, Link: string(host.Link),
		Conflict: conflict(e.Base, host, e.Since), Flags: flags(p, delta.Gone, 0, "", host),
	}, kind: delta.Gone, host: host}
	if known {
		f.sum = delta.NewSum(e).String()
	}
	if err := c.text(&f, delta.Entry{Path: p, Kind: delta.Gone}, host, nil); err != nil {
		return err
	}
	c.add(f)
	if host.Kind == delta.Dir {
		return c.below(p, false)
	}
	return nil
}

// below are deletions of all that the host has in a directory that is deleted,
// replaced or hidden; of a hidden one but for what the sandbox has there again.
func (c *comparer) below(p string, hidden bool) error {
	d, err := c.dir.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	defer func() { _ = d.Close() }()
	for _, name := range names {
		at := path.Join(p, name)
		if !delta.Covers(c.o.Paths, at) {
			continue
		}
		if err := c.child(d, name, at, hidden); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparer) child(d *os.File, name, at string, hidden bool) error {
	host, err := statAt(d, name)
	if err != nil || host == nil {
		return err
	}
	if hidden && c.seen[at] {
		// What it holds is hidden with it, and it may be hidden itself.
		if host.Kind == delta.Dir && !slices.Contains(c.opaque, at) && c.isDir(at) {
			return c.below(at, true)
		}
		return nil
	}
	return c.deleted(at, host, delta.Entry{Path: at}, false)
}

// isDir tells whether the sandbox has a directory there: what replaces one has been
// told with what it held.
func (c *comparer) isDir(p string) bool {
	for i := range c.found {
		if c.found[i].Path == p {
			return c.found[i].kind == delta.Dir
		}
	}
	return true
}
