package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
)

func (a *app) labelCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "label NAME [K=V | K-]...",
		Short: "Set, remove or show the labels of a sandbox",
		Long: "Set labels of a sandbox (K=V), remove them (K-), or show them when none is named.\n" +
			"cove ls --label K=V lists the sandboxes that have one.",
		Example: "  cove label web team=blue old-\n  cove label web",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("takes the name of a sandbox, then K=V or K- (see: cove ls)")
			}
			_, err := labelChanges(args[1:])
			return err
		},
		ValidArgsFunction: a.completeLabels,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.label(cmd.Context(), args[0], args[1:], asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the labels as JSON")
	return c
}

// label changes what changes say and shows the labels where they say nothing.
func (a *app) label(ctx context.Context, name string, changes []string, asJSON bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	var s api.Sandbox
	if len(changes) == 0 {
		d, err := client.Get(ctx, name)
		if err != nil {
			return explain(err, name)
		}
		s = d.Sandbox
	} else {
		r, err := labelChanges(changes)
		if err != nil {
			return err
		}
		if s, err = client.SetLabels(ctx, name, r); err != nil {
			return explain(err, name)
		}
	}
	switch {
	case asJSON:
		return a.printJSON(viewOf(s).Labels)
	case len(changes) > 0:
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		if err := a.printf("%s\n", oneLine(k+"="+s.Labels[k])); err != nil {
			return err
		}
	}
	return nil
}

// labelChanges reads K=V and K-.
func labelChanges(args []string) (api.LabelsRequest, error) {
	r := api.LabelsRequest{Set: map[string]string{}}
	for _, arg := range args {
		if key, remove := strings.CutSuffix(arg, "-"); remove && !strings.Contains(arg, "=") {
			if err := config.ValidLabelKey(key); err != nil {
				return r, usagef("%w", err)
			}
			r.Remove = append(r.Remove, key)
			continue
		}
		key, value, err := config.ParseLabel(arg)
		if err != nil {
			return r, &usageError{hint(err, "K=V sets a label, K- removes it")}
		}
		if was, twice := r.Set[key]; twice && was != value {
			return r, usagef("label %s cannot have two values", key)
		}
		r.Set[key] = value
	}
	for _, key := range r.Remove {
		if _, both := r.Set[key]; both {
			return r, usagef("label %s cannot be set and removed at once", key)
		}
	}
	return r, nil
}

// completeLabels offers names, then the labels that can be removed or changed.
func (a *app) completeLabels(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.sandboxNames(1)(cmd, args, toComplete)
	}
	if a.dirsErr != nil || !a.daemonAnswers() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	d, err := api.New(a.dirs.Socket()).Get(cmd.Context(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var offers []string
	for _, k := range slices.Sorted(maps.Keys(d.Labels)) {
		for _, offer := range []string{k + "=", k + "-"} {
			if strings.HasPrefix(offer, toComplete) {
				offers = append(offers, offer)
			}
		}
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
