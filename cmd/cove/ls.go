package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

func (a *app) lsCommand() *cobra.Command {
	var labels []string
	var state string
	var asJSON bool
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List sandboxes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := newFilter(labels, state)
			if err != nil {
				return err
			}
			return a.list(cmd.Context(), keep, asJSON)
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&labels, "label", nil, "only those with this label, `K=V` or K")
	flags.StringVar(&state, "state", "", "only those in this `STATE`")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	must(c.RegisterFlagCompletionFunc("state", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return stateNames(), cobra.ShellCompDirectiveNoFileComp
	}))
	return c
}

// filter tells which sandboxes ls shows.
type filter struct {
	labels []labelFilter
	state  lifecycle.State
}

type labelFilter struct {
	key, value string
	anyValue   bool
}

func newFilter(labels []string, state string) (filter, error) {
	f := filter{state: lifecycle.State(state)}
	if state != "" && !f.state.Valid() {
		err := fmt.Errorf("--state %q is no state", state)
		if near := config.Nearest(state, stateNames()); near != "" {
			return f, &usageError{hint(err, "did you mean %q?", near)}
		}
		return f, &usageError{hint(err, "there are: %s", strings.Join(stateNames(), ", "))}
	}
	for _, l := range labels {
		k, v, ok := strings.Cut(l, "=")
		if k == "" {
			return f, usagef("--label %q: want K=V or K", l)
		}
		f.labels = append(f.labels, labelFilter{k, v, !ok})
	}
	return f, nil
}

func (f filter) match(s api.Sandbox) bool {
	if f.state != "" && s.State != f.state {
		return false
	}
	for _, l := range f.labels {
		v, ok := s.Labels[l.key]
		if !ok || !l.anyValue && v != l.value {
			return false
		}
	}
	return true
}

func stateNames() []string {
	var names []string
	for _, s := range lifecycle.States() {
		names = append(names, string(s))
	}
	return names
}

// list prints the sandboxes that f keeps.
func (a *app) list(ctx context.Context, f filter, asJSON bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	all, err := client.List(ctx, api.ListOptions{})
	if err != nil {
		return explain(err, "")
	}
	all = slices.DeleteFunc(all, func(s api.Sandbox) bool { return !f.match(s) })
	if asJSON {
		views := make([]sandboxView, 0, len(all))
		for _, s := range all {
			views = append(views, viewOf(s))
		}
		return a.printJSON(views)
	}
	showOwner := slices.ContainsFunc(all, func(s api.Sandbox) bool { return s.Owner != os.Geteuid() })
	header := []string{"NAME", "STATE", "PROFILE", "IMAGE", "CREATED"}
	if showOwner {
		header = append(header, "OWNER")
	}
	now := time.Now()
	rows := make([][]string, 0, len(all))
	for _, s := range all {
		row := []string{s.Name, stateWord(s), s.Profile, s.Image, ago(now, s.Created)}
		if showOwner {
			row = append(row, fmt.Sprint(s.Owner))
		}
		rows = append(rows, row)
	}
	return writeTable(a.stdout, header, rows)
}
