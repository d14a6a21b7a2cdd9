package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// State is what runc says of a container.
type State struct {
	ID     string `json:"id"`
	Pid    int    `json:"pid"` // of the first process; 0 when it has ended
	Status string `json:"status"`
	Bundle string `json:"bundle"`
	Rootfs string `json:"rootfs"`
	// Annotations are those of the bundle.
	Annotations map[string]string `json:"annotations"`
}

// The values of State.Status.
const (
	Created = "created"
	Running = "running"
	Paused  = "paused"
	Stopped = "stopped"
)

// State asks runc for the state of a container. ErrNotExist: there is none.
func (r *Runner) State(ctx context.Context, id string) (State, error) {
	var s State
	if err := checkID("state", id); err != nil {
		return s, err
	}
	out, err := r.run(ctx, invocation{op: "state", id: id, args: []string{id}, output: true})
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, &Error{Op: "state", ID: id, Err: fmt.Errorf("runc's answer: %w", err)}
	}
	return s, nil
}

// Kill sends a signal to the container's first process. ErrNotExist,
// ErrNotRunning. [Process.Signal] does it without a process.
func (r *Runner) Kill(ctx context.Context, id string, sig syscall.Signal) error {
	if err := checkID("kill", id); err != nil {
		return err
	}
	_, err := r.run(ctx, invocation{op: "kill", id: id, args: []string{id, strconv.Itoa(int(sig))}})
	return err
}

// Delete makes runc remove its record and the control group of a container
// that has ended. One that it does not know is no error. ErrRunning: it has not
// ended. For a container that was never started runc sleeps 100 ms; see
// [Runner.Forget] for one whose processes and control group are gone.
func (r *Runner) Delete(ctx context.Context, id string) error {
	if err := checkID("delete", id); err != nil {
		return err
	}
	_, err := r.run(ctx, invocation{op: "delete", id: id, args: []string{id}})
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	return err
}

// ForceDelete makes runc kill the container, whatever its state, and remove its
// record and control group. One that it does not know is no error, and what
// little a killed runc left of one is removed too. runc sleeps 100 ms in it.
func (r *Runner) ForceDelete(ctx context.Context, id string) error {
	if err := checkID("delete", id); err != nil {
		return err
	}
	_, err := r.run(ctx, invocation{op: "delete", id: id, args: []string{"--force", id}})
	return err
}

// Forget removes the record of a container whose first process has ended,
// without a runc: the control group, which runc would remove, is the caller's.
// One that is not there is no error. ErrRunning: its process lives.
func (r *Runner) Forget(id string) error {
	if err := checkID("delete", id); err != nil {
		return err
	}
	rec, err := r.read(id)
	switch {
	case errors.Is(err, ErrNotExist):
	case err != nil:
		return &Error{Op: "delete", ID: id, Err: err}
	default:
		now, err := procStat(rec.Pid)
		if err != nil && !errors.Is(err, ErrGone) {
			return &Error{Op: "delete", ID: id, Err: err}
		}
		if err == nil && now.starttime == rec.StartTime && !now.ended() {
			return &Error{Op: "delete", ID: id, Err: ErrRunning}
		}
	}
	if err := os.RemoveAll(r.dir(id)); err != nil {
		return &Error{Op: "delete", ID: id, Err: err}
	}
	return nil
}

// Update changes the limits of a container that was created. Fields that are
// nil stay as they are.
func (r *Runner) Update(ctx context.Context, id string, res *specs.LinuxResources) error {
	if err := checkID("update", id); err != nil {
		return err
	}
	_, err := r.run(ctx, invocation{op: "update", id: id, args: []string{"--resources", "-", id}, stdin: res})
	return err
}

// Features tells what this runc can do.
func (r *Runner) Features(ctx context.Context) (*features.Features, error) {
	out, err := r.run(ctx, invocation{op: "features", output: true})
	if err != nil {
		return nil, err
	}
	var f features.Features
	if err := json.Unmarshal(out, &f); err != nil {
		return nil, &Error{Op: "features", Err: fmt.Errorf("runc's answer: %w", err)}
	}
	return &f, nil
}
