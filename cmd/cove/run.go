package main

import (
	"context"
	"errors"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"cove/runtime/api"
)

func (a *app) runCommand() *cobra.Command {
	var spec specFlags
	var how execFlags
	c := &cobra.Command{
		Use:   "run [flags] -- CMD...",
		Short: "Make a sandbox and run a program in it",
		Long: `Make a sandbox, run a program in it, and exit with the program's status, as exec
does. The sandbox is kept, unless --rm is given.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("takes a command (cove run -- CMD...)")
			}
			if n := cmd.ArgsLenAtDash(); n > 0 {
				return usagef("takes nothing before --, got %q (cove run -- CMD...)", args[0])
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd.Context(), &spec, &how, args)
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
	making, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	made, err := a.create(making, flags.name, spec)
	if err != nil {
		return err
	}
	remove := flags.switched("rm")
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
	_, gone := client.Delete(ctx, made.ID, true)
	if gone != nil && !errors.Is(gone, api.ErrNotFound) {
		complain(a.stderr, "run", explain(gone, made.Name))
		if err == nil {
			err = &exitError{status: statusFailed}
		}
	}
	return err
}
