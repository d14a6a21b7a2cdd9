package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

// eachLimit is how many sandboxes one command works on at a time.
const eachLimit = 8

// each does one thing to every sandbox named. All are tried; each failure is
// one line, in the order of the names, and then the status is 1.
func (a *app) each(cmd *cobra.Command, names []string, do func(context.Context, *api.Client, string) error) error {
	ctx := cmd.Context()
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(names))
	slots := make(chan struct{}, eachLimit)
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = explain(do(ctx, client, name), name)
		})
	}
	wg.Wait()
	status := statusDone
	for _, err := range errs {
		if err != nil {
			complain(a.stderr, cmd.Name(), err)
			status = statusFailed
		}
	}
	if status != statusDone {
		return &exitError{status: status}
	}
	return nil
}

// secretsFor reads from the environment the variables that a sandbox is
// promised at each start. One that is not set is left out: the daemon names
// what is missing.
func secretsFor(ctx context.Context, client *api.Client, name string) (map[string]string, error) {
	detail, err := client.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	secrets, _ := detail.Spec.Secrets(os.LookupEnv)
	return secrets, nil
}

// sandboxNames completes the names of sandboxes that are not yet on the line.
// It starts no daemon: pressing Tab must not.
func (a *app) sandboxNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		// Not where a "--" is: cobra puts one behind what it completes.
		if most > 0 && len(args) >= most || a.dirsErr != nil || !a.daemonAnswers() {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, err := api.New(a.dirs.Socket()).List(cmd.Context(), api.ListOptions{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, s := range all {
			if strings.HasPrefix(s.Name, toComplete) && !slices.Contains(args, s.Name) {
				names = append(names, cobra.CompletionWithDesc(s.Name, string(s.State)))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
