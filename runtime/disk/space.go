package disk

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Space is how large a file system is and what of it is free to those who are not
// root, in bytes. Inodes are how many files it can have, FreeInodes how many more: 0
// and 0 where it makes them as they are needed.
type Space struct {
	Total, Free        int64
	Inodes, FreeInodes int64
}

// SpaceAt measures the file system that path is on. It is one system call and
// waits for nothing but a network.
func SpaceAt(path string) (Space, error) {
	var fs unix.Statfs_t
	for {
		err := unix.Statfs(path, &fs)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Space{}, &os.PathError{Op: "statfs", Path: path, Err: err}
		}
		unit := fs.Frsize
		if unit == 0 {
			unit = fs.Bsize
		}
		return Space{
			Total: int64(fs.Blocks) * unit, Free: int64(fs.Bavail) * unit,
			Inodes: int64(fs.Files), FreeInodes: int64(fs.Ffree),
		}, nil
	}
}

// Unwritten is how many bytes of files, of the whole machine, wait in memory to be
// written (proc_meminfo(5): Dirty and Writeback). What was written on a disk image
// takes its place on the host only then.
func Unwritten() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return unwritten(data)
}

func unwritten(meminfo []byte) (int64, error) {
	var sum int64
	for _, key := range []string{"\nDirty:", "\nWriteback:"} {
		_, rest, ok := bytes.Cut(meminfo, []byte(key))
		line, _, _ := bytes.Cut(rest, []byte(" kB"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
		if !ok || err != nil {
			return 0, fmt.Errorf("/proc/meminfo: no number for %q", key[1:])
		}
		sum += n << 10
	}
	return sum, nil
}
