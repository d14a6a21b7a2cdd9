package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cove/runtime/api"
	"cove/tui/text"
)

func (a *app) gpuCommand() *cobra.Command {
	return group("gpu", "The GPUs of this machine", a.gpuLsCommand())
}

func (a *app) gpuLsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List GPUs, what they do and which sandboxes hold them",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.listGPUs(cmd.Context(), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) listGPUs(ctx context.Context, asJSON bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	list, err := client.GPUs(ctx)
	if err != nil {
		return explain(err, "")
	}
	if asJSON {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		a.warn("this machine has no GPU (cove doctor tells where it looked)")
	}
	rows := make([][]string, 0, len(list))
	for _, g := range list {
		rows = append(rows, gpuRow(g))
	}
	return writeTable(a.stdout, []string{"GPU", "NAME", "MODEL", "UUID", "BUSY", "MEMORY", "HELD BY"}, rows)
}

func gpuRow(g api.GPU) []string {
	known := func(field, value string) string {
		if slices.Contains(g.Missing, field) {
			return ""
		}
		return value
	}
	memory := known("memory", text.Bytes(g.Memory))
	if memory != "" {
		if total := known("memory_total", text.Bytes(g.MemoryTotal)); total != "" {
			memory += " of " + total
		}
	}
	return []string{
		fmt.Sprint(g.Index), g.ID, g.Model, g.UUID, known("utilization", text.Percent(g.Utilization)), memory, gpuHolders(g),
	}
}

// gpuHolders says who holds the device: those whom the caller may not see by their
// number.
func gpuHolders(g api.GPU) string {
	names := slices.Clone(g.Holders)
	switch others := g.Held - len(g.Holders); {
	case others == 1:
		names = append(names, "1 of another user")
	case others > 1:
		names = append(names, fmt.Sprintf("%d of other users", others))
	}
	held := strings.Join(names, ", ")
	if g.Shared {
		held += " (shared)"
	}
	return held
}

// completeGPUs offers the CDI names of GPUs, those that nobody holds first.
func (a *app) completeGPUs(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if a.dirsErr != nil || !a.daemonAnswers() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := api.New(a.dirs.Socket()).GPUs(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	slices.SortStableFunc(list, func(x, y api.GPU) int { return x.Held - y.Held })
	before := toComplete[:strings.LastIndex(toComplete, ",")+1]
	var offers []string
	for _, g := range list {
		if offer := before + g.ID; !slices.Contains(strings.Split(before, ","), g.ID) && strings.HasPrefix(offer, toComplete) {
			var what []string
			if g.Model != "" {
				what = append(what, g.Model)
			}
			if g.Held > 0 {
				what = append(what, "held by "+gpuHolders(g))
			}
			offers = append(offers, cobra.CompletionWithDesc(offer, oneLine(strings.Join(what, ", "))))
		}
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
