package cow

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cove/runtime/delta"
	"cove/runtime/store"
)

// Limits of what is kept of applies, in bytes and changes.
const (
	maxApplied      = 64 << 20
	maxAppliedCount = 200_000
)

// Applied is what was applied or discarded since the sandbox got the directory, by
// path: it counts in place of what the manifest says.
type Applied map[string]Mark

// Mark is one such change.
type Mark struct {
	Sum  string      `json:"sum,omitempty"`
	Base *delta.Base `json:"base,omitempty"`
	At   int64       `json:"at"` // seconds since 1970
}

type appliedLine struct {
	Path []byte `json:"path"`
	Mark
}

// ReadApplied reads the file name in dir; none is none.
func ReadApplied(dir, name string) (Applied, error) {
	var lines []appliedLine
	err := store.ReadJSON(filepath.Join(dir, name), maxApplied, &lines)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read what was applied: %w", err)
	}
	a := make(Applied, len(lines))
	for _, l := range lines {
		a[string(l.Path)] = l.Mark
	}
	return a, nil
}

// Add adds changes, made at a time, to the file. It is there, all or none of it,
// after a crash. Errors: [ErrTooMany].
func (a Applied) Add(dir, name string, changes []delta.Change, at time.Time) error {
	for _, c := range changes {
		a[string(c.Path)] = Mark{Sum: c.Sum, Base: c.Base, At: at.Unix()}
	}
	if len(a) > maxAppliedCount {
		return fmt.Errorf("%w: %d were applied, and no more than %d are kept", ErrTooMany, len(a), maxAppliedCount)
	}
	lines := make([]appliedLine, 0, len(a))
	for p, m := range a {
		lines = append(lines, appliedLine{[]byte(p), m})
	}
	data, err := json.Marshal(lines)
	if err != nil {
		return fmt.Errorf("write down what was applied: %w", err)
	}
	if len(data) > maxApplied {
		return fmt.Errorf("%w: %d bytes tell of what was applied, and no more than %d are kept", ErrTooMany, len(data), maxApplied)
	}
	return store.Replace(dir, name, data, true)
}
