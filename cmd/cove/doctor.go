package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

// doctorView is `doctor --json`.
type doctorView struct {
	OK       bool        `json:"ok"`
	Checks   []api.Check `json:"checks"`
	Warnings []string    `json:"warnings"`
	Leaks    []api.Leak  `json:"leaks"`
}

// failed tells whether this machine cannot do what cove needs, or leaks.
func (v doctorView) failed() bool {
	return len(v.Leaks) > 0 || slices.ContainsFunc(v.Checks, func(c api.Check) bool { return !c.OK })
}

func (a *app) doctorCommand() *cobra.Command {
	var leaks, asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Try what this machine can do, and tell what it lacks (status 1: something cove needs, or leaks)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			view, err := a.examine(cmd.Context(), leaks)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(view)
			} else {
				err = a.printDoctor(view, leaks)
			}
			if err == nil && view.failed() {
				err = &exitError{status: statusFailed}
			}
			return err
		},
	}
	c.Flags().BoolVar(&leaks, "leaks", false, "look for what no sandbox accounts for: mounts, processes, cgroups, directories")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// examine asks the daemon what it found out about the machine, and for the
// leak audit where that is wanted.
func (a *app) examine(ctx context.Context, leaks bool) (doctorView, error) {
	view := doctorView{Warnings: []string{}, Leaks: []api.Leak{}, Checks: []api.Check{}}
	client, err := a.client(ctx)
	if err != nil {
		return view, err
	}
	st, err := client.Status(ctx)
	if err != nil {
		return view, explain(err, "")
	}
	view.Warnings = append(view.Warnings, st.Warnings...)
	if leaks {
		found, err := client.Leaks(ctx)
		if err != nil {
			return view, explain(err, "")
		}
		view.Leaks = append(view.Leaks, found...)
	} else if view.Checks, err = client.Checks(ctx); err != nil {
		return view, explain(err, "")
	}
	view.OK = !view.failed()
	return view, nil
}

func (a *app) printDoctor(view doctorView, leaks bool) error {
	var b strings.Builder
	for _, c := range view.Checks {
		verdict := "ok  "
		if !c.OK {
			verdict = "FAIL"
		}
		b.WriteString(strings.TrimSpace(verdict+" "+oneLine(c.Name+"  "+c.Detail)) + "\n")
	}
	for _, w := range view.Warnings {
		b.WriteString("warning: " + oneLine(w) + "\n")
	}
	for _, l := range view.Leaks {
		b.WriteString("leak: " + oneLine(l.Kind+" "+l.What) + "\n")
	}
	switch {
	case leaks && len(view.Leaks) == 0:
		b.WriteString("no leaks\n")
	case len(view.Warnings) == 0 && !leaks:
		b.WriteString("no warnings\n")
	}
	return a.printf("%s", b.String())
}
