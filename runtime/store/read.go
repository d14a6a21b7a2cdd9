package store

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ReadFile reads a regular file of at most limit bytes. A link in the last
// place is not followed, and a pipe or a device is not read. Errors:
// [os.ErrNotExist], [ErrTooLarge], [ErrCorrupt] for what is no regular file.
func ReadFile(path string, limit int64) ([]byte, error) {
	d, err := openDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return readAt(d, filepath.Base(path), limit)
}

func readAt(dir *os.File, name string, limit int64) ([]byte, error) {
	// Non-blocking: opening a pipe that has no writer would wait for one.
	f, err := openAt(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", f.Name(), ErrCorrupt)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes, at most %d", f.Name(), ErrTooLarge, st.Size(), limit)
	}
	data := make([]byte, 0, st.Size()+1)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if int64(len(data)) > limit { // it grew under our eyes
			return nil, fmt.Errorf("%s: %w: more than %d bytes", f.Name(), ErrTooLarge, limit)
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// ReadJSON reads one JSON value from a file of at most limit bytes into v. Keys
// that v does not know are ignored: a newer cove may have written them. Errors
// are those of [ReadFile], and [ErrCorrupt] for what is not one JSON value.
func ReadJSON(path string, limit int64, v any) error {
	data, err := ReadFile(path, limit)
	if err != nil {
		return err
	}
	return decode(path, data, v)
}

func decode(path string, data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrCorrupt, err)
	}
	return nil
}
