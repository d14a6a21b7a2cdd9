package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) startCommand() *cobra.Command {
	return &cobra.Command{
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
				_, err = client.Start(ctx, name, api.StartRequest{Secrets: secrets})
				return err
			})
		},
	}
}
