package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/text"
)

func (a *app) snapshotCommand() *cobra.Command {
	return group("snapshot", "States of sandboxes that are kept, to make others from", a.snapshotCreateCommand(), a.snapshotBuildCommand(), a.snapshotLsCommand(), a.snapshotRmCommand())
}

func (a *app) snapshotCreateCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "create SANDBOX [NAME]",
		Short: "Keep the present state of a sandbox",
		Long: "Keep the files of a sandbox as they are now, under a name, and print that. Of one that is stopped it takes\n" +
			"a moment, however much there is. One that runs is copied while it does, and stands still for the last of\n" +
			"it: what its programs have in memory is not kept. Sandboxes are made from it with --image snapshot:NAME.",
		Example: "  cove snapshot create web before-upgrade\n  cove create --image snapshot:before-upgrade",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("takes a sandbox and, if you like, a name, got %d arguments (see: %s --help)", len(args), cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r api.SnapshotRequest
			if len(args) > 1 {
				if err := config.ValidName(args[1]); err != nil {
					return usagef("%s: %w", args[1], err)
				}
				r.Name = args[1]
			}
			ctx := cmd.Context()
			client, err := a.client(ctx)
			if err != nil {
				return err
			}
			stop := a.showProgress(ctx, client, args[0])
			s, err := client.Snapshot(ctx, args[0], r)
			stop()
			if err != nil {
				if errors.Is(err, api.ErrExists) {
					return hint(fmt.Errorf("you have a snapshot %s", args[1]), "choose another name, or: cove snapshot rm %s", args[1])
				}
				return explain(err, args[0])
			}
			if asJSON {
				return a.printJSON(s)
			}
			a.tellStill(s.Frozen, s.Copied)
			return a.printf("%s\n", s.Name)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// tellStill tells a person what keeping the state of a sandbox that runs took.
func (a *app) tellStill(frozen float64, copied int64) {
	if (frozen > 0 || copied > 0) && isTerminal(a.stderr) {
		a.warn("it stood still for %v; bytes copied: %s", time.Duration(frozen*float64(time.Second)).Round(100*time.Microsecond), text.Bytes(copied))
	}
}

func (a *app) snapshotLsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List snapshots, as a tree of what lies on what, and their sizes", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			list, err := client.Snapshots(cmd.Context())
			if err != nil {
				return explain(err, "")
			}
			if asJSON {
				return a.printJSON(list)
			}
			return writeTable(a.stdout, []string{"SNAPSHOT", "ID", "OF", "IMAGE", "SIZE", "CREATED", "USED BY"}, snapshotRows(list, time.Now()))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// snapshotRows are the snapshots with those that lie on them below them.
func snapshotRows(list []api.Snapshot, now time.Time) [][]string {
	known := map[string]bool{}
	for _, s := range list {
		known[s.ID] = true
	}
	var rows [][]string
	var add func(parent string, depth int)
	add = func(parent string, depth int) {
		for _, s := range list {
			on := s.Parent
			if !known[on] {
				on = ""
			}
			if on != parent || depth > len(list) {
				continue
			}
			name := s.Name
			if depth > 0 {
				name = strings.Repeat("  ", depth-1) + "└ " + name
			}
			rows = append(rows, []string{name, s.ID, s.Sandbox, s.Image, text.Bytes(s.Size), ago(now, s.Created), strings.Join(s.Used, ", ")})
			add(s.ID, depth+1)
		}
	}
	add("", 0)
	return rows
}

func (a *app) snapshotRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm SNAPSHOT...", Aliases: []string{"remove"}, Short: "Remove snapshots; what was made from them stays as it is",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("takes the names or ids of snapshots (see: cove snapshot ls)")
			}
			return nil
		},
		ValidArgsFunction: a.snapshotNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd, args, func(ctx context.Context, client *api.Client, ref string) error {
				_, err := client.RemoveSnapshot(ctx, ref)
				if errors.Is(err, api.ErrNotFound) {
					return hint(fmt.Errorf("%s: you have no such snapshot", ref), "see: cove snapshot ls")
				}
				return err
			})
		},
	}
}

// snapshotNames completes the names of snapshots that are not yet on the line.
func (a *app) snapshotNames(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if a.dirsErr != nil || !a.daemonAnswers() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := api.New(a.dirs.Socket()).Snapshots(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range list {
		if strings.HasPrefix(s.Name, toComplete) && !slices.Contains(args, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) forkCommand() *cobra.Command {
	var count int
	var asJSON bool
	c := &cobra.Command{
		Use:   "fork SANDBOX [NAME]",
		Short: "Make sandboxes from the present state of one",
		Long: "Make a sandbox from the present state of another, which goes on as before, start it and print its name. Both\n" +
			"have the same files at first, and each its own from then on. With --count several are made at once; NAME is\n" +
			"then what their names begin with.",
		Example: "  cove fork web\n  cove fork web try --count 5",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("takes a sandbox and, if you like, a name, got %d arguments (see: %s --help)", len(args), cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 {
				return usagef("--count takes 1 or more, not %d", count)
			}
			r := api.ForkRequest{Count: count}
			if len(args) > 1 {
				if err := config.ValidName(args[1]); err != nil {
					return usagef("%s: %w", args[1], err)
				}
				r.Name = args[1]
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			f, err := a.fork(ctx, args[0], r)
			if err != nil {
				return err
			}
			if asJSON {
				if err := a.printJSON(f); err != nil {
					return err
				}
			} else {
				a.tellStill(f.Frozen, f.Copied)
				for _, s := range f.Sandboxes {
					if err := a.printf("%s\n", s.Name); err != nil {
						return err
					}
				}
			}
			for i := range f.Errors {
				complain(a.stderr, cmd.Name(), explain(&f.Errors[i], ""))
			}
			if len(f.Errors) > 0 {
				return &exitError{status: statusFailed}
			}
			return nil
		},
	}
	c.Flags().IntVar(&count, "count", 1, "how `MANY`")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// fork makes sandboxes from the state of one. Its mounts are opened anew, as the
// caller, and so is what it takes from the environment.
func (a *app) fork(ctx context.Context, ref string, r api.ForkRequest) (api.ForkResult, error) {
	client, err := a.client(ctx)
	if err != nil {
		return api.ForkResult{}, err
	}
	d, err := client.Get(ctx, ref)
	if err != nil {
		return api.ForkResult{}, explain(err, ref)
	}
	defer a.showProgress(ctx, client, ref)()
	f, err := forkAs(ctx, client, d.Spec, ref, r)
	if ctx.Err() != nil {
		return f, context.Canceled
	}
	return f, explain(err, ref)
}

// forkAs forks the sandbox of the spec with what only the caller has: its mounts
// are opened and its secrets taken from the environment.
func forkAs(ctx context.Context, client *api.Client, spec config.Spec, ref string, r api.ForkRequest) (f api.ForkResult, err error) {
	if r.Secrets, err = secretsHere(spec); err != nil {
		return f, err
	}
	if r.Dirs, err = openDirs(spec.Mounts); err != nil {
		return f, err
	}
	defer closeAll(r.Dirs)
	return client.Fork(ctx, ref, r)
}
