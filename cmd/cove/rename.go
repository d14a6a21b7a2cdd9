package main

import (
	"errors"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
)

func (a *app) renameCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rename NAME NEW",
		Short: "Give a sandbox another name",
		Long:  "Give a sandbox another name, whatever state it is in. Its host name inside follows at its next start.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("takes the name of a sandbox and its new name, got %d (see: %s --help)", len(args), cmd.CommandPath())
			}
			if err := config.ValidName(args[1]); err != nil {
				return usagef("%w", err)
			}
			return nil
		},
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			_, err = client.Rename(cmd.Context(), args[0], args[1])
			if errors.Is(err, api.ErrExists) {
				return hint(prefixed(err, args[1]), "choose another, or remove that one: cove rm %s", args[1])
			}
			return explain(err, args[0])
		},
	}
}
