package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// readProc reads a small file of the kernel's.
func readProc(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	// ESRCH: the process ended between open and read.
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrGone, err)
	}
	return data, err
}

// ProcStart is when the process began, in clock ticks since boot: a pid is used
// again, a pid with its start time is not. ErrGone: there is no such process. A
// process that has ended and waits to be reaped (a zombie) counts as gone: it
// holds nothing any more.
func ProcStart(pid int) (uint64, error) {
	if pid <= 0 {
		return 0, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	data, err := readProc("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	state, start, err := parseStat(data)
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	if state == 'Z' || state == 'X' || state == 'x' {
		return 0, fmt.Errorf("process %d: %w: it has ended", pid, ErrGone)
	}
	return start, nil
}

// parseStat takes the state (field 3) and the start time (field 22) out of
// /proc/PID/stat. The second field is the program's name in parentheses; it is
// the program's choice and may hold spaces and parentheses itself, so counting
// begins after the last one (proc_pid_stat(5)).
func parseStat(data []byte) (state byte, start uint64, err error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("%w: stat has no program name", ErrCorrupt)
	}
	fields := bytes.Fields(data[end+1:])
	const stateField, startField = 0, 22 - 3
	if len(fields) <= startField || len(fields[stateField]) != 1 {
		return 0, 0, fmt.Errorf("%w: stat has %d fields", ErrCorrupt, len(fields)+2)
	}
	if start, err = strconv.ParseUint(string(fields[startField]), 10, 64); err != nil {
		return 0, 0, fmt.Errorf("%w: stat: %w", ErrCorrupt, err)
	}
	return fields[stateField][0], start, nil
}

// alive tells whether the process that began at start is there. What cannot be
// found out counts as alive: nobody is to lose anything by an error of ours.
func alive(pid int, start uint64) bool {
	if pid <= 0 {
		return false
	}
	now, err := ProcStart(pid)
	if err != nil {
		return !errors.Is(err, ErrGone)
	}
	return now == start
}
