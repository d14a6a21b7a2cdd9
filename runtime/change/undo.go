package change

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/runtime/delta"
)

// Marks are what is to be written down when the changes were taken back: the sandbox
// has what the host has.
func Marks(dir *Dir, found []Found) ([]delta.Change, error) {
	marks := make([]delta.Change, 0, len(found))
	for _, f := range found {
		now, err := dir.stat(f.Path)
		if err != nil {
			return nil, err
		}
		marks = append(marks, delta.Change{Path: []byte(f.Path), Base: now})
	}
	return marks, nil
}

// Removals are the paths to remove inside so that changes are taken back: what is
// new, and what is of another type; those below others left out.
func Removals(found []Found) []string {
	var out []string
	for _, f := range found {
		if f.Kind != api.ChangeAdded && f.Kind != api.ChangeType && (f.Kind != api.ChangeModified || f.kind == delta.File) {
			continue
		}
		if n := len(out); n > 0 && strings.HasPrefix(f.Path, out[n-1]+"/") {
			continue
		}
		out = append(out, f.Path)
	}
	return out
}

// Returns are the changes whose files are to be copied into the sandbox again,
// directories first.
func Returns(found []Found) []Found {
	back := slices.DeleteFunc(slices.Clone(found), func(f Found) bool { return f.host == nil })
	slices.SortFunc(back, func(a, b Found) int { return strings.Compare(a.Path, b.Path) })
	return back
}

// Pack writes the host's files to a tar, those that are there.
func Pack(tw *tar.Writer, dir *Dir, found []Found) error {
	for _, f := range found {
		if err := pack(tw, dir, f.Path); err != nil {
			return err
		}
	}
	return nil
}

func pack(tw *tar.Writer, dir *Dir, p string) error {
	st, err := dir.stat(p)
	if err != nil || st == nil {
		return err
	}
	h := &tar.Header{Name: p, Mode: int64(st.Mode & permissions), ModTime: time.Unix(0, st.Mtime), Format: tar.FormatPAX}
	switch st.Kind {
	case delta.Dir:
		h.Typeflag, h.Name = tar.TypeDir, p+"/"
		return tw.WriteHeader(h)
	case delta.Link:
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(st.Link)
		return tw.WriteHeader(h)
	case delta.File:
	default:
		return nil
	}
	in, err := dir.open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(tw, in, st.Size); err != nil {
		return ErrChanged
	}
	return nil
}
