package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME...",
		Short: "Freeze sandboxes where they are; memory and terminals are kept",
		Long: "Freeze every process of the sandboxes where it is. A paused sandbox uses no processor and keeps its\n" +
			"memory, its terminals and its open connections; cove resume lets it go on. A reboot ends it.",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				_, err := client.Pause(ctx, name)
				return err
			})
		},
	}
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "resume NAME...",
		Short:             "Let paused sandboxes go on",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				_, err := client.Resume(ctx, name)
				return err
			})
		},
	}
}
