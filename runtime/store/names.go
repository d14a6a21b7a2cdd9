package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Names is a directory of links from names to ids: the file system makes a link
// only once, so that a name is taken only once. Its methods may be called by
// any goroutine until Close.
type Names struct {
	mu  sync.Mutex // between looking at a link and removing it
	dir *os.File
}

// OpenNames opens the directory of names, which exists. Close lets go of it.
func OpenNames(dir string) (*Names, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the names: %w", err)
	}
	return &Names{dir: d}, nil
}

// Close gives back the directory's descriptor.
func (n *Names) Close() error { return n.dir.Close() }

// Take makes name stand for id, and outlive a power cut. [ErrExists]: it stands
// for something already, be it the same id. [ErrInvalid]: no name for a file.
func (n *Names) Take(name, id string) error {
	if err := errors.Join(validLink(name), validLink(id)); err != nil {
		return err
	}
	// Without the lock: the file system makes a link once, and many that are
	// made at the same time last after one and the same turn of its journal.
	if err := n.link(name, id); err != nil {
		return err
	}
	return syncFile(n.dir)
}

func (n *Names) link(name, id string) error {
	err := restart(func() error { return unix.Symlinkat(id, int(n.dir.Fd()), name) })
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("name %s: %w", name, ErrExists)
	}
	if err != nil {
		return noSpace(fmt.Errorf("take the name %s: %w", name, err))
	}
	return nil
}

// Release frees name if it stands for id; if it does not, nothing happens.
func (n *Names) Release(name, id string) error {
	if err := errors.Join(validLink(name), validLink(id)); err != nil {
		return err
	}
	gone, err := n.release(name, id)
	if err != nil || !gone {
		return err
	}
	return syncFile(n.dir)
}

func (n *Names) release(name, id string) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unlink(name, id)
}

// unlink removes the link if it is the one that is meant. The caller holds n.mu.
func (n *Names) unlink(name, id string) (bool, error) {
	target, err := n.read(name)
	if err != nil || target != id {
		return false, err
	}
	if err := unlinkAt(n.dir, name); err != nil {
		return false, fmt.Errorf("free the name %s: %w", name, err)
	}
	return true, nil
}

// Rename makes to stand for id in the place of from. [ErrExists]: to is taken;
// from stands for id still then. A power cut in between may leave both names,
// never none.
func (n *Names) Rename(from, to, id string) error {
	if err := errors.Join(validLink(from), validLink(to), validLink(id)); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.link(to, id); err != nil {
		return err
	}
	if err := syncFile(n.dir); err != nil {
		return err
	}
	if _, err := n.unlink(from, id); err != nil {
		return err
	}
	return syncFile(n.dir)
}

// List gives all names with the ids they stand for. What is no link was not
// made here and is left out.
func (n *Names) List() (map[string]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.dir.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("read the names: %w", err)
	}
	entries, err := n.dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read the names: %w", err)
	}
	links := make(map[string]string, len(entries))
	for _, name := range entries {
		if validLink(name) != nil {
			continue
		}
		id, err := n.read(name)
		if err != nil {
			return nil, err
		}
		if id != "" {
			links[name] = id
		}
	}
	return links, nil
}

// read gives the id that name stands for, or "" where it is no link of ours.
func (n *Names) read(name string) (string, error) {
	buf := make([]byte, maxLink+1)
	var size int
	err := restart(func() (err error) {
		size, err = unix.Readlinkat(int(n.dir.Fd()), name, buf)
		return err
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // EINVAL: it is no link
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the name %s: %w", name, err)
	}
	id := string(buf[:size])
	if validLink(id) != nil {
		return "", nil
	}
	return id, nil
}

const maxLink = 255

// validLink refuses what could leave the directory or hide in it.
func validLink(s string) error {
	if err := validFileName(s); err != nil {
		return err
	}
	if strings.HasPrefix(s, ".") || len(s) > maxLink {
		return fmt.Errorf("%w name %q", ErrInvalid, s)
	}
	return nil
}
