package main

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// proc is one line of the table of processes.
type proc struct {
	pid, ppid, sid int
	state          byte
	start          uint64 // with the pid it names a process for ever
}

func (p *proc) dead() bool { return p.state == 'Z' || p.state == 'X' }

// processes reads the table of processes. Those that end meanwhile are missing.
func processes() ([]proc, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

func readProc(pid int) (proc, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	return parseStat(pid, b)
}

// parseStat reads proc_pid_stat(5). The name of the program stands in
// parentheses and may hold anything, also parentheses.
func parseStat(pid int, b []byte) (proc, bool) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return proc{}, false
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return proc{}, false
	}
	p := proc{pid: pid, state: f[0][0]}
	var err [3]error
	p.ppid, err[0] = strconv.Atoi(string(f[1]))
	p.sid, err[1] = strconv.Atoi(string(f[3]))
	p.start, err[2] = strconv.ParseUint(string(f[19]), 10, 64)
	return p, errors.Join(err[:]...) == nil
}

// below returns the processes of the table that descend from root.
func below(root int, table []proc) []proc {
	children := map[int][]proc{}
	for _, p := range table {
		children[p.ppid] = append(children[p.ppid], p)
	}
	var out []proc
	seen := map[int]bool{root: true}
	for todo := []int{root}; len(todo) > 0; {
		var next []int
		for _, pid := range todo {
			for _, p := range children[pid] {
				if !seen[p.pid] {
					seen[p.pid] = true
					out = append(out, p)
					next = append(next, p.pid)
				}
			}
		}
		todo = next
	}
	return out
}

// signal signals p unless its number belongs to another process by now.
func (p *proc) signal(sig unix.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if now, ok := readProc(p.pid); ok && now.start == p.start {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

// wait waits for the end of p, limit at most.
func (p *proc) wait(limit time.Duration) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if now, ok := readProc(p.pid); !ok || now.start != p.start {
		return
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds()))
}

const (
	// killLimit bounds the ending of a tree: a process may hang in the kernel.
	killLimit = 10 * time.Second
	// killWait is how long one process that was killed is waited for before
	// the table is read again.
	killWait = 50 * time.Millisecond
)

// killTable kills what choose picks from the table of processes, until it
// picks nothing that lives. First all are stopped, until there is none that was
// not seen before: what is stopped cannot fork.
func killTable(choose func([]proc) []proc) {
	deadline := time.Now().Add(killLimit)
	stopped := map[proc]bool{}
	for time.Now().Before(deadline) {
		news := false
		for _, p := range alive(choose) {
			if key := (proc{pid: p.pid, start: p.start}); !stopped[key] {
				stopped[key] = true
				news = true
				p.signal(unix.SIGSTOP)
			}
		}
		if !news {
			break
		}
	}
	// A fork that was under way when its process was stopped shows up late:
	// done is what two readings in a row find empty.
	for empty := 0; empty < 2 && time.Now().Before(deadline); {
		left := alive(choose)
		if len(left) == 0 {
			empty++
			continue
		}
		empty = 0
		for _, p := range left {
			p.signal(unix.SIGKILL)
		}
		left[0].wait(killWait)
	}
}

// alive returns what choose picks and has not ended.
func alive(choose func([]proc) []proc) []proc {
	table, err := processes()
	if err != nil {
		return nil
	}
	var out []proc
	for _, p := range choose(table) {
		if !p.dead() {
			out = append(out, p)
		}
	}
	return out
}
