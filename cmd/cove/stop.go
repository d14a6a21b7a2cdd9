package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) stopCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:               "stop NAME...",
		Short:             "Stop sandboxes; what they wrote stays",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				_, err := client.Stop(ctx, name, api.StopRequest{Force: force})
				return err
			})
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "kill at once what runs inside")
	return c
}
