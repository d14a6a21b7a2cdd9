package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/frame"
	"cove/tui/action"
	"cove/tui/attach"
)

func (a *app) runCommand() *cobra.Command {
	var spec specFlags
	var how execFlags
	c := &cobra.Command{
		Use:   "run [flags] [-- CMD...]",
		Short: "Make a sandbox and run a program in it",
		Long: `Make a sandbox, run a program in it, and exit with the program's status, as exec
does. The sandbox is kept, unless --rm is given.

Without CMD it is the profile's own command, in a terminal session as attach has
them: ctrl+] leaves it running, and cove attach comes back to it.`,
		Example: "  cove run -p python -- python3 -c 'print(6 * 7)'\n  cove run -p claude --mount .:/workspace:rw",
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n > 0 {
				return usagef("takes nothing before --, got %q (cove run -- CMD...)", args[0])
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return a.run(cmd.Context(), &spec, &how, args)
			}
			for _, name := range []string{"workdir", "user", "timeout"} {
				if cmd.Flags().Changed(name) {
					return usagef("--%s is for a command, and there is none (cove run --%s ... -- CMD...)", name, name)
				}
			}
			return a.runSession(cmd.Context(), &spec)
		},
	}
	spec.register(a, c)
	how.register(c)
	return c
}

func (a *app) run(ctx context.Context, flags *specFlags, how *execFlags, argv []string) error {
	spec, err := flags.resolve(a)
	if err != nil {
		return err
	}
	req, err := how.request(a, argv, nil)
	if err != nil {
		return err
	}
	making, stop := interruptible(ctx)
	defer stop()
	remove := flags.switched("rm")
	made, err := a.create(making, flags.name, spec)
	if err != nil {
		return a.notMade(ctx, made, remove, err)
	}
	if flags.name == "" && !remove && isTerminal(a.stderr) {
		a.warn("the sandbox is %s", made.Name)
	}
	client := api.New(a.dirs.Socket())
	// From here on signals are the program's; one that came before ends it all.
	signals := newForwarder()
	defer signals.stop()
	err = making.Err()
	stop()
	if err == nil {
		err = a.exec(ctx, client, made.Name, req, signals)
	}
	if !remove {
		return err
	}
	return a.remove(ctx, client, made, err)
}

// notMade is what a failed create comes to. A sandbox whose setup failed is kept
// to be mended, but not where it was to be thrown away.
func (a *app) notMade(ctx context.Context, made api.Sandbox, remove bool, err error) error {
	var failed *api.Error
	if !remove || !errors.Is(err, api.ErrSetup) || !errors.As(err, &failed) {
		return err
	}
	told := *failed
	told.Hint = "deleted, as --rm asks; without --rm it is kept, to be mended"
	return a.remove(context.WithoutCancel(ctx), api.New(a.dirs.Socket()), made, &told)
}

// remove deletes what was made for one program that has ended with err.
func (a *app) remove(ctx context.Context, client *api.Client, made api.Sandbox, err error) error {
	_, gone := client.Delete(ctx, made.ID, true)
	if gone != nil && !errors.Is(gone, api.ErrNotFound) {
		complain(a.stderr, "run", explain(gone, made.Name))
		if err == nil {
			err = &exitError{status: statusFailed}
		}
	}
	return err
}

// runSession makes a sandbox and shows the terminal session that runs its
// profile's command.
func (a *app) runSession(ctx context.Context, flags *specFlags) error {
	spec, err := flags.resolve(a)
	if err != nil {
		return err
	}
	if len(spec.Command) == 0 {
		return usagef("takes a command (cove run -- CMD...): the profile %s has none of its own", spec.Profile)
	}
	if !isTerminal(a.stdin) || !isTerminal(a.stdout) {
		return usagef("the profile's command needs a terminal on standard input and output (without one: cove run -- CMD...)")
	}
	if err := commandThere(spec, flags); err != nil {
		return err
	}
	ctx, stop := interruptible(ctx, unix.SIGQUIT)
	defer stop()
	made, err := a.create(ctx, flags.name, spec)
	if err != nil {
		return a.notMade(ctx, made, flags.switched("rm"), err)
	}
	client := api.New(a.dirs.Socket())
	res, err := a.join(ctx, client, made.Name, "")
	switch {
	case err != nil:
	case res.How == attach.Detached:
		return nil // what was left running is not thrown away
	case res.How != attach.Exited:
		return &exitError{status: statusFailed}
	default:
		err = sessionOutcome(res.Exit)
	}
	if !flags.switched("rm") {
		return err
	}
	return a.remove(context.WithoutCancel(ctx), client, made, err)
}

// sessionOutcome is the exit status of a session's program; what there was to say
// of it has been said.
func sessionOutcome(st frame.ExitStatus) error {
	switch {
	case st.Reason == frame.ReasonOOM, st.Reason == frame.ReasonGone:
		return &exitError{status: statusKilled}
	case st.Code != 0:
		return &exitError{status: st.Code & 0xff}
	}
	return nil
}

// commandThere says, before anything is made, that the program which a sandbox is
// for would not be there, and how it can be.
func commandThere(spec config.Spec, flags *specFlags) error {
	err := config.FindCommand("/", spec, os.Getenv("PATH"))
	var missing *config.CommandError
	if !errors.As(err, &missing) || missing.Install == "" {
		return err
	}
	name := orPlaceholder(flags.name)
	return hint(err, "for all sandboxes: sudo %s; or in one: %s, cove exec %s -- %s, cove attach %s",
		missing.Install, action.Quote(flags.create(name)...), name, missing.Install, name)
}

// create is the command line that makes such a sandbox and keeps it. Of variables
// it has the names only.
func (f *specFlags) create(name string) []string {
	argv := []string{"cove", "create"}
	if f.profile != "" {
		argv = append(argv, "-p", f.profile)
	}
	argv = append(argv, "-n", name)
	for _, o := range f.over {
		for _, v := range o.values {
			switch {
			case o.flag.Name == "rm":
				continue
			case o.flag.Switch():
				argv = append(argv, "--"+o.flag.Name+"="+v)
				continue
			case o.flag.Name == "env":
				if k, _, ok := strings.Cut(v, "="); ok {
					v = k + "=..."
				}
			}
			argv = append(argv, "--"+o.flag.Name, v)
		}
	}
	return argv
}
