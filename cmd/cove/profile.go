package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"cove/config"
)

func (a *app) profileCommand() *cobra.Command {
	return group("profile", "Profiles: ls, show, check", a.profileLsCommand(), a.profileShowCommand(), a.profileCheckCommand())
}

// profileView is one profile of `profile ls --json`.
type profileView struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Source      string `json:"source"`
	Shadowed    bool   `json:"shadowed"`
	Error       string `json:"error"`
}

func (a *app) profileLsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "List profiles and where they come from",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			profiles, err := a.profiles()
			if err != nil {
				return err
			}
			// What could be listed is shown even when something could not.
			entries, listErr := profiles.List()
			views := make([]profileView, 0, len(entries))
			rows := make([][]string, 0, len(entries))
			for _, e := range entries {
				v := profileView{Name: e.Name, Description: e.Description, Source: e.Source.String(), Shadowed: e.Shadowed}
				text := e.Description
				if e.Err != nil {
					v.Error = oneLine(e.Err.Error())
					text = "cannot be used: " + firstLine(e.Err)
				}
				if e.Shadowed {
					text = "(shadowed) " + text
				}
				views = append(views, v)
				rows = append(rows, []string{e.Name, v.Source, text})
			}
			if asJSON {
				return errors.Join(a.printJSON(views), listErr)
			}
			return errors.Join(writeTable(a.stdout, []string{"NAME", "FROM", "DESCRIPTION"}, rows), listErr)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func firstLine(err error) string {
	var p *config.ProfileError
	if errors.As(err, &p) {
		return p.Problems[0].String()
	}
	return err.Error()
}

func (a *app) profileShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "show [NAME|FILE]",
		Short:             "Print a profile with all it extends put together",
		Args:              atMostOne("profile"),
		ValidArgsFunction: a.profileNames,
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.findProfile(firstOf(args))
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(p.Spec)
			}
			return a.printf("# %s, from %s\n%s", oneLine(p.Name), oneLine(p.Source.String()), specTOML(p.Spec))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) profileCheckCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "check [NAME|FILE]...",
		Short:             "Tell all that is wrong with profiles (status 2: something is)",
		Long:              "Tell all that is wrong with profiles, one line each; all profiles without an argument.",
		ValidArgsFunction: a.profileNames,
		RunE: func(_ *cobra.Command, names []string) error {
			profiles, err := a.profiles()
			if err != nil {
				return err
			}
			results, err := checkProfiles(profiles, names)
			if err != nil {
				return err
			}
			var all []config.Problem
			for _, err := range results {
				problems, err := problemsOf(err)
				if err != nil {
					return err
				}
				all = append(all, problems...)
			}
			return a.printProblems(all, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// checkProfiles resolves and checks the profiles named, or all there are, also
// those that another one shadows, and returns what came of each.
func checkProfiles(profiles *config.Profiles, names []string) ([]error, error) {
	var results []error
	if len(names) == 0 {
		entries, err := profiles.List()
		for _, e := range entries {
			results = append(results, e.Err)
		}
		return results, err
	}
	for _, name := range names {
		p, err := profiles.Resolve(name)
		if err == nil {
			// Whether a project's is trusted is not a matter of its text.
			err = p.Valid()
		}
		results = append(results, err)
	}
	return results, nil
}

// problemsOf takes the problems out of an error about a profile; another error
// it returns.
func problemsOf(err error) ([]config.Problem, error) {
	var wrong *config.ProfileError
	if errors.As(err, &wrong) {
		return wrong.Problems, nil
	}
	return nil, err
}

func (a *app) printProblems(problems []config.Problem, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(append([]config.Problem{}, problems...)); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			_, _ = fmt.Fprintln(a.stderr, oneLine(p.String()))
		}
	}
	if len(problems) > 0 {
		return &exitError{status: statusUsage}
	}
	return nil
}

func firstOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("takes one %s, got %d", what, len(args))
		}
		return nil
	}
}
