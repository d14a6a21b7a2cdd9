package store

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Replace makes data the contents of the file name in dir, or leaves what was
// there: a reader, and the next boot, see the one or the other and nothing in
// between. The file is 0600. With sync it outlives a power cut once Replace has
// returned; without, a kill of this process only.
//
// ErrNoSpace: the disk is full, and the old contents are untouched. At most one
// leftover (".NAME.tmp") of a killed writer stays, and the next write takes it
// over. Writers of the same file wait for each other.
func Replace(dir, name string, data []byte, sync bool) error {
	d, err := openDir(dir)
	if err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	defer d.Close()
	return ReplaceAt(d, name, data, sync)
}

// ReplaceAt is [Replace] beneath an open directory.
func ReplaceAt(dir *os.File, name string, data []byte, sync bool) error {
	if err := validFileName(name); err != nil {
		return err
	}
	tmp := "." + name + ".tmp"
	f, err := takeTemp(dir, tmp)
	if err != nil {
		return noSpace(fmt.Errorf("replace %s: %w", name, err))
	}
	// Closing it lets the next writer of the same file in: last of all.
	defer f.Close()
	err = fill(f, data, sync)
	if err == nil {
		err = renameAt(dir, tmp, name)
	}
	if err != nil {
		return noSpace(fmt.Errorf("replace %s: %w", name, errors.Join(err, unlinkAt(dir, tmp))))
	}
	if sync {
		return syncFile(dir)
	}
	return nil
}

// takeTemp opens the temporary file and holds its lock. Another writer may have
// renamed it away while we waited: then it is not the temporary file any more.
func takeTemp(dir *os.File, tmp string) (*os.File, error) {
	for {
		f, err := openAt(dir, tmp, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		fd := int(f.Fd())
		if err := restart(func() error { return unix.Flock(fd, unix.LOCK_EX) }); err != nil {
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
		var held, named unix.Stat_t
		if err := unix.Fstat(fd, &held); err != nil {
			f.Close()
			return nil, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
		}
		err = unix.Fstatat(int(dir.Fd()), tmp, &named, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && held.Dev == named.Dev && held.Ino == named.Ino {
			return f, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
		}
	}
}

func fill(f *os.File, data []byte, sync bool) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if sync {
		return f.Sync()
	}
	return nil
}

// SyncDir makes what was created, renamed and removed in the directory outlive
// a power cut. One fsync; it costs as much as the disk is slow.
func SyncDir(dir string) error {
	d, err := openDir(dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer d.Close()
	return syncFile(d)
}

func syncFile(d *os.File) error {
	if err := d.Sync(); err != nil {
		return noSpace(fmt.Errorf("sync: %w", err))
	}
	return nil
}

func validFileName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w file name %q", ErrInvalid, name)
	}
	return nil
}
