package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cove/config"
)

const (
	// reapTime is how long a killed runc may take to go; one that is stuck
	// in the kernel is left to the goroutine that waits for it.
	reapTime = 2 * time.Second
	// maxOutput bounds what is read of runc's standard output.
	maxOutput = 4 << 20
)

// invocation is one run of runc.
type invocation struct {
	op    string   // the command
	id    string   // the container, for errors; or ""
	args  []string // after the command
	stdin any      // sent as JSON, unless nil
	files []*os.File
	// output asks for standard output to be returned.
	output bool
}

// run runs runc to its end, the end of its time or of ctx, whichever is first,
// and returns its standard output where it was asked for. Errors are [*Error].
func (r *Runner) run(ctx context.Context, inv invocation) ([]byte, error) {
	fail := func(message string, err error) error {
		return &Error{Op: inv.op, ID: inv.id, Message: message, Err: err}
	}
	// In memory: runc writes each line of its log synchronously, and a daemon
	// that is killed leaves no file behind.
	log, err := memFile("runc-log")
	if err != nil {
		return nil, fail("", err)
	}
	defer func() { _ = log.Close() }()
	// By our name for it: an inherited descriptor could go on to the container.
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), log.Fd())
	out, err := r.exec(ctx, append([]string{"--root", r.Root, "--log", path, "--log-format", "json", inv.op}, inv.args...), inv)
	if err == nil {
		return out, nil
	}
	message := lastErrors(log)
	// A runc that was killed has said nothing of why.
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		if kind := kindOf(message); kind != nil {
			return nil, fail("", kind)
		}
	}
	return nil, fail(message, err)
}

// exec starts runc with args and sees it off.
func (r *Runner) exec(ctx context.Context, args []string, inv invocation) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	//nolint:forbidigo // its end is waited for below, and its whole group killed: more than CommandContext does
	cmd := exec.Command(r.Binary, args...)
	// Nothing of the daemon's environment: it steers the Go runtime, the
	// linker, systemd's socket activation.
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}
	cmd.Dir = "/"
	cmd.ExtraFiles = inv.files
	// Killed with the daemon: a create that goes on after its daemon would
	// race with the next daemon's clean-up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	if inv.stdin != nil {
		stdin, err := memFile("runc-stdin")
		if err != nil {
			return nil, err
		}
		defer func() { _ = stdin.Close() }()
		if err := json.NewEncoder(stdin).Encode(inv.stdin); err != nil {
			return nil, err
		}
		if _, err := stdin.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		cmd.Stdin = stdin
	}
	if !inv.output {
		return nil, supervise(ctx, cmd, r.timeout())
	}
	stdout, err := memFile("runc-stdout")
	if err != nil {
		return nil, err
	}
	defer func() { _ = stdout.Close() }()
	cmd.Stdout = stdout
	if err := supervise(ctx, cmd, r.timeout()); err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(stdout, 0, maxOutput))
}

// supervise runs cmd, which must use no pipes, and kills its process group at
// the end.
func supervise(ctx context.Context, cmd *exec.Cmd, timeout time.Duration) error {
	started := make(chan error, 1)
	exited := make(chan struct{}) // the process is a zombie: its pid is still its own
	reap := make(chan struct{})   // the group is dead or given up
	reaped := make(chan error, 1)
	go func() {
		// The parent death signal is sent when the thread ends that made
		// the child, so the thread has to be kept (golang/go#27505).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		restore, err := threadUmask(0o022)
		if err == nil {
			err = cmd.Start()
			restore()
		}
		started <- err
		if err != nil {
			return
		}
		for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		close(exited)
		<-reap
		reaped <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		return err
	}
	defer close(reap)

	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var why error
	select {
	case <-exited:
	case <-timer.C:
		why = fmt.Errorf("%w (%v)", ErrTimeout, timeout)
	case <-ctx.Done():
		why = ctx.Err()
	}
	// The group's id is the pid of runc, which is not reaped yet: it is
	// nobody else's. A container's own process has a session of its own.
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	if why != nil {
		stuck := time.NewTimer(reapTime)
		defer stuck.Stop()
		select {
		case <-exited:
		case <-stuck.C:
			return fmt.Errorf("%w, and does not die", why)
		}
	}
	reap <- struct{}{}
	err := <-reaped
	if why != nil {
		return why
	}
	return err
}

// threadUmask sets the umask of the calling thread, which must be locked to its
// goroutine, and of what it starts: the daemon's own would close to the users of
// a sandbox the directories that the runtime makes in it. restore sets it back.
func threadUmask(mask int) (restore func(), err error) {
	// The mask belongs to what all threads share of their view of files; the
	// thread gets its own, which differs in nothing else.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("unshare the umask: %w", err)
	}
	old := unix.Umask(mask)
	return func() { unix.Umask(old) }, nil
}

// memFile gives an anonymous file: a child that keeps it keeps nobody waiting.
func memFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// kindOf recognises what runc says of itself in so many words. Only whole
// messages count: parts of longer ones may be a sandbox's choice.
func kindOf(message string) error {
	if rest, ok := strings.CutPrefix(message, "runc "); ok {
		if op, rest, ok := strings.Cut(rest, " failed: "); ok && !strings.Contains(op, " ") {
			message = rest
		}
	}
	switch message {
	case "container does not exist":
		return ErrNotExist
	case "container with given ID already exists":
		return ErrExist
	case "cannot start an already running container", "container still running":
		return ErrRunning
	case "container not running", "container process is already dead", "cannot start a container that has stopped":
		return ErrNotRunning
	}
	if rest, ok := strings.CutPrefix(message, "cannot delete container "); ok {
		if id, state, ok := strings.Cut(rest, " that is not stopped: "); ok && config.ValidID(id) && !strings.Contains(state, " ") {
			return ErrRunning
		}
	}
	return nil
}
