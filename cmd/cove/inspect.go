package main

import (
	"github.com/spf13/cobra"
)

func (a *app) inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "inspect NAME",
		Short:             "Print all that is known of a sandbox as JSON",
		Args:              oneName,
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			d, err := client.Get(cmd.Context(), args[0])
			if err != nil {
				return explain(err, args[0])
			}
			return a.printJSON(detailOf(d))
		},
	}
	// It prints nothing else; the flag is there for whoever gives it always.
	c.Flags().Bool("json", true, "print JSON")
	return c
}
