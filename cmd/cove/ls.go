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
	var labels, states []string
	var asJSON bool
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List sandboxes",
		Args:    noArgs,
		Example: "  cove ls --state started,paused\n  cove ls --label team=blue --label reviewed",
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := listFilter(labels, states)
			if err != nil {
				return err
			}
			return a.list(cmd.Context(), keep, asJSON)
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&labels, "label", nil, "only those with this label, `K=V` or K, or with all of several, separated by commas (one that belongs to a value: \\,)")
	flags.StringSliceVar(&states, "state", nil, "only those in this `STATE`, or in one of several, separated by commas")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	must(c.RegisterFlagCompletionFunc("state", completeStates))
	return c
}

// completeStates offers what may be the next state of a list.
func completeStates(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	before := toComplete[:strings.LastIndex(toComplete, ",")+1]
	var offers []string
	for _, s := range stateNames() {
		if !slices.Contains(strings.Split(before, ","), s) {
			offers = append(offers, before+s)
		}
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// listFilter is what the flags of ls ask the daemon for.
func listFilter(labels, states []string) (api.ListOptions, error) {
	o := api.ListOptions{Labels: map[string]string{}}
	for _, state := range states {
		if !lifecycle.State(state).Valid() {
			err := fmt.Errorf("--state %q is no state", state)
			if near := config.Nearest(state, stateNames()); near != "" {
				return o, &usageError{hint(err, "did you mean %q?", near)}
			}
			return o, &usageError{hint(err, "there are: %s", strings.Join(stateNames(), ", "))}
		}
		o.States = append(o.States, lifecycle.State(state))
	}
	for _, list := range labels {
		for _, l := range splitList(list) {
			k, v, ok := strings.Cut(l, "=")
			if err := config.ValidLabelKey(k); err != nil {
				return o, usagef("--label %q: want K=V or K", l)
			}
			if was, twice := o.Labels[k]; ok && twice && was != v {
				return o, usagef("--label: no sandbox has two values of %s", k)
			}
			if ok {
				o.Labels[k] = v
			} else {
				o.Having = append(o.Having, k)
			}
		}
	}
	return o, nil
}

// splitList cuts a list at its commas, but for those after a backslash.
func splitList(s string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == ',':
			i++
			part.WriteByte(',')
		case s[i] == ',':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(s[i])
		}
	}
	return append(parts, part.String())
}

func stateNames() []string {
	var names []string
	for _, s := range lifecycle.States() {
		names = append(names, string(s))
	}
	return names
}

// list prints the sandboxes that the options keep.
func (a *app) list(ctx context.Context, o api.ListOptions, asJSON bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	all, err := client.List(ctx, o)
	if err != nil {
		return explain(err, "")
	}
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
	next := func(s api.Sandbox) string { return dueCell(s.Due, now) }
	disks := disksOf(ctx, client, all)
	if len(disks) > 0 {
		header = append(header, "DISK")
	}
	showNext := slices.ContainsFunc(all, func(s api.Sandbox) bool { return next(s) != "" })
	if showNext {
		header = append(header, "NEXT")
	}
	rows := make([][]string, 0, len(all))
	for _, s := range all {
		row := []string{s.Name, stateWord(s), s.Profile, s.Image, ago(now, s.Created)}
		if showOwner {
			row = append(row, fmt.Sprint(s.Owner))
		}
		if len(disks) > 0 {
			row = append(row, disks[s.ID])
		}
		if showNext {
			row = append(row, next(s))
		}
		rows = append(rows, row)
	}
	if err := writeTable(a.stdout, header, rows); err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(s api.Sandbox) bool { return s.Held != "" && s.State == lifecycle.Started }); i >= 0 {
		a.warn("%s stands still: %s", all[i].Name, all[i].Held)
	}
	return nil
}

// disksMost is for how many running sandboxes a list has their disks: a sample of
// more takes longer than anybody waits for a list, and cove stats has it.
const disksMost = 200

// disksOf is what the files of those sandboxes that run take, and their quotas,
// by their ids; empty where nobody can tell, which is no reason not to list them.
func disksOf(ctx context.Context, client *api.Client, all []api.Sandbox) map[string]string {
	disks := make(map[string]string)
	running := 0
	for _, s := range all {
		if s.State.Running() {
			running++
		}
	}
	if running == 0 || running > disksMost {
		return disks
	}
	report, err := client.Stats(ctx)
	if err != nil {
		return disks
	}
	for i := range report.Sandboxes {
		if s := &report.Sandboxes[i]; s.Disk+s.DiskLimit > 0 && !slices.Contains(s.Missing, "disk") {
			disks[s.ID] = diskCell(s)
		}
	}
	return disks
}
