package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/mount"
	"cove/runtime/runner"
)

// daemonFlags are what `cove daemon run` is told besides its directories.
type daemonFlags struct {
	// ready must be told once the socket answers; it may be nil.
	ready *readiness
	// level is from which on the daemon logs.
	level slog.Level
	// machine is the mount namespace of the machine.
	machine *mount.Namespace
}

func (a *app) daemonRunCommand() *cobra.Command {
	var state, run string
	var readyFD int
	var told daemonFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "Be the daemon, in the foreground",
		Long:  "Be the daemon, in the foreground, until SIGTERM or SIGINT; its log goes to stderr.\nSandboxes run on when it ends, and the next daemon takes them over.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if told.ready, err = newReadiness(readyFD); err != nil {
				return err
			}
			err = a.serve(cmd.Context(), state, run, told)
			if err != nil {
				// The starter may be gone, and the error is told below as well.
				_ = told.ready.failed(err)
			}
			return err
		},
	}
	flags := c.Flags()
	flags.StringVar(&state, "state-dir", "", "`DIR` of what survives a reboot (default $COVE_STATE_DIR or "+config.DefaultStateDir+")")
	flags.StringVar(&run, "run-dir", "", "`DIR` of the socket and of what runs (default $COVE_RUN_DIR or "+config.DefaultRunDir+")")
	flags.TextVar(&told.level, "log-level", slog.LevelInfo, "`LEVEL` from which on to log: debug, info, warn or error")
	flags.IntVar(&readyFD, "ready-fd", 0, "inherited pipe on which to say that the socket answers")
	must(flags.MarkHidden("ready-fd"))
	return c
}

// serve puts the process into the state a daemon needs and runs it until a
// signal asks it to end.
func (a *app) serve(ctx context.Context, state, run string, told daemonFlags) error {
	if os.Geteuid() != 0 {
		return hint(errors.New("only root can be the daemon"), "sudo cove daemon start")
	}
	dirs, err := config.DirsFromEnv(func(name string) string {
		switch {
		case name == "COVE_STATE_DIR" && state != "":
			return state
		case name == "COVE_RUN_DIR" && run != "":
			return run
		}
		return os.Getenv(name)
	})
	if err != nil {
		return &usageError{err}
	}
	unix.Umask(0o077)
	// A directory of the caller's would be kept busy for as long as the
	// daemon lives.
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("change to the root directory: %w", err)
	}
	if told.machine, err = enterPrivateNamespace(); err != nil {
		return err
	}
	defer closeQuietly(told.machine)
	// Only now: entering the namespace begins the program again, with the
	// pipe.
	told.ready.seal()
	if err := runner.Adopt(); err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	err = runDaemon(ctx, dirs, told)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
