// Package runner invokes runc: finds a build of it that can be trusted, and
// creates, starts, updates, kills and deletes containers with it.
//
// runc is a program that hangs, is killed and leaves children behind like any
// other. Each invocation has a time limit; at its end, whatever it was, the
// whole process group is killed. No pipe connects us with runc, so nothing that
// it leaves running can keep us waiting.
//
// The package also watches processes that are no children of ours ([Watch]):
// PID 1 of a sandbox outlives the daemon that started it.
package runner

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cove/config"
)

// DefaultTimeout is how long one invocation of runc may take. It is many times
// what the slowest one takes on a loaded machine.
const DefaultTimeout = 30 * time.Second

// Runner invokes one runc for the containers under one root. Its methods may
// be called at the same time, though not for the same container.
type Runner struct {
	// Binary is the absolute path of runc, from [Find].
	Binary string
	// Root is the absolute path of the directory where runc keeps its
	// records: on a tmpfs, 0700, made by the caller.
	Root string
	// Timeout is the limit of each invocation; 0 is DefaultTimeout.
	Timeout time.Duration
}

// The names of what runc keeps in Root/<id> (libcontainer/factory_linux.go).
const (
	stateFile = "state.json"
	fifoFile  = "exec.fifo"
)

func checkID(op, id string) error {
	if !config.ValidID(id) {
		return &Error{Op: op, Message: fmt.Sprintf("bad id %q", id), Err: fs.ErrInvalid}
	}
	return nil
}

func (r *Runner) timeout() time.Duration { return cmp.Or(r.Timeout, DefaultTimeout) }

func (r *Runner) dir(id string) string { return filepath.Join(r.Root, id) }

// List gives the ids of all containers under Root, sorted, among them those of
// which a killed runc left nothing but a directory.
func (r *Runner) List() ([]string, error) {
	entries, err := os.ReadDir(r.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && config.ValidID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	return ids, nil
}
