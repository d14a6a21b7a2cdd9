package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Start lets a created container's first process go. It does what `runc start`
// does, without the process: runc's init waits until somebody reads from the
// fifo in the container's directory. ErrNotExist, ErrRunning and ErrNotRunning
// say what kept it from it.
func (r *Runner) Start(ctx context.Context, id string) error {
	if err := checkID("start", id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout(), ErrTimeout)
	defer cancel()
	if err := r.start(ctx, id); err != nil {
		return &Error{Op: "start", ID: id, Err: err}
	}
	return nil
}

func (r *Runner) start(ctx context.Context, id string) error {
	rec, err := r.read(id)
	if err != nil {
		return err
	}
	init, err := Watch(rec.Pid, rec.StartTime)
	if errors.Is(err, ErrGone) {
		return ErrNotRunning
	}
	if err != nil {
		return err
	}
	defer func() { _ = init.Close() }()

	path := filepath.Join(r.dir(id), fifoFile)
	// Without waiting for the writer, which opens it when we have.
	fifo, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrRunning
	}
	if err != nil {
		return err
	}
	defer func() { _ = fifo.Close() }()

	// A deadline in the past ends the wait below, whoever asks for it first.
	now := func() { _ = fifo.SetReadDeadline(time.Unix(1, 0)) }
	defer context.AfterFunc(ctx, now)()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-init.Done():
			now()
		case <-over:
		}
	}()

	err = readGo(fifo)
	if errors.Is(err, errHangUp) {
		// Somebody else has let it go, and then the fifo is gone soon; or it
		// has died in between.
		if _, stat := os.Lstat(path); errors.Is(stat, fs.ErrNotExist) {
			return ErrRunning
		}
		select {
		case <-init.Done():
			return ErrNotRunning
		case <-ctx.Done():
		}
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrNotRunning
	default:
		return err
	}
	// Its presence is how runc tells a created container from a running one.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

var errHangUp = errors.New("the fifo was opened and closed without a word")

// readGo waits for the byte that runc's init writes before it becomes the
// container's program.
func readGo(fifo *os.File) error {
	conn, err := fifo.SyscallConn()
	if err != nil {
		return err
	}
	var got bool
	var failed error
	try := func(fd uintptr) bool {
		got, failed = tryRead(int(fd))
		return got || failed != nil
	}
	err = conn.Read(try)
	if errors.Is(err, os.ErrDeadlineExceeded) && !got {
		// The program may have been let go, run and ended by now.
		if err := conn.Control(func(fd uintptr) { try(fd) }); err != nil {
			return err
		}
	}
	switch {
	case got:
		return nil
	case failed != nil:
		return failed
	}
	return err
}

// tryRead reads a byte when there is one. It fails when there will be none.
func tryRead(fd int) (bool, error) {
	var buf [1]byte
	n, err := unix.Read(fd, buf[:])
	for err == unix.EINTR {
		n, err = unix.Read(fd, buf[:])
	}
	switch {
	case err == unix.EAGAIN:
		return false, nil // opened by the writer, not written yet
	case err != nil:
		return false, fmt.Errorf("read the fifo: %w", err)
	case n == 1:
		return true, nil
	}
	// The end of the file: nobody has opened it yet, or somebody did and
	// closed it without a byte; only then does the kernel tell of a hang-up.
	if pollEvents(uintptr(fd))&unix.POLLHUP != 0 {
		return false, errHangUp
	}
	return false, nil
}
