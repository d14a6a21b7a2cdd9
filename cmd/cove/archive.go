package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) archiveCommand() *cobra.Command {
	var r api.ArchiveRequest
	var full bool
	var file string
	c := &cobra.Command{
		Use:   "archive NAME...",
		Short: "Put the files of stopped sandboxes into an archive, until they are started",
		Long: "Put the files of stopped sandboxes into one compressed file each, which is read back and compared\n" +
			"before they go. cove start brings a sandbox back as it was; until then it takes a part of the disk only.\n\n" +
			"With --full a sandbox is written, with all that it is made of, to a file of yours instead, for cove import\n" +
			"on another machine, and stays as it is. One on the host image takes this machine's own system with it.",
		Example:           "  cove archive old\n  cove archive web --stop --full -o web.cove\n  cove archive web --full -o - | ssh other cove import -",
		Args:              someNames,
		ValidArgsFunction: a.sandboxNames(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			if full || file != "" {
				return a.export(cmd.Context(), names, full, file, r.Stop)
			}
			return a.each(cmd, names, func(ctx context.Context, client *api.Client, name string) error {
				defer a.showProgress(ctx, client, name)()
				_, err := client.Archive(ctx, name, r)
				return err
			})
		},
	}
	c.Flags().BoolVar(&r.Stop, "stop", false, "stop them first")
	c.Flags().BoolVar(&full, "full", false, "write all that one is made of to the file of -o")
	c.Flags().StringVarP(&file, "output", "o", "", "`FILE` for --full; - is standard output")
	return c
}
