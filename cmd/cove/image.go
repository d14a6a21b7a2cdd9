package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"cove/runtime/api"
	"cove/tui/text"
)

func (a *app) imageCommand() *cobra.Command {
	return group("image", "Images that sandboxes are made from", a.imagePullCommand(), a.imageImportCommand(), a.imageExportCommand(), a.imageLsCommand(), a.imageRmCommand(), a.imagePruneCommand())
}

func (a *app) imagePullCommand() *cobra.Command {
	var platform string
	var asJSON bool
	c := &cobra.Command{
		Use:   "pull REF",
		Short: "Get an image from its registry, or a newer one of that name",
		Long: "Get an image from its registry, and print what it is called in full. A sandbox gets its image by itself\n" +
			"where it is not here; pull has a newer one. What your ~/.docker/config.json has for the registry is used.\n" +
			"A pull that was broken off goes on where it was.",
		Example:           "  cove image pull docker.io/library/python:3.13-slim\n  cove create --image python:3.13-slim",
		Args:              exactly(1, "the reference of an image, such as docker.io/library/debian:12"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			auth, err := registryAuth(args[0])
			if err != nil {
				return err
			}
			client, err := a.client(ctx)
			if err != nil {
				return err
			}
			show, done := a.pullProgress()
			img, err := client.PullImage(ctx, api.PullRequest{Ref: args[0], Platform: platform, Auth: auth}, show)
			done()
			return a.tellImage(ctx, img, err, asJSON)
		},
	}
	c.Flags().StringVar(&platform, "platform", "", "`OS/ARCH` of one for several machines (default: this one's)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// tellImage prints the image that came of something.
func (a *app) tellImage(ctx context.Context, img api.Image, err error, asJSON bool) error {
	switch {
	case ctx.Err() != nil:
		return context.Canceled
	case err != nil:
		return explain(err, "")
	case asJSON:
		return a.printJSON(img)
	}
	return a.printf("%s\n", img.Ref)
}

// exactly wants n arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("takes %s, got %d arguments (see: %s --help)", what, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// pullProgress shows a person how far a pull is: on one line of a terminal.
func (a *app) pullProgress() (show func(api.Progress), done func()) {
	if !isTerminal(a.stderr) {
		return nil, func() {}
	}
	var mu sync.Mutex
	shown := false
	show = func(p api.Progress) {
		mu.Lock()
		defer mu.Unlock()
		shown = true
		_, _ = fmt.Fprintf(a.stderr, "\r\x1b[K%s", oneLine(p.Text))
	}
	done = func() {
		mu.Lock()
		defer mu.Unlock()
		if shown {
			_, _ = io.WriteString(a.stderr, "\r\x1b[K")
		}
	}
	return show, done
}

func (a *app) imageImportCommand() *cobra.Command {
	var ref string
	var asJSON bool
	c := &cobra.Command{
		Use:   "import FILE|DIR|-",
		Short: "Take an image from an archive",
		Long: "Take an image from a file: a tar of an OCI image layout, or what docker save makes, compressed or not; from\n" +
			"the directory of an OCI layout; or with - from standard input. Print what it is called.",
		Example: "  docker save web:1 | cove image import -\n  cove image import ./layout:3.13 --name python",
		Args:    exactly(1, "one file, one directory or -"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			img, err := a.importImage(ctx, args[0], ref)
			return a.tellImage(ctx, img, err, asJSON)
		},
	}
	c.Flags().StringVarP(&ref, "name", "n", "", "what `REF` to call it (default: what the archive says)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) imageExportCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "export IMAGE|snapshot:NAME -o FILE|-",
		Short: "Write an image, or a snapshot, to a file that docker load and others take",
		Long: "Write an image, or a snapshot that lies on one, as a tar of an OCI image layout, which cove image import,\n" +
			"docker load, podman load and skopeo take. What lies on this machine's own system is no image.",
		Example:           "  cove image export snapshot:web -o web.tar\n  cove image export snapshot:web -o - | docker load",
		Args:              exactly(1, "an image, or snapshot:NAME"),
		ValidArgsFunction: a.imageNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("takes the file to write with -o (- is standard output)")
			}
			if file == "-" && isTerminal(a.stdout) {
				return usagef("-o - writes to standard output, which is a terminal")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			client, err := a.client(ctx)
			if err != nil {
				return err
			}
			err = a.writeWhole(file, func(w io.Writer) error {
				return client.ExportImage(ctx, api.ExportRequest{Ref: args[0]}, w)
			})
			if ctx.Err() != nil {
				return context.Canceled
			}
			return explain(err, "")
		},
	}
	c.Flags().StringVarP(&file, "output", "o", "", "the `FILE`; - is standard output")
	return c
}

func (a *app) imageLsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List images, their sizes and what is made of them", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			list, err := client.Images(cmd.Context())
			if err != nil {
				return explain(err, "")
			}
			if asJSON {
				return a.printJSON(list)
			}
			now := time.Now()
			rows := make([][]string, 0, len(list))
			for _, i := range list {
				rows = append(rows, []string{i.Ref, shortID(i.ID), text.Bytes(i.Size), sprint(i.Layers), ago(now, i.Pulled), strings.Join(i.Used, ", ")})
			}
			return writeTable(a.stdout, []string{"IMAGE", "ID", "SIZE", "LAYERS", "PULLED", "USED BY"}, rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// shortID is an id for people, long enough to name it by.
func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

func (a *app) imageRmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm IMAGE...", Aliases: []string{"remove"}, Short: "Remove images that no sandbox is made of",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("takes the names or ids of images (see: cove image ls)")
			}
			return nil
		},
		ValidArgsFunction: a.imageNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd, args, func(ctx context.Context, client *api.Client, ref string) error {
				_, err := client.RemoveImage(ctx, ref)
				return err
			})
		},
	}
}

func (a *app) imagePruneCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "prune", Short: "Remove all images that no sandbox is made of, and what is left of broken pulls", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			r, err := client.PruneImages(cmd.Context())
			if err != nil {
				return explain(err, "")
			}
			if asJSON {
				return a.printJSON(r)
			}
			for _, i := range r.Images {
				if err := a.printf("%s\n", i.Ref); err != nil {
					return err
				}
			}
			if isTerminal(a.stderr) {
				a.warn("%s freed", text.Bytes(r.Freed))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// imageNames completes the names of images that are not yet on the line.
func (a *app) imageNames(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if a.dirsErr != nil || !a.daemonAnswers() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := api.New(a.dirs.Socket()).Images(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, i := range list {
		if strings.HasPrefix(i.Ref, toComplete) && !slices.Contains(args, i.Ref) {
			names = append(names, i.Ref)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// importImage sends the image at path, as the caller may read it.
func (a *app) importImage(ctx context.Context, path, ref string) (api.Image, error) {
	from, tag, err := a.openImage(path)
	if err != nil {
		return api.Image{}, err
	}
	defer closeQuietly(from)
	client, err := a.client(ctx)
	if err != nil {
		return api.Image{}, err
	}
	return client.ImportImage(ctx, api.ImportRequest{Ref: ref, Tag: tag}, from)
}

// openImage opens the file of an image as a tar, and tells which tag is meant: a
// path that is not there may end in one.
func (a *app) openImage(path string) (io.ReadCloser, string, error) {
	if path == "-" {
		if isTerminal(a.stdin) {
			return nil, "", usagef("- reads an archive from standard input, which is a terminal")
		}
		return io.NopCloser(a.stdin), "", nil
	}
	st, err := os.Stat(path)
	tag := ""
	if err != nil {
		i := strings.LastIndex(path, ":")
		if i <= 0 || strings.Contains(path[i:], "/") {
			return nil, "", fmt.Errorf("%s: %w", path, reasonOf(err))
		}
		var again error
		if st, again = os.Stat(path[:i]); again != nil {
			return nil, "", fmt.Errorf("%s: %w", path, reasonOf(err))
		}
		path, tag = path[:i], path[i+1:]
	}
	if st.IsDir() {
		return tarOfLayout(path), tag, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, reasonOf(err))
	}
	return f, tag, nil
}
