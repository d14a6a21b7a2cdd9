package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// maxOutput is what a vendor's tool may print.
const maxOutput = 4 << 20

var errTooMuch = errors.New("it printed too much")

// output runs a program to its end, within limit, and gives what it printed. The
// program and what it started end with it, and with the daemon.
func output(ctx context.Context, limit time.Duration, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + searchPath(), "LC_ALL=C"}
	out, errs := bounded{most: maxOutput, stop: true}, bounded{most: 64 << 10}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	// The death signal is sent when the thread ends that made the child
	// (golang/go#27505).
	runtime.LockOSThread()
	err := cmd.Run()
	runtime.UnlockOSThread()
	switch {
	case out.over:
		err = errTooMuch
	case ctx.Err() != nil:
		err = fmt.Errorf("no answer within %s", limit)
	}
	if err != nil {
		// What they print first are warnings.
		if said := strings.TrimSpace(errs.data.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, said[strings.LastIndexByte(said, '\n')+1:])
		}
		return nil, fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	return out.data.Bytes(), nil
}

// driverBin is where a driver lies that is no part of the system: some machines in
// clouds have it there.
const driverBin = "/usr/local/nvidia/bin"

// searchPath is where vendors' tools look for each other.
func searchPath() string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	dir, err := openTrustedDir(driverBin)
	if err != nil {
		return path
	}
	_ = dir.Close()
	// First: the system's may be a script that calls the driver's.
	return driverBin + ":" + path
}

// bounded keeps the first bytes of what is written to it. It takes the rest and
// drops it, or with stop takes no more.
type bounded struct {
	data       bytes.Buffer // not embedded: its ReadFrom has no bound
	most       int
	stop, over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.most - b.data.Len(); len(p) > room {
		b.over = true
		_, _ = b.data.Write(p[:room])
		if b.stop {
			return room, errTooMuch
		}
		return len(p), nil
	}
	return b.data.Write(p)
}
