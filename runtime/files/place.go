package files

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where what a stream holds goes: base is made in dir, or is dir itself.
type place struct {
	dir  int
	base string // Root: the stream's root is dir
}

func (p place) close() { _ = unix.Close(p.dir) }

// find decides, as cp does, what of a path is the place of a file or directory
// called name: below path where that is a directory, else path itself. Links in
// path are followed, as the person wrote it, but for the last: a file is put in
// place of a link.
func find(target, name string, isDir bool) (place, error) {
	slash := strings.HasSuffix(target, "/") || target == "."
	var st unix.Stat_t
	err := restart(func() error { return unix.Stat(target, &st) })
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		if name == "" && !isDir {
			return place{}, errors.New("it is a directory, and the file to copy has no name")
		}
		dir, err := openDir(unix.AT_FDCWD, target, 0)
		if err != nil {
			return place{}, err
		}
		if name == "" {
			name = Root
		}
		return place{dir, name}, nil
	case err == nil && (isDir || slash):
		return place{}, unix.ENOTDIR
	case err != nil && !errors.Is(err, unix.ENOENT):
		return place{}, err
	case err != nil && slash && !isDir:
		return place{}, unix.ENOENT
	}
	parent, base := path.Split(strings.TrimRight(target, "/"))
	if parent == "" {
		parent = "."
	}
	if base == "" || base == "." || base == ".." {
		return place{}, unix.ENOENT
	}
	dir, err := openDir(unix.AT_FDCWD, parent, 0)
	if errors.Is(err, unix.ENOENT) {
		return place{}, fmt.Errorf("the directory %s does not exist", path.Clean(parent))
	}
	return place{dir, base}, err
}
