package main

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxNameFile is the size up to which a file is looked at for a host's old name.
const maxNameFile = 1 << 20

// renamed puts the new host name for the old one into a file, where edit finds
// the old one as cove wrote it. It follows no link and opens nothing that could
// make PID 1 wait.
func renamed(path, old, name string, edit func(old, name string, text []byte) []byte) error {
	if old == "" || name == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxNameFile {
		return errors.Join(err, unix.EINVAL)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNameFile))
	if err != nil {
		return err
	}
	now := edit(old, name, text)
	if bytes.Equal(now, text) {
		return nil
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(now, 0)
	return err
}

func editHostname(old, name string, text []byte) []byte {
	if string(bytes.TrimSpace(text)) != old {
		return text
	}
	return []byte(name + "\n")
}

// editHosts changes the line of the host's own address (hosts(5)) that cove
// wrote, and no other.
func editHosts(old, name string, text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if string(bytes.TrimRight(line, "\n")) == "127.0.1.1\t"+old {
			line = []byte("127.0.1.1\t" + name + "\n")
		}
		out = append(out, line...)
	}
	return out
}
