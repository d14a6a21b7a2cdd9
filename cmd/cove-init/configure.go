package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cove/runtime/guest"
)

// settings are the defaults that Configure gave. They are not changed, only replaced.
type settings struct {
	env   map[string]string
	dir   string
	user  string
	shell []string
}

func (s *server) settings() *settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf
}

// configure carries out a Configure request. It may be repeated.
func (s *server) configure(req *guest.Request) error {
	if err := setHostname(req.Hostname); err != nil {
		return err
	}
	for path, edit := range map[string]func(old, name string, text []byte) []byte{"/etc/hostname": editHostname, "/etc/hosts": editHosts} {
		// The sandbox works without: its owner may have made anything of them.
		_ = renamed(path, req.Formerly, req.Hostname, edit)
	}
	if err := prepareDir(req); err != nil && !req.Lenient {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conf = &settings{env: maps.Clone(req.Env), dir: req.Dir, user: req.User, shell: slices.Clone(req.Shell)}
	return nil
}

// prepareDir makes sure of the user and the working directory.
func prepareDir(req *guest.Request) error {
	id, err := findUser(req.User)
	if err != nil || req.Dir == "" {
		return err
	}
	if err := makeDir(req.Dir, id); err != nil {
		return fmt.Errorf("make the working directory %s: %w", req.Dir, err)
	}
	return nil
}

// setHostname sets the host name unless it is right already: the runtime may
// have set it, and a sandbox is not always allowed to.
func setHostname(name string) error {
	if name == "" {
		return nil
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil && unix.ByteSliceToString(u.Nodename[:]) == name {
		return nil
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return nil
}

// makeDir makes the directory path, if it does not exist, and gives it to the
// user. Only what was made here is given away: an existing directory, or what a
// link of an earlier life points to, keeps its owner.
func makeDir(path string, id *identity) error {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err == nil {
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return unix.ENOTDIR
		}
		return nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	dir, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	parts := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	for i, name := range parts {
		last := i == len(parts)-1
		err := unix.Mkdirat(dir, name, 0o755)
		made := err == nil
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		flags := unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
		if made {
			flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
		}
		next, err := unix.Openat(dir, name, flags, 0)
		if err != nil {
			return err
		}
		_ = unix.Close(dir)
		dir = next
		if made && last {
			if err := unix.Fchown(dir, int(id.uid), int(id.gid)); err != nil {
				return err
			}
		}
	}
	return nil
}
