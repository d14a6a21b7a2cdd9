package runner

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Create makes the container of a bundle; its first process exists then, in all
// its confinement, and waits for [Runner.Start]. The listener, unless nil, is
// that process's file descriptor 3. Create returns the process's pid.
//
// On failure the container is gone again, but for a control group that a killed
// runc may have left: its path is the caller's, and so is its removal.
// ErrExist: there is a container with that id, and it was left alone.
func (r *Runner) Create(ctx context.Context, id, bundle string, listener *os.File) (int, error) {
	if err := checkID("create", id); err != nil {
		return 0, err
	}
	bundle, err := filepath.Abs(bundle)
	if err != nil {
		return 0, &Error{Op: "create", ID: id, Err: err}
	}
	// runc looks at the bundle first and at the id later: of an id that is
	// taken its failure must not make us clean up.
	if _, err := os.Lstat(r.dir(id)); err == nil {
		return 0, &Error{Op: "create", ID: id, Err: ErrExist}
	}
	inv := invocation{op: "create", id: id, args: []string{"--bundle", bundle}}
	if listener != nil {
		inv.files = []*os.File{listener}
		inv.args = append(inv.args, "--preserve-fds", "1")
	}
	inv.args = append(inv.args, id)
	if _, err = r.run(ctx, inv); err == nil {
		// Not from --pid-file: runc writes that one synchronously, and it
		// has written its record already.
		var rec record
		if rec, err = r.read(id); err == nil {
			return rec.Pid, nil
		}
		err = &Error{Op: "create", ID: id, Err: err}
	}
	if _, gone := os.Lstat(r.dir(id)); errors.Is(err, ErrExist) || errors.Is(gone, fs.ErrNotExist) {
		return 0, err
	}
	// The clean-up has to happen although ctx has ended.
	return 0, errors.Join(err, r.ForceDelete(context.WithoutCancel(ctx), id))
}
