package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	lockFile = "lock"
	instFile = "inst"
	// maxSmall is the largest file of a few fields, in bytes.
	maxSmall = 64 << 10
)

// Lock is a directory held by this process until Close or the process's end,
// whatever ends it.
type Lock struct {
	dir, file *os.File
}

// LockedError says which process holds a directory; Pid is 0 where that is not
// known. It is an [ErrLocked].
type LockedError struct {
	Dir string
	Pid int
}

func (e *LockedError) Error() string {
	if e.Pid == 0 {
		return e.Dir + " is in use by another daemon"
	}
	return fmt.Sprintf("%s is in use by another daemon (pid %d)", e.Dir, e.Pid)
}

// Is makes errors.Is(err, ErrLocked) hold.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// LockDir takes a directory for this process; it is made where there is none.
// It must be root's, no link, and closed to others as mode says: 0700 for the
// state directory, 0711 for the run directory. Errors: a *[LockedError], an
// *[UnsafeError], both of one line.
//
// Called once by a starting daemon, after it entered its mount namespace: an
// exec would give the lock back.
func LockDir(dir string, mode os.FileMode) (*Lock, error) {
	d, err := openOwned(dir, mode)
	if err != nil {
		return nil, err
	}
	f, err := openAt(d, lockFile, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		d.Close()
		return nil, noSpace(err)
	}
	l := &Lock{dir: d, file: f}
	// A lock of the open file (fcntl_locking(2)) and not flock(2): others can
	// ask about it without taking it, so that looking whether a daemon lives
	// never keeps one from starting.
	lk := wholeFile()
	err = restart(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		held := &LockedError{Dir: dir, Pid: lockHolder(d)}
		return nil, errors.Join(held, l.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), l.Close())
	}
	// Who cannot write its pid because the disk is full still holds the lock:
	// the daemon must start, so that something can be deleted.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	return l, nil
}

func wholeFile() unix.Flock_t { return unix.Flock_t{Type: unix.F_WRLCK, Whence: 0} }

// lockHolder is the pid in the lock's file, 0 where there is no such process.
func lockHolder(dir *os.File) int {
	data, err := readAt(dir, lockFile, maxSmall)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	if _, err := ProcStart(pid); err != nil {
		return 0
	}
	return pid
}

// Close gives the directory free. The file stays: removing it would let two
// processes hold two files of one name.
func (l *Lock) Close() error { return errors.Join(l.file.Close(), l.dir.Close()) }

// held tells whether a process holds the directory. What cannot be found out
// counts as held; a directory that is not there is not.
func held(dir string) bool {
	d, err := openDir(dir)
	if err != nil {
		return !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR)
	}
	defer d.Close()
	f, err := openAt(d, lockFile, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return !errors.Is(err, unix.ENOENT)
	}
	defer f.Close()
	lk := wholeFile()
	if err := restart(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk) }); err != nil {
		return true
	}
	return lk.Type != unix.F_UNLCK
}

// claim is the inst file of a run directory.
type claim struct {
	Inst string `json:"inst"`
	Boot string `json:"boot"`
}

// Claim makes a locked run directory that of inst. [ErrForeign]: it is another
// instance's, and sandboxes of that one may run in it still (its directory
// "sandboxes" is not empty in this boot). boot is the machine's boot id.
func (l *Lock) Claim(inst, boot string) error {
	if !validInst(inst) {
		return fmt.Errorf("%w instance %q", ErrInvalid, inst)
	}
	var was claim
	data, err := readAt(l.dir, instFile, maxSmall)
	if err == nil {
		err = decode(instFile, data, &was)
	}
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, ErrCorrupt):
	case err != nil:
		return fmt.Errorf("claim %s: %w", l.dir.Name(), err)
	case was == claim{inst, boot}:
		return nil
	case was.Inst != inst && was.Boot == boot:
		entries, err := os.ReadDir(l.dir.Name() + "/sandboxes")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("claim %s: %w", l.dir.Name(), err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("%s %w, %s, that has sandboxes in it: use another run directory for this state directory", l.dir.Name(), ErrForeign, was.Inst)
		}
	}
	if data, err = json.Marshal(claim{inst, boot}); err != nil {
		return fmt.Errorf("claim %s: %w", l.dir.Name(), err)
	}
	return ReplaceAt(l.dir, instFile, append(data, '\n'), false)
}

func validInst(s string) bool {
	return len(s) == 6 && strings.Trim(s, "0123456789abcdef") == ""
}
