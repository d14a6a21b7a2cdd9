package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/files"
	"cove/runtime/frame"
)

// copying is one copy under way.
type copying struct {
	a        *app
	client   *api.Client
	flags    copyFlags
	src, dst endpoint
	count    files.Counter
}

// copyFiles carries a copy out. What could not be copied of it is one line and
// status 1.
func (a *app) copyFiles(ctx context.Context, src, dst endpoint, flags copyFlags) error {
	if src.tar && isTerminal(a.stdin) {
		return usagef("- reads a tar from standard input, which is a terminal")
	}
	if dst.tar && isTerminal(a.stdout) {
		return usagef("- writes a tar to standard output, which is a terminal")
	}
	if src.sandbox == "" && !src.tar {
		// Before a sandbox is asked for anything.
		if _, err := os.Lstat(src.path); err != nil {
			return fmt.Errorf("%s: %w", src.path, reasonOf(err))
		}
	}
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	c := &copying{a: a, client: client, flags: flags, src: src, dst: dst}
	clearLine := func() {}
	if isTerminal(a.stderr) && !flags.quiet {
		clearLine = c.showProgress()
		defer clearLine()
	}
	var sums []told
	switch {
	case src.sandbox == "":
		sums, err = c.in(ctx)
	case dst.sandbox == "":
		sums, err = c.out(ctx)
	default:
		sums, err = c.across(ctx)
	}
	if ctx.Err() != nil {
		return context.Canceled
	}
	if err != nil {
		return err
	}
	clearLine() // before anything else is said
	return a.tell(sums)
}

// reasonOf is why a system call failed, without what it was and on what.
func reasonOf(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// told is what one end of the copy says of it.
type told struct {
	where endpoint
	sum   files.Summary
}

// end is the sandbox's end of a copy: the stream to its program.
type end struct {
	where  endpoint
	conn   *api.Stream
	stderr bytes.Buffer
	stop   func() bool
}

// open begins a copy at a sandbox's end.
func (c *copying) open(ctx context.Context, where endpoint, r api.FilesRequest) (*end, error) {
	r.User = c.flags.user
	conn, err := c.client.Files(ctx, where.sandbox, r)
	if err != nil {
		return nil, explain(err, where.sandbox)
	}
	return &end{where: where, conn: conn, stop: context.AfterFunc(ctx, func() { closeQuietly(conn) })}, nil
}

func (e *end) close() {
	e.stop()
	closeQuietly(e.conn)
}

func (c *copying) get(ctx context.Context, name string) (*end, error) {
	return c.open(ctx, c.src, api.FilesRequest{Op: api.FilesGet, Path: c.src.path, Name: cmp.Or(name, files.Root), Follow: c.flags.follow})
}

func (c *copying) put(ctx context.Context) (*end, error) {
	r := api.FilesRequest{Op: api.FilesPut, Path: c.dst.path, Name: c.src.name()}
	if c.src.tar {
		r.Op = api.FilesExtract
	}
	return c.open(ctx, c.dst, r)
}

// pump runs the sandbox's end and returns what it says. The error is of a stream
// that broke, or of a writer.
func (e *end) pump(in io.Reader, out io.Writer) (told, error) {
	st, err := e.conn.Pump(frame.Streams{Stdin: in, Stdout: out, Stderr: &limited{&e.stderr}})
	if err != nil {
		return told{where: e.where}, err
	}
	t := told{where: e.where}
	switch {
	case json.Unmarshal(e.stderr.Bytes(), &t.sum) == nil:
		if st.Code != 0 && t.sum.Fatal == "" && t.sum.Failed == 0 {
			t.sum.Fatal = "the copy failed in the sandbox"
		}
	case st.Reason == frame.ReasonGone:
		return t, fmt.Errorf("%s: the sandbox was stopped before all was copied", e.where.sandbox)
	case st.Reason == frame.ReasonOOM:
		return t, fmt.Errorf("%s: the copy was ended in the sandbox: out of memory", e.where.sandbox)
	default:
		return t, fmt.Errorf("%s: %s", e.where.sandbox, cmp.Or(st.Error, "the copy was ended in the sandbox"))
	}
	return t, nil
}

// limited takes of what a sandbox says no more than is worth keeping.
type limited struct{ b *bytes.Buffer }

const maxSaid = 64 << 10

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), maxSaid-l.b.Len())])
	return len(p), nil
}

// in copies into a sandbox.
func (c *copying) in(ctx context.Context) ([]told, error) {
	to, err := c.put(ctx)
	if err != nil {
		return nil, err
	}
	defer to.close()
	if c.src.tar {
		t, err := to.pump(&counted{c.a.stdin, &c.count}, nil)
		return []told{t}, err
	}
	here := told{where: c.src}
	var wg sync.WaitGroup
	wg.Go(func() {
		out := bufio.NewWriterSize(stdinOf{to.conn, nil}, frame.Chunk)
		sum, err := files.Pack(out, c.src.path, files.PackOptions{Name: files.Root, Follow: c.flags.follow, Count: &c.count})
		here.sum = sum
		if err == nil {
			err = out.Flush()
		}
		if err != nil && !errors.Is(err, io.ErrClosedPipe) { // of that the other end says why
			here.sum.Fatal = err.Error()
		}
		// Also where it broke off, which is told: when the other end has ended
		// by itself, a stopped sandbox is free again.
		_ = to.conn.CloseStdin()
	})
	there, err := to.pump(nil, nil)
	wg.Wait()
	if here.sum.Fatal != "" {
		return []told{here}, nil
	}
	return []told{there, here}, err
}

// stdinOf is the standard input of a sandbox's end as a writer.
type stdinOf struct {
	conn  *api.Stream
	count *files.Counter // nil: who writes counts
}

func (s stdinOf) Write(p []byte) (int, error) {
	if s.count != nil {
		s.count.Bytes.Add(int64(len(p)))
	}
	if s.conn.WriteStdin(p) != nil {
		return 0, io.ErrClosedPipe // whoever receives of it knows why
	}
	return len(p), nil
}

// out copies out of a sandbox. What comes is looked at as hostile.
func (c *copying) out(ctx context.Context) ([]told, error) {
	name := ""
	if c.dst.tar {
		name = c.src.name() // as tar calls it in the directory above
	}
	from, err := c.get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer from.close()
	if c.dst.tar {
		t, err := from.pump(nil, &countedOut{c.a.stdout, &c.count})
		return []told{t}, err
	}
	var there told
	var perr error
	r, w := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		there, perr = from.pump(nil, w)
		_ = w.CloseWithError(perr)
	})
	umask := unix.Umask(0o077)
	unix.Umask(umask)
	sum, err := files.Unpack(r, files.UnpackOptions{Target: c.dst.path, Name: c.src.name(), Umask: uint32(umask), Count: &c.count})
	if err != nil {
		from.close() // it may have more to say, to nobody
	}
	_ = r.Close()
	wg.Wait()
	here := told{where: c.dst, sum: sum}
	switch {
	case there.sum.Fatal != "":
		// The reason of whatever is wrong with the stream.
	case err != nil && errors.Is(err, io.ErrUnexpectedEOF) && perr != nil:
		return nil, perr
	case err != nil:
		here.sum.Fatal = err.Error()
	case perr != nil:
		return nil, perr
	}
	return []told{there, here}, nil
}

// across copies from one sandbox into another, by way of this process.
func (c *copying) across(ctx context.Context) ([]told, error) {
	from, err := c.get(ctx, "")
	if err != nil {
		return nil, err
	}
	defer from.close()
	to, err := c.put(ctx)
	if err != nil {
		return nil, err
	}
	defer to.close()
	var source told
	var serr error
	var wg sync.WaitGroup
	wg.Go(func() {
		source, serr = from.pump(nil, stdinOf{to.conn, &c.count})
		// Also where it broke off, as for a copy from here.
		_ = to.conn.CloseStdin()
	})
	target, terr := to.pump(nil, nil)
	from.close() // where the target ended first, it has more to say
	wg.Wait()
	switch {
	case source.sum.Fatal != "":
		return []told{source}, nil
	case serr != nil && !errors.Is(serr, io.ErrClosedPipe): // of that the target says why
		return nil, serr
	}
	return []told{source, target}, terr
}

// counted counts what is read for whoever watches.
type counted struct {
	r io.Reader
	n *files.Counter
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Bytes.Add(int64(n))
	return n, err
}

type countedOut struct {
	w io.Writer
	n *files.Counter
}

func (c *countedOut) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Bytes.Add(int64(n))
	return n, err
}

// tell says what of a copy is to be known: what failed as the error, the rest as
// lines beside it.
func (a *app) tell(ends []told) error {
	var failed int64
	var first string
	for _, t := range ends {
		at := ""
		if t.where.sandbox != "" {
			at = t.where.sandbox + ":"
		}
		if t.sum.Fatal != "" {
			return &exitError{statusFailed, errors.New(at + t.sum.Fatal)}
		}
		if t.sum.Failed > 0 && first == "" {
			first = at + t.sum.FirstFailed
		}
		failed += max(t.sum.Failed, 0)
		if t.sum.Skipped > 0 {
			a.warn("cp: left out %s%s%s", at, t.sum.FirstSkipped, more(t.sum.Skipped))
		}
		if t.where.sandbox == "" && t.sum.Outward > 0 {
			a.warn("cp: a link leads out of what was copied: %s%s", t.sum.FirstOutward, more(t.sum.Outward))
		}
	}
	if failed > 0 {
		return &exitError{statusFailed, fmt.Errorf("not all was copied: %s%s", first, more(failed))}
	}
	return nil
}

// more tells of the others where the first of n was named.
func more(n int64) string {
	if n < 2 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n-1)
}
