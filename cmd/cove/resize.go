package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
)

func (a *app) resizeCommand() *cobra.Command {
	var asJSON bool
	var over []*override
	c := &cobra.Command{
		Use:   "resize NAME [--cpu N] [--memory SIZE] [--swap SIZE] [--pids N] [--disk SIZE]",
		Short: "Change the limits of a sandbox, while it runs too",
		Long: "Change limits of a sandbox: at once where it runs, and for its next starts. All that is asked for is\n" +
			"done, or nothing. 0 takes a limit away (of swap: none may be used). Memory goes below what is in use\n" +
			"only as far as the kernel can take caches back: no program is killed for it. A disk only\n" +
			"grows. GPUs and the speed of the disk are given when a sandbox is made, and do not change.",
		Example: "  cove resize web --memory 8GiB\n  cove resize web --cpu 1.5 --pids 512\n  cove resize web --disk 40GiB",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("takes the name of a sandbox, got %d arguments (see: %s --help)", len(args), cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := resizeRequest(over)
			if err != nil {
				return err
			}
			return a.resize(cmd.Context(), args[0], r, asJSON)
		},
	}
	c.Flags().SortFlags = false
	for _, def := range config.ResizeFlags() {
		o := &override{flag: def}
		over = append(over, o)
		help := def.Help
		if mark := def.Unenforced(); mark != "" {
			help += " (" + mark + ")"
		}
		c.Flags().Var(o, def.Name, help)
		must(c.RegisterFlagCompletionFunc(def.Name, cobra.NoFileCompletions))
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the limits as JSON")
	return c
}

// resizeRequest is what the flags ask for.
func resizeRequest(over []*override) (api.ResizeRequest, error) {
	var r api.ResizeRequest
	var names []string
	for _, o := range over {
		names = append(names, "--"+o.flag.Name)
		if len(o.values) == 0 {
			continue
		}
		v, err := config.Resources{}.Override(o.flag.Name, o.values...)
		if err != nil {
			return r, err
		}
		switch o.flag.Name {
		case "cpu":
			r.CPU = &v.CPU
		case "memory":
			r.Memory = &v.Memory
		case "swap":
			r.Swap = &v.Swap
		case "pids":
			r.Pids = &v.Pids
		case "disk":
			r.Disk = &v.Disk
		}
	}
	if (r == api.ResizeRequest{}) {
		return r, usagef("needs a limit to change: %s", strings.Join(names, ", "))
	}
	return r, nil
}

func (a *app) resize(ctx context.Context, name string, r api.ResizeRequest, asJSON bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	s, err := client.Resize(ctx, name, r)
	if err != nil {
		return explain(err, name)
	}
	if !asJSON {
		return nil
	}
	d, err := client.Get(ctx, s.ID)
	if err != nil {
		return explain(err, name)
	}
	return a.printJSON(d.Spec.Resources)
}
