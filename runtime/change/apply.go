package change

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
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

// Partial is how the names begin of files that are being written: what a killed
// apply leaves can be removed.
const Partial = ".cove-apply-"

// ErrChanged: the file is not what it was when it was compared, on the host or in the
// sandbox.
var ErrChanged = errors.New("it changed meanwhile: try again")

// Outcome is what became of one change.
type Outcome struct {
	Path string
	Err  error // nil: it was made
}

// Apply makes the changes of plan, which [Compare] found in dir, with what r, the
// stream of the same changes again, brings. Each file appears whole or not at all,
// with the caller as its owner and the sandbox's permissions; nothing is made twice,
// so an apply that was killed is done again. What fails is told and the rest goes on;
// an error is one of the stream. The changes that were made are for
// [api.Client.Applied].
func Apply(ctx context.Context, r io.Reader, dir *Dir, plan []Found, tell func(Outcome)) ([]delta.Change, error) {
	a := &applier{dir: dir, plan: map[string]*Found{}, order: plan, done: map[string]bool{}, tell: tell}
	for i := range plan {
		a.plan[plan[i].Path] = &plan[i]
	}
	stream := delta.NewReader(bufio.NewReaderSize(r, 256<<10))
	for {
		if err := ctx.Err(); err != nil {
			return a.changes, context.Cause(ctx)
		}
		e, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a.changes, err
		}
		f := a.plan[e.Path]
		if f == nil || f.kind == delta.Gone || e.Kind == delta.Known || a.done[e.Path] {
			continue
		}
		if e.Kind != f.kind {
			a.end(f, ErrChanged)
			continue
		}
		a.end(f, a.make(f, e, stream))
	}
	// Deletions, what is in a directory first; and what directories are to allow.
	for i := len(plan) - 1; i >= 0; i-- {
		f := &plan[i]
		switch {
		case a.done[f.Path]:
		case f.kind == delta.Gone:
			a.end(f, a.remove(f))
		default:
			a.end(f, ErrChanged) // the sandbox has it no more
		}
	}
	for _, f := range slices.Backward(a.dirs) {
		if err := a.chmod(f); err != nil {
			tell(Outcome{f.Path, err})
		}
	}
	return a.changes, nil
}

type applier struct {
	dir     *Dir
	plan    map[string]*Found
	order   []Found
	done    map[string]bool
	dirs    []*Found // whose mode is set last
	changes []delta.Change
	tell    func(Outcome)
}

// end notes what became of a change.
func (a *applier) end(f *Found, err error) {
	if a.done[f.Path] {
		return
	}
	a.done[f.Path] = true
	if err == nil {
		var now *delta.Base
		if now, err = a.dir.stat(f.Path); err == nil {
			a.changes = append(a.changes, delta.Change{Path: []byte(f.Path), Sum: f.sum, Base: now})
		}
	}
	a.tell(Outcome{f.Path, err})
}

// unchanged fails where the host has another thing there than when it was compared.
func unchanged(dir *os.File, f *Found) error {
	now, err := statAt(dir, path.Base(f.Path))
	if err != nil {
		return err
	}
	switch was := f.host; {
	case was == nil && now == nil:
		return nil
	case was == nil || now == nil || was.Kind != now.Kind || was.Ino != now.Ino:
		return ErrChanged
	case was.Kind != delta.Dir && (was.Ctime != now.Ctime || was.Size != now.Size):
		return ErrChanged
	}
	return nil
}

// make makes what is there to be.
func (a *applier) make(f *Found, e delta.Entry, content io.Reader) error {
	parent, err := a.dir.parent(f.Path)
	if err != nil {
		return fmt.Errorf("its directory: %w", err)
	}
	defer func() { _ = parent.Close() }()
	if err := unchanged(parent, f); err != nil {
		return err
	}
	name := path.Base(f.Path)
	switch {
	case f.kind == delta.File && f.Kind == api.ChangeMode:
		if err := sumOf(f, e, content, io.Discard); err != nil {
			return err
		}
		return chmodAt(parent, name, f)
	case f.kind == delta.File:
		return a.file(parent, name, f, e, content)
	case f.sum != delta.NewSum(e).String():
		return ErrChanged
	case f.kind == delta.Link:
		if err := a.clear(parent, name, f); err != nil {
			return err
		}
		tmp := partial()
		if err := unix.Symlinkat(e.Link, int(parent.Fd()), tmp); err != nil {
			return err
		}
		return place(parent, tmp, name, f)
	case f.kind == delta.Dir:
		return a.directory(parent, name, f)
	}
	return errors.New("it is no file, directory or link")
}

func sumOf(f *Found, e delta.Entry, from io.Reader, to io.Writer) error {
	sum := delta.NewSum(e)
	if _, err := io.Copy(io.MultiWriter(sum, to), from); err != nil {
		return err
	}
	if sum.String() != f.sum {
		return ErrChanged
	}
	return nil
}

func partial() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return Partial + hex.EncodeToString(b[:])
}

// file writes a file beside its place, without a name where the file system can, and
// puts it there.
func (a *applier) file(parent *os.File, name string, f *Found, e delta.Entry, content io.Reader) (err error) {
	tmp := partial()
	named := false
	fd, err := unix.Openat(int(parent.Fd()), ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		named = true
		fd, err = unix.Openat(int(parent.Fd()), tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	}
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	defer func() {
		_ = out.Close()
		if err != nil && named {
			_ = unix.Unlinkat(int(parent.Fd()), tmp, 0)
		}
	}()
	if err := sumOf(f, e, content, out); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, f.mode&permissions); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := a.clear(parent, name, f); err != nil {
		return err
	}
	if !named {
		if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), int(parent.Fd()), tmp, unix.AT_SYMLINK_FOLLOW); err != nil {
			return err
		}
		named = true
	}
	return place(parent, tmp, name, f)
}

// place gives what was made its name, in place of what was there when it was
// compared and of nothing else.
func place(parent *os.File, tmp, name string, f *Found) error {
	err := unchanged(parent, f)
	if f.host != nil && f.host.Kind == delta.Dir {
		err = nil // it was cleared away
	}
	if err == nil && (f.host == nil || f.host.Kind == delta.Dir) {
		err = unix.Renameat2(int(parent.Fd()), tmp, int(parent.Fd()), name, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) { // not on this file system
			err = unix.Renameat(int(parent.Fd()), tmp, int(parent.Fd()), name)
		}
		if errors.Is(err, unix.EEXIST) {
			err = ErrChanged
		}
	} else if err == nil {
		err = unix.Renameat(int(parent.Fd()), tmp, int(parent.Fd()), name)
	}
	if err != nil {
		_ = unix.Unlinkat(int(parent.Fd()), tmp, 0)
	}
	return err
}

// clear removes a directory in whose place something else is to be, when all that is
// in it is to go.
func (a *applier) clear(parent *os.File, name string, f *Found) error {
	if f.host == nil || f.host.Kind != delta.Dir {
		return nil
	}
	for i := len(a.order) - 1; i >= 0; i-- {
		g := &a.order[i]
		if g.kind == delta.Gone && strings.HasPrefix(g.Path, f.Path+"/") {
			a.end(g, a.remove(g))
		}
	}
	return unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR)
}

func (a *applier) directory(parent *os.File, name string, f *Found) error {
	if f.Kind == api.ChangeMode {
		a.dirs = append(a.dirs, f)
		return nil
	}
	if f.host != nil { // not a directory
		if err := unix.Unlinkat(int(parent.Fd()), name, 0); err != nil {
			return err
		}
	}
	if err := unix.Mkdirat(int(parent.Fd()), name, f.mode&permissions|0o700); err != nil {
		return err
	}
	a.dirs = append(a.dirs, f)
	return nil
}

func (a *applier) chmod(f *Found) error {
	parent, err := a.dir.parent(f.Path)
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	if err := chmodAt(parent, path.Base(f.Path), f); err != nil {
		return err
	}
	now, err := statAt(parent, path.Base(f.Path))
	if err == nil {
		for i := range a.changes {
			if string(a.changes[i].Path) == f.Path {
				a.changes[i].Base = now
			}
		}
	}
	return err
}

// chmodAt sets the mode of a file or directory, and of nothing that a link leads to.
func chmodAt(parent *os.File, name string, f *Found) error {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if delta.BaseOf(&st).Kind != f.kind {
		return ErrChanged
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), f.mode&permissions)
}

// remove deletes what the sandbox deleted.
func (a *applier) remove(f *Found) error {
	parent, err := a.dir.parent(f.Path)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	now, err := statAt(parent, path.Base(f.Path))
	if err != nil || now == nil {
		return err
	}
	if err := unchanged(parent, f); err != nil {
		return err
	}
	how := 0
	if now.Kind == delta.Dir {
		how = unix.AT_REMOVEDIR
	}
	if err := unix.Unlinkat(int(parent.Fd()), path.Base(f.Path), how); err != nil {
		if errors.Is(err, unix.ENOTEMPTY) {
			return errors.New("there is something in it that is not deleted inside")
		}
		return err
	}
	return nil
}
