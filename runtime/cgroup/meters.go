package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Meters reads what groups use, again and again. It keeps their files open: to
// read an open one takes a tenth of the time. Its methods may be called by any
// goroutine; its owner closes what is open by [Meters.Keep].
type Meters struct {
	tree *Tree

	mu   sync.Mutex
	open map[string]meter
	// most is how many groups may have open files.
	most  int
	buf   []byte
	stack stack
}

// filesPart is the part of the process's open files that meters may take.
const filesPart = 4

// maxFile is more than any of the files that are read has.
const maxFile = 16 << 10

// Meters returns the meters of an instance's groups.
func (t *Tree) Meters() *Meters {
	m := &Meters{tree: t, open: map[string]meter{}, most: 1, buf: make([]byte, maxFile), stack: stack{"/sys", map[string]bool{}}}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		m.most = int(min(limit.Cur/filesPart, 1<<20)) / len(v2Figures(nil))
	}
	return m
}

// Usage reads what the sandbox uses now, in about 20 µs once its files are open.
// It fails with fs.ErrNotExist when there is no such group, or only a part of it.
func (m *Meters) Usage(id string) (Usage, error) {
	if err := checkID(id); err != nil {
		return Usage{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	kept, ok := m.open[id]
	if ok {
		u, err := kept.read(m.buf)
		if err == nil {
			return u, nil
		}
		kept.close()
		delete(m.open, id)
		if !isGone(err) {
			return Usage{}, err
		}
		// The sandbox was stopped, and may have been started again.
	}
	k, err := m.meter(id)
	if err != nil {
		return Usage{}, fmt.Errorf("read the usage of %s: %w", id, err)
	}
	u, err := k.read(m.buf)
	if err != nil || len(m.open) >= m.most {
		k.close()
	} else {
		m.open[id] = k
	}
	if isGone(err) {
		err = fmt.Errorf("read the usage of %s: %w", id, fs.ErrNotExist)
	}
	return u, err
}

// Keep closes the files of every group that keep does not name.
func (m *Meters) Keep(keep func(id string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, k := range m.open {
		if !keep(id) {
			k.close()
			delete(m.open, id)
		}
	}
}

// meter is the open files of one group.
type meter struct {
	files   []openFigure
	missing []Quantity
}

type openFigure struct {
	figure
	fd int
}

// meter opens the files of a group. A file that is not there in a group that is
// makes its quantity missing.
func (m *Meters) meter(id string) (_ meter, err error) {
	var k meter
	t := m.tree
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	figures := v1Figures(m.stack.above)
	if t.layout.Mode == Unified {
		figures = v2Figures(m.stack.above)
	}
	for _, f := range figures {
		h, ok := t.counting(f)
		if !ok {
			k.lack(f.quantity)
			continue
		}
		dir := t.dir(h, id)
		fd, err := open(filepath.Join(dir, f.file), unix.O_RDONLY)
		switch {
		case err == nil:
			k.files = append(k.files, openFigure{f, fd})
		case errors.Is(err, unix.EOPNOTSUPP):
			k.lack(f.quantity) // pressure that is turned off (psi=0)
		case !errors.Is(err, fs.ErrNotExist):
			return k, err
		case unix.Access(dir, unix.F_OK) != nil:
			return k, err // the group itself is not there
		default:
			k.lack(f.quantity)
		}
	}
	if len(k.files) == 0 {
		return k, fmt.Errorf("no controller counts: %w", ErrUnavailable)
	}
	return k, nil
}

// counting finds the hierarchy in which a figure is.
func (t *Tree) counting(f figure) (Hierarchy, bool) {
	if f.controller != v2 {
		return t.with(f.controller)
	}
	i := slices.IndexFunc(t.layout.Hierarchies, func(h Hierarchy) bool { return h.V2 })
	if i < 0 {
		return Hierarchy{}, false
	}
	return t.layout.Hierarchies[i], true
}

// lack adds to what is missing. The slices that were given out stay as they are.
func (m *meter) lack(q Quantity) {
	if q != "" && !slices.Contains(m.missing, q) {
		m.missing = append(slices.Clip(m.missing), q)
	}
}

// read reads all figures. One that cannot be understood is missing; an error
// means that the group is gone or cannot be read.
func (m meter) read(buf []byte) (Usage, error) {
	var u Usage
	for _, f := range m.files {
		n := 0
		err := restart(func() (err error) {
			n, err = unix.Pread(f.fd, buf, 0)
			return err
		})
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			m.lack(f.quantity) // swap that is not accounted for, on some kernels
			continue
		case err != nil:
			return Usage{}, &fs.PathError{Op: "read", Path: f.file, Err: err}
		}
		if err := f.figure.read(&u, buf[:n]); err != nil {
			m.lack(f.quantity)
		}
	}
	u.Missing = m.missing
	return u, nil
}

func (m *meter) close() {
	for _, f := range m.files {
		_ = unix.Close(f.fd) // only read
	}
	m.files = nil
}
