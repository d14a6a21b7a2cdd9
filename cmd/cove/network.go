package main

import (
	"context"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
)

// networkFlags are the policies that cove network sets.
type networkFlags struct{ blockAll, open, lan, asJSON bool }

func (f networkFlags) changes() bool { return f.blockAll || f.open || f.lan }

func (a *app) networkCommand() *cobra.Command {
	var f networkFlags
	c := &cobra.Command{
		Use:   "network NAME [--block-all | --open | --lan]",
		Short: "Show or change what a sandbox reaches",
		Long: "Show what a sandbox reaches, or change it: at once where it runs, and for its next starts.\n" +
			"What it has open and may no longer reach ends.",
		Example: "  cove network web\n  cove network web --block-all\n  cove network web --lan",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef("takes the name of a sandbox, got %d arguments (see: %s --help)", len(args), cmd.CommandPath())
			case f.blockAll && (f.open || f.lan):
				return usagef("--block-all closes what --open and --lan open: give one of them")
			}
			return nil
		},
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.network(cmd.Context(), args[0], f)
		},
	}
	c.Flags().BoolVar(&f.blockAll, "block-all", false, "nothing but its own loopback")
	c.Flags().BoolVar(&f.open, "open", false, "the internet, and neither this machine nor the networks around it")
	c.Flags().BoolVar(&f.lan, "lan", false, "the internet and the networks around this machine")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print the policy as JSON")
	return c
}

func (a *app) network(ctx context.Context, name string, f networkFlags) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	if f.changes() {
		n := config.Network{BlockAll: f.blockAll, LAN: f.lan}
		if _, err := client.SetNetwork(ctx, name, api.NetworkRequest{Network: &n}); err != nil {
			return explain(err, name)
		}
		if f.asJSON {
			return a.printJSON(n)
		}
		return nil
	}
	d, err := client.Get(ctx, name)
	if err != nil {
		return explain(err, name)
	}
	if f.asJSON {
		return a.printJSON(d.Spec.Network)
	}
	return a.printf("%s\n", describeNetwork(d.Spec.Network))
}

// describeNetwork says in words what a policy lets a sandbox reach.
func describeNetwork(n config.Network) string {
	switch {
	case n.BlockAll:
		return "block_all: nothing but its own loopback"
	case n.LAN:
		return "lan: the internet and the networks around this machine, but not this machine"
	}
	return "open: the internet, and neither this machine nor the networks around it"
}
