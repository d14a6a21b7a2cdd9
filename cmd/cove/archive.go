package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) archiveCommand() *cobra.Command {
	var r api.ArchiveRequest
	c := &cobra.Command{
		Use:   "archive NAME...",
		Short: "Put the files of stopped sandboxes into an archive, until they are started",
		Long: "Put the files of stopped sandboxes into one compressed file each, which is read back and compared\n" +
			"before they go. cove start brings a sandbox back as it was; until then it takes a part of the disk only.",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				defer a.showProgress(ctx, client, name)()
				_, err := client.Archive(ctx, name, r)
				return err
			})
		},
	}
	c.Flags().BoolVar(&r.Stop, "stop", false, "stop them first")
	return c
}
