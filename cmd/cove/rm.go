package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) rmCommand() *cobra.Command {
	var now bool
	c := &cobra.Command{
		Use:               "rm NAME...",
		Aliases:           []string{"delete"},
		Short:             "Delete sandboxes, in whatever state they are; cove undo brings one back",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				_, err := client.Delete(ctx, name, now)
				return err
			})
		},
	}
	c.Flags().BoolVar(&now, "now", false, "keep nothing for cove undo")
	return c
}
