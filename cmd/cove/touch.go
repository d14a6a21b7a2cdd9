package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) touchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "touch NAME...",
		Short: "Say that sandboxes are still wanted: idle time counts from now",
		Long: "Have the time in which the sandboxes were not in use, and that since they stopped, count from now.\n" +
			"A ttl goes on: cove automation NAME --ttl changes it.",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				_, err := client.Touch(ctx, name)
				return err
			})
		},
	}
}
