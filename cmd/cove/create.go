package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/api"
)

func (a *app) createCommand() *cobra.Command {
	var flags specFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a sandbox, start it, and print its name",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && config.ValidName(args[0]) == nil {
				return usagef("takes no argument, got %q (a name is given with -n: %s -n %s)", args[0], cmd.CommandPath(), args[0])
			}
			return noArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := flags.resolve(a)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			made, err := a.create(ctx, flags.name, spec)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(viewOf(made))
			}
			return a.printf("%s\n", made.Name)
		},
	}
	flags.register(a, c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// create makes a sandbox of spec. When ctx ends before it is made, what is made
// is deleted again: nobody has been told its name. One whose setup fails is
// there, and its id comes with the error.
func (a *app) create(ctx context.Context, name string, spec config.Spec) (api.Sandbox, error) {
	secrets, err := secretsHere(spec)
	if err != nil {
		return api.Sandbox{}, err
	}
	dirs, err := openDirs(spec.Mounts)
	if err != nil {
		return api.Sandbox{}, err
	}
	defer closeAll(dirs)
	client, err := a.client(ctx)
	if err != nil {
		return api.Sandbox{}, err
	}
	req := api.CreateRequest{ID: api.NewID(), Name: name, Spec: withIdentity(ctx, spec), Secrets: secrets, Dirs: dirs}
	if err := a.bringImage(ctx, &req); err != nil {
		return api.Sandbox{}, err
	}
	type result struct {
		made api.Sandbox
		err  error
	}
	done := make(chan result, 1)
	// The request outlives ctx: until the daemon has answered, there may be a
	// sandbox to delete.
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	go func() {
		made, err := client.Create(work, req)
		done <- result{made, err}
	}()
	defer a.showProgress(ctx, client, req.ID)()
	select {
	case r := <-done:
		if errors.Is(r.err, api.ErrSetup) {
			r.made.ID = req.ID
		}
		return r.made, explain(r.err, name)
	case <-ctx.Done():
	}
	// Before it is said that a second one counts.
	again := make(chan os.Signal, 1)
	signal.Notify(again, unix.SIGINT, unix.SIGTERM)
	defer signal.Stop(again)
	a.warn("interrupted: waiting for the daemon to give up what it began (once more: do not wait)")
	// A delete cancels what is under way. That there is nothing to delete yet
	// is no failure: the answer to the request tells what there is.
	// It ends with work.
	go func() { _, _ = client.Delete(work, req.ID, true) }()
	select {
	case r := <-done:
		if errors.Is(r.err, api.ErrCanceled) {
			return api.Sandbox{}, context.Canceled
		}
		if r.err != nil {
			return api.Sandbox{}, errors.Join(context.Canceled, explain(r.err, name))
		}
		_, err := client.Delete(work, r.made.ID, true)
		if errors.Is(err, api.ErrNotFound) {
			err = nil
		}
		return api.Sandbox{}, errors.Join(context.Canceled, explain(err, r.made.Name))
	case <-again:
		return api.Sandbox{}, context.Canceled
	}
}
