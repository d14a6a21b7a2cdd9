package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// record is the part of runc's own record of a container that we read: to ask
// runc for it costs a process. The format belongs to the pinned version; the
// tests hold both against each other.
type record struct {
	Pid       int    `json:"init_process_pid"`
	StartTime uint64 `json:"init_process_start"` // as in /proc/PID/stat
}

// read gives runc's record of the container, or ErrNotExist.
func (r *Runner) read(id string) (record, error) {
	data, err := os.ReadFile(filepath.Join(r.dir(id), stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, ErrNotExist
	}
	if err != nil {
		return record{}, err
	}
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return record{}, fmt.Errorf("runc's record: %w", err)
	}
	if rec.Pid <= 0 || rec.StartTime == 0 {
		return record{}, errors.New("runc's record names no process")
	}
	return rec, nil
}
