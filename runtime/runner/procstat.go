package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// stat is what we read of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	state     byte               // field 3
	starttime uint64             // field 22, clock ticks since boot
	status    syscall.WaitStatus // field 52, of one that has ended
}

func (s stat) ended() bool { return s.state == 'Z' || s.state == 'X' }

// procStat reads the stat of a process, or fails with ErrGone.
func procStat(pid int) (stat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return stat{}, ErrGone
	}
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat reads the fields of [stat]. The second field is the process's own
// choice and may hold anything: the last parenthesis ends it.
func parseStat(data []byte) (stat, error) {
	end := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[end+1:])
	// The third field is the first of these.
	if end < 0 || len(fields) < 50 || len(fields[0]) != 1 {
		return stat{}, errors.New("malformed /proc/PID/stat")
	}
	starttime, err := strconv.ParseUint(string(fields[22-3]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("malformed /proc/PID/stat: %w", err)
	}
	status, err := strconv.ParseUint(string(fields[52-3]), 10, 16)
	if err != nil {
		return stat{}, fmt.Errorf("malformed /proc/PID/stat: %w", err)
	}
	return stat{state: fields[0][0], starttime: starttime, status: syscall.WaitStatus(status)}, nil
}

// zombieStatus gives the wait status of an ended process that nobody has waited
// for yet.
func zombieStatus(pid int, starttime uint64) (syscall.WaitStatus, bool) {
	// To one that may not trace the process the kernel says that the status
	// is 0; this link asks for the same permission.
	if _, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/user"); err != nil {
		return 0, false
	}
	st, err := procStat(pid)
	return st.status, err == nil && st.starttime == starttime && st.ended()
}

func exitOf(status syscall.WaitStatus) Exit {
	switch {
	case status.Exited():
		return Exit{Known: true, Code: status.ExitStatus()}
	case status.Signaled():
		return Exit{Known: true, Signal: int(status.Signal())}
	}
	return Exit{}
}
