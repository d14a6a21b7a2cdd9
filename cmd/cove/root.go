package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cove/config"
)

// Groups of commands in the help.
const (
	groupSandbox = "sandbox"
	groupInside  = "inside"
	groupSystem  = "system"
)

// rootCommand builds the tree of commands.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:               "cove",
		Short:             "Sandboxes on this machine",
		Long:              "cove manages sandboxes on this machine: isolated, persistent environments for code\nthat nobody has read yet. Without a command it opens the terminal interface.",
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE:              a.runBare,
	}
	root.AddGroup(
		&cobra.Group{ID: groupSandbox, Title: "Sandboxes:"},
		&cobra.Group{ID: groupInside, Title: "Inside a sandbox:"},
		&cobra.Group{ID: groupSystem, Title: "cove itself:"},
	)
	a.addGroup(root, groupSandbox,
		a.createCommand(), a.runCommand(), a.lsCommand(), a.inspectCommand(), a.startCommand(),
		a.stopCommand(), a.restartCommand(), a.pauseCommand(), a.resumeCommand(), a.archiveCommand(), a.undoCommand(), a.diffCommand(), a.applyCommand(), a.discardCommand(), a.resizeCommand(), a.renameCommand(), a.labelCommand(), a.networkCommand(),
		a.automationCommand(), a.touchCommand(),
		a.rmCommand(), a.statsCommand(), a.eventsCommand())
	a.addGroup(root, groupInside, a.execCommand(), a.attachCommand(), a.codeCommand(), a.cpCommand(), a.logsCommand())
	a.addGroup(root, groupSystem,
		a.profileCommand(), a.trustCommand(), a.gpuCommand(), a.imageCommand(), a.snapshotCommand(), a.forkCommand(), a.rebuildCommand(), a.importCommand(), a.volumeCommand(), a.daemonCommand(), a.doctorCommand(), a.versionCommand(), a.completionCommand())
	root.Flags().BoolVar(&a.wantVersion, "version", false, "print the version")
	root.SetHelpCommandGroupID(groupSystem)
	root.SetFlagErrorFunc(flagError)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.InitDefaultHelpCmd()
	return root
}

func (a *app) addGroup(root *cobra.Command, id string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// execute carries out one command line and returns the exit status. An error
// is reported here and nowhere else, once, as one line.
func (a *app) execute(args []string) int {
	root := a.rootCommand()
	if err := unknownCommand(root, args); err != nil {
		complain(a.stderr, "", err)
		return statusOf(err)
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	complain(a.stderr, strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), root.Name()), " "), err)
	return statusOf(err)
}

// unknownCommand finds a word that stands where a command must and is none.
// It looks before the flags are parsed, so that "cove lss --json" is told
// about lss.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return nil
	}
	cmd, rest, err := root.Find(args)
	if err == nil && cmd.Name() == "help" && len(rest) > 0 {
		cmd, rest, err = root.Find(rest)
	}
	if err != nil || !cmd.HasSubCommands() {
		// What Find itself refuses, ExecuteC refuses again.
		return nil
	}
	i := slices.IndexFunc(rest, func(s string) bool { return !strings.HasPrefix(s, "-") })
	if i < 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	err = fmt.Errorf("unknown command %q", strings.TrimPrefix(cmd.CommandPath()+" "+rest[i], root.Name()+" "))
	if near := config.Nearest(rest[i], names); near != "" {
		return &usageError{hint(err, "did you mean %q?", strings.TrimPrefix(cmd.CommandPath()+" "+near, root.Name()+" "))}
	}
	return &usageError{hint(err, "see: %s --help", cmd.CommandPath())}
}

// flagError puts pflag's errors into cove's words.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown)
	case errors.As(err, &value):
		return usagef("--%s %q: %w", value.GetFlag().Name, value.GetValue(), plainly(value.Unwrap()))
	case errors.As(err, &missing):
		form, help := pflag.UnquoteUsage(missing.GetFlag())
		return &usageError{hint(fmt.Errorf("--%s needs a value", missing.GetFlag().Name), "%s: %s", form, help)}
	}
	return &usageError{err}
}

// plainly puts what strconv says of a value into words.
func plainly(err error) error {
	number, ok := errors.AsType[*strconv.NumError](err)
	switch {
	case !ok && strings.HasPrefix(err.Error(), "slog: "):
		return errors.New("want debug, info, warn or error")
	case !ok:
		return err
	case number.Func == "ParseBool":
		return errors.New("want true or false")
	case errors.Is(err, strconv.ErrRange):
		return errors.New("it is too large a number")
	}
	return errors.New("want a whole number")
}

func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError) error {
	name := unknown.GetSpecifiedName()
	if slices.Contains([]string{"exec", "run"}, cmd.Name()) && cmd.Flags().NArg() > 0 {
		// It may be the program's own.
		dashes := "-"
		if unknown.GetSpecifiedShortnames() == "" {
			dashes = "--"
		}
		return &usageError{hint(fmt.Errorf("unknown flag %s%s", dashes, name), "what belongs to the command comes behind --: %s", cmd.Parent().CommandPath()+" "+cmd.Use)}
	}
	if letters := unknown.GetSpecifiedShortnames(); letters != "" {
		return &usageError{hint(fmt.Errorf("unknown flag -%s", name), "see: %s --help", cmd.CommandPath())}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	err := fmt.Errorf("unknown flag --%s", name)
	if near := config.Nearest(name, names); near != "" {
		return &usageError{hint(err, "did you mean --%s?", near)}
	}
	return &usageError{hint(err, "see: %s --help", cmd.CommandPath())}
}

// group makes a command that only has subcommands.
func group(use, short string, cmds ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, sub := range cmds {
				names = append(names, sub.Name())
			}
			if len(cmds) == 1 {
				return usagef("say what to do (did you mean \"%s %s\"?)", cmd.CommandPath(), names[0])
			}
			return usagef("which of %s? (see: %s --help)", strings.Join(names, ", "), cmd.CommandPath())
		},
	}
	c.AddCommand(cmds...)
	return c
}

// noArgs, oneName and names are the kinds of positional arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("takes no argument, got %q (see: %s --help)", args[0], cmd.CommandPath())
	}
	return nil
}

func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("takes the name of one sandbox, got %d (see: cove ls)", len(args))
	}
	return nil
}

func someNames(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("takes the names of one or more sandboxes (see: cove ls)")
	}
	return nil
}
