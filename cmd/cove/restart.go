package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) restartCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:               "restart NAME...",
		Short:             "Stop sandboxes and start them again",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				defer a.showProgress(ctx, client, name)()
				secrets, err := secretsFor(ctx, client, name)
				if err != nil {
					return err
				}
				req := api.StartRequest{Secrets: secrets, StopRequest: api.StopRequest{Force: force}}
				_, err = client.Restart(ctx, name, req)
				return err
			})
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "kill at once what runs inside")
	return c
}
