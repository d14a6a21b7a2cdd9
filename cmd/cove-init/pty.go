package main

import (
	"cmp"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Sizes of a terminal of which nobody told the size.
const (
	defaultCols = 80
	defaultRows = 24
)

// terminal is a pseudo-terminal. Our own hold on the slave keeps the master
// readable when a program has closed it and opens /dev/tty again.
type terminal struct {
	master *os.File
	slave  int
	closed sync.Once
}

// openTerminal makes a terminal that belongs to the user uid.
func openTerminal(uid uint32, cols, rows int) (*terminal, error) {
	// O_NONBLOCK: the sandbox's root may have put anything at the name.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	t := &terminal{master: os.NewFile(uintptr(fd), "ptmx")}
	if err := t.openSlave(fd, uid, cols, rows); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *terminal) openSlave(master int, uid uint32, cols, rows int) error {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock the terminal: %w", err)
	}
	// By the master, not by a name below /dev/pts (Linux 4.13).
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fmt.Errorf("open the terminal's other end: %w", errno)
	}
	t.slave = int(slave)
	// The user may open it by its name too, as tmux does. The group stays
	// what devpts gave.
	if err := unix.Fchown(t.slave, int(uid), -1); err != nil {
		return fmt.Errorf("give the terminal to the user: %w", err)
	}
	return t.resize(cols, rows)
}

func (t *terminal) resize(cols, rows int) error {
	size := &unix.Winsize{Col: uint16(cols), Row: uint16(rows)}
	var err error
	cerr := t.control(func(fd int) { err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
	if err := cmp.Or(err, cerr); err != nil {
		return fmt.Errorf("set the terminal's size: %w", err)
	}
	return nil
}

// control calls f with the master's descriptor, unless it is closed.
func (t *terminal) control(f func(fd int)) error {
	rc, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Control(func(fd uintptr) { f(int(fd)) })
}

// foreground returns the process group in the terminal's foreground, or 0.
func (t *terminal) foreground() int {
	var pgrp int
	_ = t.control(func(fd int) { pgrp, _ = unix.IoctlGetInt(fd, unix.TIOCGPGRP) })
	return max(pgrp, 0)
}

// rest reads what is left without waiting, at most len(buf) bytes at a time, and
// reports false at the end. The kernel hands over what is on its way first.
func (t *terminal) rest(buf []byte) ([]byte, bool) {
	n := 0
	_ = t.control(func(fd int) { n, _ = unix.Read(fd, buf) })
	if n <= 0 {
		return nil, false
	}
	return buf[:n], true
}

// close hangs the terminal up: what still uses it gets errors, and SIGHUP.
func (t *terminal) close() {
	t.closed.Do(func() {
		_ = t.master.Close()
		if t.slave > 0 {
			_ = unix.Close(t.slave)
		}
	})
}
