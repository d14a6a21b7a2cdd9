// Package lxcfs finds the files of /proc that lxcfs makes: they tell a sandbox
// its own limits, so that free, top and uptime speak of the sandbox and not of the
// machine. lxcfs(1) is a FUSE server of the administrator's; where it is not
// installed, has died or does not answer, sandboxes start without it.
package lxcfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Root is where lxcfs is mounted, on every distribution.
const Root = "/var/lib/lxcfs"

// Names are the files that take the place of those in /proc.
func Names() []string { return []string{"cpuinfo", "loadavg", "meminfo", "stat", "swaps", "uptime"} }

// ErrAbsent: lxcfs is not mounted.
var ErrAbsent = errors.New("lxcfs is not there")

// ProberName is the name, in place of the program's, under which a process of
// this program is the child that reads the files: it calls [Prober] and exits.
const ProberName = "cove-probe-lxcfs"

const (
	// patience is how long the child may take over all of them.
	patience = 2 * time.Second
	// reapGrace is how long a killed child may take to go.
	reapGrace = 100 * time.Millisecond
	// maxChildren is how many of them may be there at a time: those that wait
	// for a server that never answers.
	maxChildren = 8
)

// Host is the machine's lxcfs. Its methods may be called by any goroutine.
type Host struct {
	mountinfo string
	children  chan struct{}
}

// New returns it, whether there is one or not.
func New() *Host {
	return &Host{mountinfo: "/proc/self/mountinfo", children: make(chan struct{}, maxChildren)}
}

// Files gives the absolute paths of the files, all of which have just been read: by
// a child, since who reads from a FUSE server that never answers waits for ever.
// [ErrAbsent]: there is none; other errors say why one that is there is of no use.
func (h *Host) Files(ctx context.Context) ([]string, error) {
	info, err := os.ReadFile(h.mountinfo)
	if err != nil {
		return nil, fmt.Errorf("find lxcfs: %w", err)
	}
	if !mounted(info) {
		return nil, ErrAbsent
	}
	var files []string
	for _, name := range Names() {
		files = append(files, filepath.Join(Root, "proc", name))
	}
	if err := h.read(ctx, files); err != nil {
		return nil, fmt.Errorf("read what lxcfs says: %w", err)
	}
	return files, nil
}

// mounted tells whether lxcfs is what is mounted at its place: the last one
// there counts (proc_pid_mountinfo(5)).
func mounted(mountinfo []byte) bool {
	is := false
	for line := range bytes.Lines(mountinfo) {
		before, after, _ := strings.Cut(string(line), " - ")
		left := strings.Fields(before)
		if len(left) > 4 && left[4] == Root {
			is = strings.HasPrefix(after, "fuse.lxcfs ")
		}
	}
	return is
}

func (h *Host) read(ctx context.Context, files []string) error {
	select {
	case h.children <- struct{}{}:
	default:
		return errors.New("it does not answer")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it does not answer"))
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{ProberName}, files...)
	cmd.Env, cmd.Dir = []string{"GOMAXPROCS=1"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		<-h.children
		return fmt.Errorf("start the child that reads it: %w", err)
	}
	gone := make(chan struct{})
	var status error
	go func() {
		// Ends with the child, which the context kills.
		defer func() { <-h.children }()
		defer close(gone)
		status = cmd.Wait()
	}()
	select {
	case <-gone:
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if status != nil {
			return fmt.Errorf("its files cannot be read: %w", status)
		}
		return nil
	case <-ctx.Done():
	}
	grace := time.NewTimer(reapGrace)
	defer grace.Stop()
	select {
	case <-gone:
	case <-grace.C:
	}
	return context.Cause(ctx)
}

// Prober is the child: it reads every file that args, which begins with its own
// name, says, to its end. It returns the exit status.
func Prober(args []string) int {
	for _, path := range args[1:] {
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			return 1
		}
	}
	return 0
}
