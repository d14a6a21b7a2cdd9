package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Trail is a file of lines of which the newest are kept: when it has more than
// Limit bytes, the older half goes. Nothing is synced; a line that a kill or a
// power cut tore does not spoil those beside it, which are for the reader to
// tell: it gets what lies between line ends.
type Trail struct{ Limit int64 }

// Append adds lines, each without its end, to the file at path, whose directory
// must be there. ErrNoSpace: the disk is full, and some of them are missing.
func (t Trail) Append(path string, lines ...[]byte) error {
	if len(lines) == 0 {
		return nil
	}
	dir, name := filepath.Dir(path), filepath.Base(path)
	d, err := openDir(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer d.Close()
	f, err := openAt(d, name, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return noSpace(fmt.Errorf("write %s: %w", name, err))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: not a regular file", path, ErrCorrupt)
	}
	var buf []byte
	var last [1]byte
	if st.Size() > 0 {
		if _, err := f.ReadAt(last[:], st.Size()-1); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if last[0] != '\n' {
			buf = append(buf, '\n')
		}
	}
	for _, l := range lines {
		buf = append(append(buf, l...), '\n')
	}
	if st.Size()+int64(len(buf)) > t.Limit {
		return t.shorten(d, f, name, st.Size(), buf)
	}
	if _, err := f.Write(buf); err != nil {
		return noSpace(fmt.Errorf("write %s: %w", name, err))
	}
	return nil
}

// shorten puts what is new and the newest of what there was in the file's place.
func (t Trail) shorten(d, f *os.File, name string, size int64, added []byte) error {
	keep := min(size, max(0, t.Limit/2-int64(len(added))))
	old := make([]byte, keep)
	n, err := f.ReadAt(old, size-keep)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("shorten %s: %w", name, err)
	}
	old = old[:n]
	if i := bytes.IndexByte(old, '\n'); i >= 0 && keep < size {
		old = old[i+1:]
	}
	return ReplaceAt(d, name, append(old, added...), false)
}

// Read gives the lines of the file at path, the oldest first. A file that is not
// there has none.
func (t Trail) Read(path string) ([][]byte, error) {
	// An append that crosses the limit has its file replaced, so there is none
	// that has more; what is larger was made by others.
	data, err := ReadFile(path, t.Limit)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(data, []byte("\n"))
	return lines[:len(lines)-1], nil
}
