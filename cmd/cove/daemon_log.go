package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// daemonLog is the name of the daemon's log in its run directory; the one
// before it has ".1" appended.
const daemonLog = "daemon.log"

// maxDaemonLog is the size in bytes at which a starting daemon gets a new log.
const maxDaemonLog = 4 << 20

// openRunDir makes the run directory where it does not exist and returns it
// opened. One that somebody else could write to is refused: what is in it
// decides whom root talks to.
func openRunDir(path string) (*os.File, error) {
	// 0711: sandboxes' roots lie below it and their users need to pass.
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("run directory %s: %w", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(fmt.Errorf("run directory %s: %w", path, err), dir.Close())
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		err := fmt.Errorf("run directory %s: belongs to uid %d with mode %#o", path, st.Uid, st.Mode&0o7777)
		return nil, errors.Join(hint(err, "it must be root's and writable by nobody else"), dir.Close())
	}
	return dir, nil
}

// openDaemonLog opens the log for appending, after moving one aside that has
// grown too large.
func openDaemonLog(runDir *os.File) (*os.File, error) {
	fd := int(runDir.Fd())
	var st unix.Stat_t
	err := unix.Fstatat(fd, daemonLog, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Size >= maxDaemonLog {
		err = unix.Renameat(fd, daemonLog, fd, daemonLog+".1")
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("daemon log: %w", err)
	}
	return openIn(runDir, daemonLog, unix.O_WRONLY|unix.O_APPEND)
}

// openIn opens or makes a private file of the run directory.
func openIn(runDir *os.File, name string, flags int) (*os.File, error) {
	path := filepath.Join(runDir.Name(), name)
	fd, err := unix.Openat(int(runDir.Fd()), name, flags|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
