package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/tui/attach"
)

func (a *app) attachCommand() *cobra.Command {
	var session string
	c := &cobra.Command{
		Use:   "attach NAME",
		Short: "Enter a shell in a sandbox that outlives this terminal",
		Long: `Enter a shell in a sandbox. It runs on when you leave it with ctrl+], when this
terminal closes and when the daemon restarts; attach again to come back to it.
A second ctrl+] right after the first passes it on to the program inside.

Where the sandbox's profile has a command, an agent for example, the main session
runs that; --session with another name is a shell beside it.`,
		Args:              oneName,
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !isTerminal(a.stdin) || !isTerminal(a.stdout) {
				return usagef("needs a terminal on standard input and output (without one: cove exec)")
			}
			ctx, stop := interruptible(cmd.Context(), unix.SIGQUIT)
			defer stop()
			client, err := a.client(ctx)
			if err != nil {
				return err
			}
			res, err := a.join(ctx, client, args[0], session)
			if err != nil {
				return err
			}
			if res.How == attach.Lost || res.How == attach.Canceled {
				return &exitError{status: statusFailed}
			}
			return nil
		},
	}
	c.Flags().StringVar(&session, "session", "", "which of the sandbox's shells, `SESSION`; one is made where there is none (default: main)")
	must(c.RegisterFlagCompletionFunc("session", a.sessionNames))
	return c
}

// join shows a terminal session of a sandbox until it ends or is left, and says
// what became of it.
func (a *app) join(ctx context.Context, client *api.Client, name, session string) (attach.Result, error) {
	cols, rows := terminalSize(a.stdout)
	conn, err := client.Attach(ctx, name, api.AttachRequest{
		Session: session, Cols: cols, Rows: rows, Term: os.Getenv("TERM"),
	})
	if err != nil {
		return attach.Result{}, explain(err, name)
	}
	joined, err := attach.Join(ctx, conn)
	if err != nil {
		return attach.Result{}, prefixed(err, name)
	}
	res, err := joined.Run(ctx, attach.Options{In: a.stdin, Out: a.stdout, Name: name, Hold: attach.HoldDefault})
	if err != nil {
		return attach.Result{}, prefixed(err, name)
	}
	a.warn("%s", res.Line(name))
	return res, nil
}

// sessionNames completes the terminal sessions of the sandbox named on the line.
func (a *app) sessionNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 || a.dirsErr != nil || !a.daemonAnswers() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	sessions, err := api.New(a.dirs.Socket()).Sessions(cmd.Context(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range sessions {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
