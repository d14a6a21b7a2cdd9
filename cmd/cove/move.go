package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
)

// export writes all that a sandbox is made of to a file of the caller's, which is
// there whole or not at all.
func (a *app) export(ctx context.Context, names []string, full bool, file string, stop bool) error {
	switch {
	case !full:
		return usagef("-o is for --full")
	case file == "":
		return usagef("--full takes the file to write with -o (- is standard output)")
	case len(names) != 1:
		return usagef("--full takes one sandbox, got %d", len(names))
	case file == "-" && isTerminal(a.stdout):
		return usagef("-o - writes to standard output, which is a terminal")
	}
	ctx, done := interruptible(ctx)
	defer done()
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	if stop {
		if _, err := client.Stop(ctx, names[0], api.StopRequest{}); err != nil {
			return explain(err, names[0])
		}
	}
	defer a.showProgress(ctx, client, names[0])()
	return a.writeWhole(file, func(w io.Writer) error { return a.exportTo(ctx, client, names[0], w) })
}

// writeWhole writes a file of the caller's, or standard output for "-": the file is
// there whole or not at all.
func (a *app) writeWhole(file string, write func(io.Writer) error) error {
	if file == "-" {
		return write(a.stdout)
	}
	partial := file + ".partial"
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", partial, reasonOf(err))
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(partial, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	return nil
}

func (a *app) exportTo(ctx context.Context, client *api.Client, name string, w io.Writer) error {
	err := client.Export(ctx, name, w)
	if ctx.Err() != nil {
		return context.Canceled
	}
	return explain(err, name)
}

func (a *app) importCommand() *cobra.Command {
	var name string
	var asJSON bool
	c := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Bring a sandbox in that cove archive --full wrote, on this machine or another",
		Long: "Make a sandbox of what cove archive --full wrote: with its files, name, labels and limits, stopped. What it\n" +
			"had of the other machine, its mounts and volumes, it has not; what is left out is told. Print its name.",
		Example: "  cove import web.cove -n web-here",
		Args:    exactly(1, "one file or -"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if name != "" {
				if err := config.ValidName(name); err != nil {
					return usagef("-n: %w", err)
				}
			}
			from := io.ReadCloser(a.stdin)
			if args[0] == "-" {
				if isTerminal(a.stdin) {
					return usagef("- reads an archive from standard input, which is a terminal")
				}
			} else {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], reasonOf(err))
				}
				defer closeQuietly(f)
				from = f
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			client, err := a.client(ctx)
			if err != nil {
				return err
			}
			made, left, err := client.Import(ctx, api.MoveRequest{Name: name}, from)
			switch {
			case ctx.Err() != nil:
				return context.Canceled
			case errors.Is(err, api.ErrExists):
				return hint(errors.New("a sandbox of that name is here"), "choose another with -n")
			case err != nil:
				return explain(err, "")
			}
			for _, what := range left {
				a.warn("left out: %s", what)
			}
			if asJSON {
				return a.printJSON(viewOf(made))
			}
			return a.printf("%s\n", made.Name)
		},
	}
	c.Flags().StringVarP(&name, "name", "n", "", "what to call it (default: what it was called)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
