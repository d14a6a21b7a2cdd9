package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// The kernel's files are read and written without package os: it would put
// each into the runtime's poller, which costs more than the file.

func restart(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func open(path string, flags int) (int, error) {
	fd := -1
	err := restart(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// writeFile writes to one of the kernel's files: all at once, and never making
// a file where there is none.
func writeFile(path, text string) error {
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // the write has said it all
	err = restart(func() error {
		_, err := unix.Write(fd, []byte(text))
		return err
	})
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// readFile reads one of the kernel's files from its beginning to its end.
func readFile(path string) ([]byte, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	data := make([]byte, 0, 1024)
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n := 0
		err := restart(func() (err error) {
			n, err = unix.Read(fd, data[len(data):cap(data)])
			return err
		})
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return data, nil
		}
		data = data[:len(data)+n]
	}
}

// isGone tells whether an error means that the group is not there any more; a
// file of a group that was removed while it was open says ENODEV.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) }

// keyed reads the number behind a key in a flat keyed file (cgroup-v2.rst).
func keyed(data []byte, key string) (value uint64, ok bool, err error) {
	for line := range bytes.Lines(data) {
		k, v, found := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if found && string(k) == key {
			value, err = strconv.ParseUint(string(v), 10, 64)
			return value, err == nil, err
		}
	}
	return 0, false, nil
}

// readProcs gives the processes that are in a group itself. Those of pid
// namespaces that we do not see read as 0 and are left out.
func readProcs(dir string) ([]int, error) {
	data, err := readFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for field := range bytes.FieldsSeq(data) {
		pid, err := strconv.Atoi(string(field))
		if err != nil {
			return nil, fmt.Errorf("%s/cgroup.procs holds %q", dir, field)
		}
		if pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// walk calls f for a group and all groups below it, the deepest first. Groups
// that are gone by then are passed over.
func walk(dir string, f func(dir string) error) error {
	var st unix.Stat_t
	err := restart(func() error { return unix.Lstat(dir, &st) })
	if isGone(err) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	// A directory has a link of its own, one in the one above, and one in each
	// below: mostly there is none.
	if st.Nlink != 2 {
		entries, err := os.ReadDir(dir)
		if isGone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				if err := walk(filepath.Join(dir, e.Name()), f); err != nil {
					return err
				}
			}
		}
	}
	if err := f(dir); err != nil && !isGone(err) {
		return err
	}
	return nil
}

// rmdir removes a group; one that is not there is no error.
func rmdir(dir string) error {
	err := restart(func() error { return unix.Rmdir(dir) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
