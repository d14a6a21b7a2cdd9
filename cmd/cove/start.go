package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) startCommand() *cobra.Command {
	var skip bool
	c := &cobra.Command{
		Use:               "start NAME...",
		Short:             "Start sandboxes",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				defer a.showProgress(ctx, client, name)()
				secrets, err := secretsFor(ctx, client, name)
				if err != nil {
					return err
				}
				_, err = client.Start(ctx, name, api.StartRequest{Secrets: secrets, SkipSetup: skip})
				return err
			})
		},
	}
	c.Flags().BoolVar(&skip, "skip-setup", false, "leave the setup steps that failed, and those behind them, for the next start")
	return c
}
