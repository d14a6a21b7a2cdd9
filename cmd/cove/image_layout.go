package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// tarOfLayout gives the directory of an OCI image layout as a tar: its index and its
// blobs, and nothing else that may be in it.
func tarOfLayout(dir string) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeLayout(w, dir)) }()
	return r
}

func writeLayout(w io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, reasonOf(err))
	}
	defer closeQuietly(root)
	t := tar.NewWriter(w)
	for _, name := range []string{"oci-layout", "index.json"} {
		if err := writeBlob(t, root, name); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is no OCI image layout: it has no %s", dir, name)
			}
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	algorithms, err := fs.ReadDir(root.FS(), "blobs")
	if err != nil {
		return fmt.Errorf("%s: %w", dir, reasonOf(err))
	}
	for _, a := range algorithms {
		blobs, err := fs.ReadDir(root.FS(), path.Join("blobs", a.Name()))
		if err != nil {
			return fmt.Errorf("%s: %w", dir, reasonOf(err))
		}
		for _, b := range blobs {
			if err := writeBlob(t, root, path.Join("blobs", a.Name(), b.Name())); err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
		}
	}
	return t.Close()
}

func writeBlob(t *tar.Writer, root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer closeQuietly(f)
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", name)
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: st.Size(), Mode: 0o644}); err != nil {
		return err
	}
	_, err = io.CopyN(t, f, st.Size())
	return err
}
