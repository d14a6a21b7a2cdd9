package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/text"
)

func (a *app) volumeCommand() *cobra.Command {
	return group("volume", "Files that outlive sandboxes and that several of them share",
		a.volumeCreateCommand(), a.volumeLsCommand(), a.volumeRmCommand(), a.volumeAttachCommand(), a.volumeDetachCommand())
}

func (a *app) volumeCreateCommand() *cobra.Command {
	var quota string
	var asJSON bool
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a volume",
		Long: "Make a volume, empty, and print its name. It belongs to the user of the first sandbox that gets it. With\n" +
			"--quota it lies on a disk of that size, of which nothing is set aside; a sandbox that fills it fills\n" +
			"nothing else.",
		Example:           "  cove volume create models --quota 10GiB\n  cove create --volume models:/models:ro",
		Args:              exactly(1, "the name of a volume"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			r := api.VolumeRequest{Name: args[0]}
			if err := config.ValidName(args[0]); err != nil {
				return usagef("%s: %w", args[0], err)
			}
			if quota != "" {
				size, err := config.ParseSize(quota)
				if err != nil {
					return usagef("--quota: %w", err)
				}
				r.Quota = size
			}
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			v, err := client.CreateVolume(cmd.Context(), r)
			switch {
			case errors.Is(err, api.ErrExists):
				return hint(fmt.Errorf("you have a volume %s", args[0]), "see: cove volume ls")
			case err != nil:
				return explain(err, "")
			case asJSON:
				return a.printJSON(v)
			}
			return a.printf("%s\n", v.Name)
		},
	}
	c.Flags().StringVar(&quota, "quota", "", "the most that it holds, a `SIZE` such as 10GiB (default: no limit)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) volumeLsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List volumes, what is in use of them and by which sandboxes", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			list, err := client.Volumes(cmd.Context())
			if err != nil {
				return explain(err, "")
			}
			if asJSON {
				return a.printJSON(list)
			}
			rows := make([][]string, 0, len(list))
			for _, v := range list {
				used, quota := "-", "-"
				if v.Used >= 0 {
					used = text.Bytes(v.Used)
				}
				if v.Quota > 0 {
					quota = text.Bytes(int64(v.Quota))
				}
				rows = append(rows, []string{v.Name, used, quota, ago(time.Now(), v.Created), strings.Join(v.Sandboxes, ", ")})
			}
			return writeTable(a.stdout, []string{"VOLUME", "USED", "QUOTA", "CREATED", "SANDBOXES"}, rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) volumeRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Aliases: []string{"remove"}, Short: "Remove volumes that no sandbox has, with all that is in them",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("takes the names of volumes (see: cove volume ls)")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return a.volumeNames(cmd, args, toComplete), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd, args, func(ctx context.Context, client *api.Client, name string) error {
				_, err := client.RemoveVolume(ctx, name)
				if errors.Is(err, api.ErrNotFound) {
					return hint(fmt.Errorf("%s: you have no such volume", name), "see: cove volume ls")
				}
				return err
			})
		},
	}
}

// volumeNames completes the names of volumes that are not yet on the line.
func (a *app) volumeNames(cmd *cobra.Command, args []string, toComplete string) []string {
	if a.dirsErr != nil || !a.daemonAnswers() {
		return nil
	}
	list, err := api.New(a.dirs.Socket()).Volumes(cmd.Context())
	if err != nil {
		return nil
	}
	var names []string
	for _, v := range list {
		if strings.HasPrefix(v.Name, toComplete) && !slices.Contains(args, v.Name) {
			names = append(names, v.Name)
		}
	}
	return names
}

func (a *app) volumeAttachCommand() *cobra.Command {
	var subpath string
	var asJSON bool
	c := &cobra.Command{
		Use:   "attach SANDBOX NAME:DST[:ro]",
		Short: "Give a sandbox a volume, at once and at each start",
		Long: "Give a sandbox a volume, which is made where you have none of that name: at once where the sandbox runs, and\n" +
			"at each start from then on.",
		Example: "  cove volume attach web models:/models:ro\n  cove volume attach web data:/data --subpath web",
		Args:    exactly(2, "a sandbox and NAME:DST[:ro]"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) != 1 {
				return a.sandboxNames(1)(cmd, args, toComplete)
			}
			var with []string
			for _, name := range a.volumeNames(cmd, nil, toComplete) {
				with = append(with, name+":/")
			}
			return with, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := config.ParseVolume(args[1])
			if err != nil {
				return usagef("%s: %w", args[1], err)
			}
			v.Subpath = subpath
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			s, err := client.AttachVolume(cmd.Context(), args[0], api.AttachVolumeRequest{Volume: v})
			if err != nil {
				return explain(err, args[0])
			}
			if asJSON {
				return a.printJSON(s)
			}
			return nil
		},
	}
	c.Flags().StringVar(&subpath, "subpath", "", "`PATH` of a directory in the volume, made where it is missing, in place of all of it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) volumeDetachCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "detach SANDBOX NAME|DST",
		Short:             "Take a volume away from a sandbox",
		Long:              "Take a volume away from a sandbox, named by where it is inside or by its name. What is in it stays.",
		Example:           "  cove volume detach web /models",
		Args:              exactly(2, "a sandbox and the name of a volume, or where it is inside"),
		ValidArgsFunction: a.attachedVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			s, err := client.DetachVolume(cmd.Context(), args[0], api.DetachVolumeRequest{Target: args[1]})
			if err != nil {
				return explain(err, args[0])
			}
			if asJSON {
				return a.printJSON(s)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// attachedVolumes completes a sandbox and where its volumes are.
func (a *app) attachedVolumes(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return a.sandboxNames(1)(cmd, args, toComplete)
	}
	if a.dirsErr != nil || !a.daemonAnswers() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	d, err := api.New(a.dirs.Socket()).Get(cmd.Context(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var targets []string
	for _, v := range d.Spec.Volumes {
		targets = append(targets, v.Target)
	}
	return targets, cobra.ShellCompDirectiveNoFileComp
}
