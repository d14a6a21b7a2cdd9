package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spf13/cobra"

	"cove/config"
)

// startTimeout is how long a starting daemon may take to answer: it looks at
// every sandbox of its state directory before it does.
const startTimeout = 60 * time.Second

// readyFD is the descriptor on which a daemon that cove starts says that it is
// ready: the first of exec.Cmd's ExtraFiles.
const readyFD = 3

// startLock is the file in the run directory that starters hold in turn, so
// that two commands at once start one daemon.
const startLock = "start.lock"

// errNotRunning is what a command that needs the daemon gets where it may not
// start one.
var errNotRunning = errors.New("the daemon is not running")

func (a *app) daemonStartCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "Start the daemon where it does not run",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			word := "already running"
			if !a.daemonAnswers() {
				if err := a.startDaemon(cmd.Context()); err != nil {
					return err
				}
				word = "started"
			}
			st, err := a.status(cmd.Context())
			if err != nil {
				return err
			}
			return a.printf("%s, pid %d\n", word, st.Pid)
		},
	}
}

// startDaemon starts the daemon of the app's directories and returns when it
// answers: through its systemd unit where there is one for these directories,
// else as a process of its own.
func (a *app) startDaemon(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return hint(errNotRunning, "start it with: sudo cove daemon start")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if a.hasSystemdUnit() {
		return a.startUnit(ctx)
	}
	runDir, err := openRunDir(a.dirs.Run)
	if err != nil {
		return err
	}
	defer closeQuietly(runDir)
	lock, err := openIn(runDir, startLock, unix.O_RDWR)
	if err != nil {
		return err
	}
	// Closing it gives the lock back.
	defer closeQuietly(lock)
	if err := flock(ctx, lock); err != nil {
		return err
	}
	if a.daemonAnswers() {
		return nil
	}
	return a.spawnDaemon(ctx, runDir)
}

// flock waits for the exclusive lock on f, or for the end of ctx. The system
// call itself cannot be called off: it ends with the other starter, which has a
// timeout, and gives back at once what it then gets, since f is closed.
func flock(ctx context.Context, f *os.File) error {
	fd := int(f.Fd())
	done := make(chan error, 1)
	go func() {
		for {
			err := unix.Flock(fd, unix.LOCK_EX)
			if !errors.Is(err, unix.EINTR) {
				done <- err
				return
			}
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// spawnDaemon runs this program again as the daemon, in a session of its own
// and with nothing of ours but the directories, and waits for its word.
func (a *app) spawnDaemon(ctx context.Context, runDir *os.File) error {
	log, err := openDaemonLog(runDir)
	if err != nil {
		return err
	}
	defer closeQuietly(log)
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer closeQuietly(r)

	//nolint:forbidigo // the daemon is to outlive this program, and every context in it
	cmd := exec.Command(self, "daemon", "run",
		"--state-dir", a.dirs.State, "--run-dir", a.dirs.Run, "--ready-fd", fmt.Sprint(readyFD))
	cmd.Args[0] = "cove"
	cmd.Env = a.daemonEnv()
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	closeQuietly(w)
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	err = awaitReady(r)
	stop()
	switch {
	case err == nil:
		return cmd.Process.Release()
	case errors.Is(ctx.Err(), context.Canceled):
		// We are interrupted; the daemon is not.
		return errors.Join(context.Cause(ctx), cmd.Process.Release())
	case errors.Is(err, errDaemonBusy):
		// It has said that it gives up; reap it, then wait for the other.
		return errors.Join(ignoreExit(cmd.Wait()), a.awaitSocket(ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("it was not ready within %s", startTimeout)
		err = errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()))
	case errors.Is(err, io.EOF):
		err = ignoreExit(cmd.Wait())
		err = errors.Join(fmt.Errorf("it ended before it was ready: %s", cmd.ProcessState), err)
	default:
		err = errors.Join(err, ignoreExit(cmd.Wait()))
	}
	return hint(fmt.Errorf("start the daemon: %w", err), "its log: %s", log.Name())
}

// ignoreExit drops the report that a process ended with a status other than 0.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// daemonEnv is the whole environment of a daemon: root's shell variables must
// not change what it does, nor reach what it runs.
func (a *app) daemonEnv() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"COVE_STATE_DIR=" + a.dirs.State,
		"COVE_RUN_DIR=" + a.dirs.Run,
	}
	if dirs := os.Getenv(config.CDIDirsVar); dirs != "" {
		env = append(env, config.CDIDirsVar+"="+dirs)
	}
	if lang := os.Getenv("LANG"); lang != "" {
		env = append(env, "LANG="+lang)
	}
	return env
}

// unitName is cove's systemd unit.
const unitName = "cove.service"

// hasSystemdUnit tells whether the app's directories are the ones that the
// installed unit serves, on a machine that systemd runs.
func (a *app) hasSystemdUnit() bool {
	if !a.defaultDirs() {
		return false
	}
	// sd_booted(3): this directory exists where systemd is the init.
	if _, err := os.Lstat("/run/systemd/system"); err != nil {
		return false
	}
	for _, dir := range []string{"/etc/systemd/system/", "/run/systemd/system/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if fi, err := os.Stat(dir + unitName); err == nil && fi.Mode().IsRegular() {
			return true
		}
	}
	return false
}

func (a *app) startUnit(ctx context.Context) error {
	if err := systemctl(ctx, "start", unitName); err != nil {
		return hint(err, "see: journalctl -u cove -e")
	}
	return a.awaitSocket(ctx)
}

// systemctl runs one command of it; its last line of output is the error's.
func systemctl(ctx context.Context, args ...string) error {
	path := "/usr/bin/systemctl"
	if _, err := os.Stat(path); err != nil {
		path = "/bin/systemctl"
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; last != "" {
		err = fmt.Errorf("%s (%w)", last, err)
	}
	return fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
}
