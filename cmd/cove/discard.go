package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) discardCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "discard NAME PATH...",
		Short: "Take back what a sandbox changed in its copy-on-write mounts",
		Long: `Take back what a sandbox has changed in directories that it has copy-on-write (see
cove diff), at PATH with all below it: it has there again what this machine has. A
started one does that by programs of its own (rm, and as cove cp does), a stopped
one loses its copies.`,
		Example:           "  cove discard web src/main.py\n  cove discard web --all",
		Args:              atLeastOneName,
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 1) {
				return usagef("takes the paths to take back, or --all")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return a.discard(ctx, args[0], args[1:])
		},
	}
	c.Flags().BoolVar(&all, "all", false, "everything")
	return c
}

func (a *app) discard(ctx context.Context, ref string, paths []string) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	d, err := client.Get(ctx, ref)
	if err != nil {
		return explain(err, ref)
	}
	mounts, err := cowMounts(d, paths)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		p, err := m.plan(ctx, client, d.ID)
		if err != nil {
			return err
		}
		err = m.discard(ctx, client, d, p.dir, p.found)
		closeQuietly(p.dir)
		if err != nil {
			return prefixed(err, d.Name)
		}
		for _, f := range p.found {
			if err := a.printf("%s\n", shownPath(m, f.Path, len(mounts) > 1)); err != nil {
				return err
			}
		}
	}
	return nil
}
