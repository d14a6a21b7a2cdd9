package cgroup

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime reads how much processor time the sandbox has used since its group was
// made, and nothing else: for who looks at many sandboxes now and then and keeps
// no files open for it. It fails with fs.ErrNotExist when there is no such group,
// and with [ErrUnavailable] where the host does not count.
func (t *Tree) CPUTime(id string) (time.Duration, error) {
	if err := checkID(id); err != nil {
		return 0, err
	}
	figures := v1Figures(nil)
	if t.layout.Mode == Unified {
		figures = v2Figures(nil)
	}
	for _, f := range figures {
		if f.quantity != CPU {
			continue
		}
		h, ok := t.counting(f)
		if !ok {
			continue
		}
		var buf [4 << 10]byte
		n, err := readOnce(filepath.Join(t.dir(h, id), f.file), buf[:])
		if isGone(err) {
			return 0, fmt.Errorf("read the processor time of %s: %w", id, fs.ErrNotExist)
		}
		var u Usage
		if err == nil {
			err = f.read(&u, buf[:n])
		}
		if err != nil {
			return 0, fmt.Errorf("read the processor time of %s: %w", id, err)
		}
		return u.CPU, nil
	}
	return 0, fmt.Errorf("nothing counts processor time: %w", ErrUnavailable)
}

// Unwritten is how many bytes of files that the sandbox wrote are in memory alone
// (memory.stat, in cgroup-v2.rst: file_dirty and file_writeback). It fails as
// CPUTime does.
func (t *Tree) Unwritten(id string) (int64, error) {
	if err := checkID(id); err != nil {
		return 0, err
	}
	h, ok := t.with("memory")
	if !ok {
		return 0, fmt.Errorf("nothing counts memory: %w", ErrUnavailable)
	}
	keys := []string{"file_dirty", "file_writeback"}
	if !h.V2 {
		keys = []string{"total_dirty", "total_writeback"}
	}
	var buf [maxFile]byte
	n, err := readOnce(filepath.Join(t.dir(h, id), "memory.stat"), buf[:])
	if isGone(err) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return 0, fmt.Errorf("read what %s has not written: %w", id, err)
	}
	stat, err := pick(buf[:n], keys...)
	return stat[0] + stat[1], err
}

func readOnce(path string, buf []byte) (n int, err error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	err = restart(func() (err error) {
		n, err = unix.Pread(fd, buf, 0)
		return err
	})
	return n, err
}
