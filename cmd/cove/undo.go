package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cove/runtime/api"
	"cove/tui/text"
)

func (a *app) undoCommand() *cobra.Command {
	var list, asJSON bool
	c := &cobra.Command{
		Use:   "undo [NAME]",
		Short: "Bring a deleted sandbox back, within 10 minutes",
		Long: "Bring a deleted sandbox back as it was, but for what ran in it, and print its name. Without NAME it is\n" +
			"the last one that was deleted. A sandbox is kept for 10 minutes after cove rm, less where the disk is\n" +
			"short of space; not after rm --now, nor where its profile had it deleted.",
		Example:           "  cove undo\n  cove undo --list",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.deletedNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (list || asJSON) && len(args) > 0 {
				return usagef("--list takes no name")
			}
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			if list || asJSON {
				return a.listDeleted(cmd, client, asJSON)
			}
			ref := ""
			if len(args) > 0 {
				ref = args[0]
			}
			back, err := undo(cmd.Context(), client, ref)
			if err != nil {
				return err
			}
			return a.printf("%s\n", back.Name)
		},
	}
	c.Flags().BoolVarP(&list, "list", "l", false, "show what can be brought back")
	c.Flags().BoolVar(&asJSON, "json", false, "show it as JSON")
	return c
}

// undo brings back the deleted sandbox of ref, or the last one.
func undo(ctx context.Context, client *api.Client, ref string) (api.Sandbox, error) {
	back, err := client.Undo(ctx, api.UndoRequest{Ref: ref})
	switch {
	case errors.Is(err, api.ErrNotFound) && ref == "":
		return back, errors.New("there is nothing to undo: a deleted sandbox is kept for 10 minutes")
	case errors.Is(err, api.ErrNotFound):
		return back, hint(errors.New(ref+": no such deleted sandbox"), "see: cove undo --list")
	case errors.Is(err, api.ErrExists):
		return back, hint(err, "rename that one first: cove rename")
	}
	return back, explain(err, ref)
}

func (a *app) listDeleted(cmd *cobra.Command, client *api.Client, asJSON bool) error {
	all, err := client.Deleted(cmd.Context())
	if err != nil {
		return explain(err, "")
	}
	if asJSON {
		return a.printJSON(all)
	}
	now := time.Now()
	rows := make([][]string, 0, len(all))
	for _, d := range all {
		rows = append(rows, []string{d.Name, d.ID, d.Profile, ago(now, d.Deleted), text.Age(max(d.Until.Sub(now), 0))})
	}
	return writeTable(a.stdout, []string{"NAME", "ID", "PROFILE", "DELETED", "KEPT FOR"}, rows)
}

// deletedNames completes what can be brought back.
func (a *app) deletedNames(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.dirsErr != nil || !a.daemonAnswers() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := api.New(a.dirs.Socket()).Deleted(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, d := range all {
		if strings.HasPrefix(d.Name, toComplete) && !slices.Contains(names, d.Name) {
			names = append(names, d.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
