package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// contextTar gives the files of a directory that a build may copy as a tar, as the
// caller may read them: without what .dockerignore names, always in the same order,
// with nobody's owners.
func contextTar(dir string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, reasonOf(err))
	}
	ignored, err := ignoredIn(root)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		c := contextFiles{root: root, t: t, ignored: ignored}
		err := c.dir(".")
		if err == nil {
			err = t.Close()
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", dir, err)
		}
		w.CloseWithError(errors.Join(err, root.Close()))
	}()
	return r, nil
}

func ignoredIn(root *os.Root) (*patternmatcher.PatternMatcher, error) {
	f, err := root.Open(".dockerignore")
	if errors.Is(err, fs.ErrNotExist) {
		return patternmatcher.New(nil)
	}
	if err != nil {
		return nil, fmt.Errorf(".dockerignore: %w", reasonOf(err))
	}
	defer closeQuietly(f)
	patterns, err := ignorefile.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf(".dockerignore: %w", err)
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf(".dockerignore: %w", err)
	}
	return m, nil
}

type contextFiles struct {
	root    *os.Root
	t       *tar.Writer
	ignored *patternmatcher.PatternMatcher
}

func (c contextFiles) dir(name string) error {
	entries, err := fs.ReadDir(c.root.FS(), name) // sorted
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := path.Join(name, e.Name())
		skip, err := c.ignored.MatchesOrParentMatches(at)
		if err != nil {
			return fmt.Errorf(".dockerignore: %w", err)
		}
		if skip && !(e.IsDir() && c.ignored.Exclusions()) {
			continue
		}
		if err := c.entry(at, e, skip); err != nil {
			return err
		}
	}
	return nil
}

// entry adds one; of a directory that is left out only what is named again.
func (c contextFiles) entry(at string, e fs.DirEntry, skip bool) error {
	st, err := c.root.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // meanwhile
	}
	if err != nil {
		return err
	}
	h := &tar.Header{Name: at, Mode: int64(st.Mode().Perm()), ModTime: st.ModTime(), Format: tar.FormatPAX}
	switch {
	case st.IsDir():
		if !skip {
			h.Typeflag, h.Name = tar.TypeDir, at+"/"
			if err := c.t.WriteHeader(h); err != nil {
				return err
			}
		}
		return c.dir(at)
	case st.Mode()&fs.ModeSymlink != 0:
		if h.Linkname, err = c.root.Readlink(at); err != nil {
			return err
		}
		h.Typeflag = tar.TypeSymlink
		return c.t.WriteHeader(h)
	case !st.Mode().IsRegular():
		return nil // sockets and their like
	}
	f, err := c.root.Open(at)
	if err != nil {
		return err
	}
	defer closeQuietly(f)
	if st, err = f.Stat(); err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s was replaced while it was read", at)
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size()
	if err := c.t.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(c.t, f, st.Size()); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}
