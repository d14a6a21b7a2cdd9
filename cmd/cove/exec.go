package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/api"
)

// execFlags say how a program is run in a sandbox: exec and run have the same.
type execFlags struct {
	stdin, tty bool
	dir, user  string
	timeout    durationFlag
}

// durationFlag is a config.Duration as a flag.
type durationFlag struct{ config.Duration }

// Set and Type, with String, make it a pflag.Value.
func (d *durationFlag) Set(text string) (err error) {
	d.Duration, err = config.ParseDuration(text)
	if err == nil && d.Duration == config.Never {
		d.Duration = 0
	}
	return err
}
func (d *durationFlag) Type() string { return "DURATION" }

func (f *execFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.BoolVarP(&f.stdin, "stdin", "i", false, "pass standard input on; without it the program reads nothing")
	flags.BoolVarP(&f.tty, "tty", "t", false, "give the program a terminal (and standard input)")
	flags.StringVarP(&f.dir, "workdir", "w", "", "`DIR` to run in (default: the sandbox's)")
	flags.StringVarP(&f.user, "user", "u", "", "`USER` to run as, a name or UID[:GID] (default: the sandbox's)")
	flags.Var(&f.timeout, "timeout", "kill it and all it started after that long (status 124)")
	for _, name := range []string{"workdir", "user", "timeout"} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
}

func (f *execFlags) request(a *app, argv []string, env map[string]string) (api.ExecRequest, error) {
	req := api.ExecRequest{
		Argv: argv, Env: env, Dir: f.dir, User: f.user,
		Stdin: f.stdin || f.tty, TTY: f.tty, Timeout: f.timeout.Duration,
	}
	if f.tty {
		if !isTerminal(a.stdin) || !isTerminal(a.stdout) {
			return req, usagef("-t needs a terminal on standard input and output (for a pipe: -i)")
		}
		req.Term = os.Getenv("TERM")
		req.Cols, req.Rows = terminalSize(a.stdout)
	}
	return req, nil
}

func (a *app) execCommand() *cobra.Command {
	var flags execFlags
	var vars []string
	c := &cobra.Command{
		Use:   "exec NAME -- CMD...",
		Short: "Run a program in a sandbox",
		Long: `Run a program in a sandbox and exit with its status: 128 and the signal where a
signal ended it, 124 at a timeout, 137 out of memory, 126 or 127 where it could
not be run. Signals that this command gets (INT, TERM, HUP, QUIT) are passed on.`,
		Example:           "  cove exec a -- ls -l\n  tar c . | cove exec a -i -- tar x\n  cove exec a -t -- vim",
		ValidArgsFunction: a.sandboxNames(1),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("takes a sandbox and a command (cove exec NAME -- CMD...)")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 && n != 1 {
				return usagef("takes one sandbox before --, got %d (cove exec NAME -- CMD...)", n)
			}
			env, err := parseEnv(vars)
			if err != nil {
				return err
			}
			req, err := flags.request(a, args[1:], env)
			if err != nil {
				return err
			}
			run := newForwarder()
			defer run.stop()
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			return a.exec(cmd.Context(), client, args[0], req, run)
		},
	}
	flags.register(c)
	c.Flags().StringArrayVarP(&vars, "env", "e", nil, "environment variable `K=V`; K alone is taken from here")
	must(c.RegisterFlagCompletionFunc("env", cobra.NoFileCompletions))
	return c
}

// parseEnv reads K=V, and K for a variable of the caller's own.
func parseEnv(vars []string) (map[string]string, error) {
	env := make(map[string]string, len(vars))
	for _, text := range vars {
		name, v, err := config.ParseEnv(text)
		if err != nil {
			return nil, usagef("--env: %w", err)
		}
		if v.From == config.FromEnv {
			value, ok := os.LookupEnv(name)
			if !ok {
				return nil, usagef("--env %s: it is not set here (give it a value: --env %s=...)", name, name)
			}
			v.Value = value
		}
		env[name] = v.Value
	}
	return env, nil
}

// exec runs a program and returns nil when it succeeded, else an exitError with
// its status, after the line that says why where the status alone does not.
func (a *app) exec(ctx context.Context, client *api.Client, name string, req api.ExecRequest, run *forwarder) error {
	return a.runStream(ctx, client, name, req, run, func(ctx context.Context) (*api.Stream, error) {
		return client.Exec(ctx, name, req)
	})
}

// runStream is exec of what open begins.
func (a *app) runStream(
	ctx context.Context, client *api.Client, name string, req api.ExecRequest, run *forwarder, open func(context.Context) (*api.Stream, error),
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Until there is a program to pass it on to, a signal ends the attempt.
	run.target(func(number int) { cancel(&exitError{status: 128 + number}) })
	conn, err := open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return explain(err, name)
	}
	defer closeQuietly(conn)
	var (
		gaveUp atomic.Int32
		hangup sync.Once
		timer  *time.Timer
	)
	insisted, last := make(map[int]int), make(map[int]time.Time)
	run.target(func(number int) {
		// A broken connection shows at the receiving end.
		_ = conn.Signal(number)
		// A program that will not end must not keep its person: when the
		// terminal goes, or a request is made again and again, the
		// connection is closed, which hangs the program up.
		if now := time.Now(); now.Sub(last[number]) > insistence {
			insisted[number], last[number] = 1, now
		} else {
			insisted[number]++
			last[number] = now
		}
		if limit := enough(number); limit > 0 && insisted[number] >= limit {
			giveUp := func() {
				gaveUp.Store(int32(number))
				closeQuietly(conn)
			}
			if unix.Signal(number) == unix.SIGHUP {
				hangup.Do(func() { timer = time.AfterFunc(hangupGrace, giveUp) })
			} else {
				giveUp()
			}
		}
	})
	defer func() {
		hangup.Do(func() {}) // no timer from here on
		if timer != nil {
			timer.Stop()
		}
	}()
	st, err := a.pump(conn, req)
	if number := gaveUp.Load(); number != 0 {
		return &exitError{status: 128 + int(number)}
	}
	var silent *exitError
	switch {
	case errors.As(err, &silent):
		return err
	case err != nil:
		return prefixed(err, name)
	}
	return a.outcome(ctx, client, name, req, st)
}

// insistence is within what time a signal has to come again to count as asked again.
const insistence = 2 * time.Second

// hangupGrace is what a program gets to end by itself when the terminal goes.
const hangupGrace = 2 * time.Second

// enough is how many signals of one number, one after the other, end the waiting for the program; 0
// is never.
func enough(number int) int {
	switch unix.Signal(number) {
	case unix.SIGHUP:
		return 1
	case unix.SIGTERM:
		return 2
	case unix.SIGINT, unix.SIGQUIT:
		return 3
	default:
		return 0
	}
}
